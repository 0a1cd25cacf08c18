"""Chromium by Playwright, and a watch over what it tells: errors, violations of the CSP, failed and outside requests.

`axe.min.js` beside it is axe-core 4.14.1 as it came from npm (MPL-2.0, `axe.LICENSE`).
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, Response

AXE = Path(__file__).with_name("axe.min.js")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP, PHONE = (1280, 900), (390, 844)
SCHEMES = ("light", "dark")
OF_THE_BROWSER = ("data", "blob", "chrome", "chrome-extension")  # the last two: its own viewer of PDFs
# A page is left while it polls: the browser ends the request, and that is no failure of anybody's.
LEFT_BEHIND = ("net::ERR_ABORTED",)


def executable() -> str:
    """Debian's Chromium (scripts/test installs it)."""
    found = shutil.which("chromium", path=os.pathsep.join(("/usr/bin", os.environ.get("PATH", ""))))
    assert found is not None, "chromium is not installed: apt-get install chromium"
    return found


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=executable(), args=list(ARGUMENTS))


@dataclass
class Watch:
    """What the pages of one context have been caught at."""

    host: str  # the only one that may be asked
    expected: set[int] = field(default_factory=set)  # statuses from 400 on that this test brings about
    caught: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)  # parts of what the console may say in this test

    def over(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.caught.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium tells of every status from 400 on; `_response` judges those.
        said = ("the server responded with a status of", *self.allowed)
        if message.type in ("error", "warning") and not any(each in message.text for each in said):
            self.caught.append(f"console {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in OF_THE_BROWSER and parts.netloc != self.host:
            self.caught.append(f"outside: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure not in LEFT_BEHIND:
            self.caught.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.caught.append(f"{response.status}: {response.request.method} {response.url}")

    def look(self) -> None:
        """Nothing was caught."""
        assert not self.caught, "\n".join(self.caught)


@contextmanager
def context(
    browser: Browser, base: str, *, size: tuple[int, int] = DESKTOP, scheme: str = "light", **options: Any
) -> Iterator[tuple[BrowserContext, Watch]]:
    """A browser of its own, without cookies; its pages are watched, and what they were caught at is raised."""
    made = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, base_url=base, **options
    )
    watch = Watch(urlsplit(base).netloc)
    made.on("page", watch.over)
    made.set_default_timeout(20_000)
    try:
        yield made, watch
    finally:
        made.close()
    watch.look()


def violations(page: Page) -> list[str]:
    """What axe finds on a page, a line each."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [f"{each['id']}: {node['html'][:200]} ({each['help']})" for each in found for node in each["nodes"]]


def is_too_wide(page: Page) -> bool:
    """Whether the page as a whole can be scrolled sideways."""
    wide: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide
