"""Screenshots of every page, light and dark, for docs/screenshots: a real Noctis, real senders, real Chromium.

Usage: scripts/screenshots [FOLDER]
"""

import argparse
import re
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser import chromium, scene
from tests.support import free_port, listens, wait_for
from tests.system.conftest import Noctis
from tests.system.web.conftest import base_of, secret
from tests.system.web.pages import PAGES, Known, cookie_of, known

DOCS = Path(__file__).parents[2] / "docs" / "screenshots"
SETTLE_MS = 2500  # polling and lazy images


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DOCS)
    target: Path = parser.parse_args().folder
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        rule = {
            "name": "Archive team",
            "kinds": ["study-complete", "late-arrival"],
            "recipients": ["archive@example.org"],
        }
        noctis = Noctis(
            Path(folder) / "home",
            {
                "web": {"enabled": True, "port": port},
                "archiver": {"study_quiet_seconds": 3},
                "notifications": {"rules": [rule]},
            },
        )
        noctis.start()
        try:
            wait_for(lambda: listens(port), what="the web process")
            scene.fill(noctis, Path(folder) / "sent")
            noctis.cli("supervisorctl", "restart", "web:*")  # it looks at the habits anew
            wait_for(lambda: listens(port), what="the web process")
            _shoot(noctis, target)
        finally:
            noctis.end()


def _shoot(noctis: Noctis, target: Path) -> None:
    there = known(noctis)
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        for scheme in chromium.SCHEMES:
            with chromium.context(browser, base_of(noctis), scheme=scheme) as (context, _):
                page = context.new_page()
                page.goto("/login")
                _save(page, target, "login", scheme)
                context.add_cookies([cookie_of(noctis, secret(noctis, "admin"))])
                for name, path in PAGES.items():
                    page.goto(_filled(path, there))
                    _save(page, target, name, scheme)
        browser.close()


def _filled(path: str, there: Known) -> str:
    return path.format(**there)


def _save(page: Page, target: Path, name: str, scheme: str) -> None:
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=target / f"{re.sub('[^a-z-]', '-', name)}-{scheme}.png", animations="disabled")
    print(f"{name} {scheme}", flush=True)


if __name__ == "__main__":
    main()
