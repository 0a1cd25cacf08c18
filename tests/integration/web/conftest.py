"""The application in this process, over a real database; `log_in` makes an account of a role and gives a client."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from noctis.config import Settings
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import write_if_changed
from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.integration.web.application import create_app
from tests.integration.web.viewed import file_images
from tests.spooling import Intake

PASSWORD = "correct horse battery staple"
ORIGIN = "http://noctis.test"

LogIn = Callable[..., TestClient]


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    made = Site(settings)
    yield made
    made.close()


@pytest.fixture
def registry(site: Site) -> Registry:
    return site.registry("test")


@pytest.fixture
def anonymous(site: Site) -> TestClient:
    """A client that nobody is logged in with. It follows no redirect."""
    return TestClient(create_app(site), base_url=ORIGIN, follow_redirects=False)


@pytest.fixture
def log_in(site: Site) -> LogIn:
    """`log_in("operator")`, `log_in("facility", "central")`: a client with a session of its own."""

    def client(role: str = "admin", facility: str | None = None) -> TestClient:
        name = f"{role}-{facility}" if facility else role
        accounts = site.accounts("test")
        known = {each.name: each for each in accounts.all()}
        account = known.get(name) or accounts.add(name, PASSWORD, Role(role), facility=facility)
        made = TestClient(create_app(site), base_url=ORIGIN, follow_redirects=False)
        made.cookies.set(COOKIE, site.sessions.start(account, "127.0.0.1"))
        return made

    return client


@pytest.fixture
def admin(log_in: LogIn) -> TestClient:
    return log_in("admin")


def tell_listeners(site: Site) -> None:
    """As `noctis facility add` does: the snapshot is what the pages read of the facilities."""
    write_if_changed(site.home.snapshot, site.registry("test").snapshot)


@pytest.fixture
def filed(site: Site, registry: Registry) -> Iterator[Site]:
    """With the images of `viewed`."""
    registry.add("Central")
    registry.add("North")
    intake = Intake(site.settings)
    file_images(site, intake)
    yield site
    intake.close()
