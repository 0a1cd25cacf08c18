"""A page whose server does not answer says so, and goes on by itself when it does."""

import pytest
from playwright.sync_api import Route, expect

from tests.system.conftest import Noctis
from tests.system.web.conftest import Visit

SLOWLY = 30_000  # milliseconds


@pytest.mark.parametrize("path", ["/", "/refusals", "/notifications"])
def test_a_page_says_that_it_is_old_and_goes_on(paged: Noctis, visit: Visit, path: str) -> None:
    page, watch = visit(paged, "admin")
    watch.expected.add(503)
    # What htmx tells of a request that came to nothing is what this is about.
    watch.allowed.append("htmx:error")
    page.goto(path)
    bar = page.locator("#away")
    expect(bar).to_be_hidden()

    def none(route: Route) -> None:
        route.abort("aborted")

    def away(route: Route) -> None:
        route.fulfill(status=503, body="<div>away</div>", content_type="text/html")

    for answer, said in ((none, "Noctis does not answer."), (away, "Noctis cannot look at this moment.")):
        page.route("**/*", answer)
        expect(bar).to_contain_text(said, timeout=SLOWLY)
        expect(page.locator("main .stale")).to_have_count(1)
        page.unroute("**/*", answer)
        expect(bar).to_be_hidden(timeout=SLOWLY)  # what is shown was not replaced by an error: it is asked for again
        expect(page.locator("main .stale")).to_have_count(0)
