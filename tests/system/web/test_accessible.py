"""Every page, light and dark, on a desktop and a phone: axe finds nothing, nothing is wider than the screen."""

from pathlib import Path

from tests.browser import scene
from tests.browser.chromium import DESKTOP, PHONE, SCHEMES, is_too_wide, violations
from tests.support import free_port, listens, wait_for
from tests.system.conftest import MakeNoctis
from tests.system.web.conftest import Visit
from tests.system.web.pages import PAGES, known


def test_axe_finds_nothing(make_noctis: MakeNoctis, visit: Visit, tmp_path: Path) -> None:
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port}, archiver={"study_quiet_seconds": 2}).start()
    wait_for(lambda: listens(port), what="the web process")
    scene.fill(noctis, tmp_path / "sent")
    there = known(noctis)
    wrong: list[str] = []
    for size, scheme in [(size, scheme) for size in (DESKTOP, PHONE) for scheme in SCHEMES]:
        outside, _ = visit(noctis, size=size, scheme=scheme)
        outside.goto("/login")
        wrong += [f"/login {size} {scheme} {each}" for each in violations(outside)]
        page, watch = visit(noctis, "admin", size=size, scheme=scheme)
        for path in PAGES.values():
            page.goto(path.format(**there))
            if path == "/api/docs":
                page.locator(".opblock").first.wait_for()
            wrong += [f"{path} {size} {scheme} {each}" for each in violations(page)]
            if is_too_wide(page):
                wrong.append(f"{path} {size} {scheme} is wider than the screen")
            wrong += [f"{path} {size} {scheme} {each}" for each in watch.caught]
            watch.caught.clear()
    assert not wrong, "\n".join(wrong)
