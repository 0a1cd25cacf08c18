"""Every page, light and dark, on a desktop and a phone: axe finds nothing, nothing is wider than the screen."""

import pytest

from tests.browser.chromium import DESKTOP, PHONE, SCHEMES, is_too_wide, violations
from tests.system.conftest import Noctis
from tests.system.web.conftest import Visit

PAGES = ("/",)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(size: tuple[int, int], scheme: str, paged: Noctis, visit: Visit) -> None:
    wrong = {}
    outside, _ = visit(paged, size=size, scheme=scheme)
    outside.goto("/login")
    wrong["/login"] = violations(outside)
    page, _ = visit(paged, "admin", size=size, scheme=scheme)
    for path in PAGES:
        page.goto(path)
        wrong[path] = violations(page)
        assert not is_too_wide(page), path
    assert {path: found for path, found in wrong.items() if found} == {}
