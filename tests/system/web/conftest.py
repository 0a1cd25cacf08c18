"""A supervised Noctis with its pages, and real browsers that look at them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.browser import chromium
from tests.browser.chromium import Watch
from tests.support import free_port, listens, wait_for
from tests.system.conftest import MakeNoctis, Noctis

PASSWORD = "correct horse battery staple"

expect.set_options(timeout=30_000)  # milliseconds: the machine does other things besides


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests of this process; each takes contexts of its own."""
    with sync_playwright() as playwright:
        made = chromium.launch(playwright)
        yield made
        made.close()


@pytest.fixture
def paged(make_noctis: MakeNoctis) -> Noctis:
    """Noctis with its pages, running."""
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port}).start()
    wait_for(lambda: listens(port), what="the web process")
    return noctis


def base_of(noctis: Noctis) -> str:
    return f"http://127.0.0.1:{noctis.settings.web.port}"


Visit = Callable[..., tuple[Page, Watch]]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """`visit(noctis)`: a page of a new browser; `visit(noctis, "viewer")`: one where this role is logged in."""
    with ExitStack() as stack:

        def new(
            noctis: Noctis, role: str | None = None, facility: str | None = None, **options: object
        ) -> tuple[Page, Watch]:
            context, watch = stack.enter_context(chromium.context(browser, base_of(noctis), **options))
            if role is not None:
                context.add_cookies([{"name": COOKIE, "value": secret(noctis, role, facility), "url": base_of(noctis)}])
            return context.new_page(), watch

        yield new


def accounts_of(noctis: Noctis, role: str, facility: str | None = None) -> str:
    """The name of an account of this role, whose password is `PASSWORD`; made where it is missing."""
    return _account(noctis, role, facility)[0]


def secret(noctis: Noctis, role: str, facility: str | None = None) -> str:
    """A session of an account of this role."""
    return _account(noctis, role, facility)[1]


def _account(noctis: Noctis, role: str, facility: str | None) -> tuple[str, str]:
    site = Site(noctis.settings)
    try:
        accounts = site.accounts("test")
        name = f"{role}-{facility}" if facility else role
        known = {each.name: each for each in accounts.all()}
        account = known.get(name) or accounts.add(name, PASSWORD, Role(role), facility=facility)
        return name, site.sessions.start(account, "127.0.0.1")
    finally:
        site.close()
