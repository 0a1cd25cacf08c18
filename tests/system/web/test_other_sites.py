"""What a page of another site can make a browser do that is logged in here: follow a link, and nothing else.

Another name is another site to browsers, another port of the same host is the same site but another origin: each page
is asked for by both.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.system.conftest import Noctis
from tests.system.web.conftest import PASSWORD, accounts_of, base_of

PAGE = """<!doctype html><title>A mail</title><h1>Another site</h1>
<a href="{base}/events?action=session">Look at it</a>
<form method="post" action="{base}/account/sessions/end-all"><button>Win a prize</button></form>
<form method="post" action="{base}/login"><input name="name" value="evil"><button>Be somebody else</button></form>
"""
LOADED = """async (base) => {
  const load = (tag, path) => new Promise((done) => {
    const made = document.createElement(tag);
    made.onload = () => done(path);
    made.onerror = () => done(null);
    made.src = base + path;
    document.body.append(made);
  });
  const ask = { mode: "no-cors", credentials: "include" };
  return Promise.all([
    load("img", "/static/noctis.svg"),
    load("script", "/static/noctis.js"),
    fetch(base + "/api/v1/me", ask).then(() => "/api/v1/me", () => null),
  ]);
}"""
FRAME = """(base) => {
  const frame = document.createElement("iframe");
  frame.src = base + "/account";
  document.body.append(frame);
}"""


@contextmanager
def other_site(base: str) -> Iterator[int]:
    """A page that links to `base`, on all names of this machine; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = PAGE.format(base=base).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture
def page(paged: Noctis, browser: Browser) -> Iterator[Page]:
    """Of a browser in which an admin is logged in."""
    context = browser.new_context()
    context.set_default_timeout(20_000)
    made = context.new_page()
    made.goto(base_of(paged))
    made.get_by_label("User").fill(accounts_of(paged, "admin"))
    made.get_by_label("Password").fill(PASSWORD)
    made.get_by_role("button", name="Log in").click()
    expect(made.get_by_role("heading", level=1)).to_have_text("Facilities")
    yield made
    context.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_it_can_link_to_us_and_nothing_else(paged: Noctis, page: Page, host: str) -> None:
    base = base_of(paged)
    with other_site(base) as port:
        there = f"http://{host}:{port}/"
        page.goto(there)
        page.get_by_role("link", name="Look at it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Events")  # and not the login page
        for button in ("Win a prize", "Be somebody else"):
            page.goto(there)
            with page.expect_response(lambda answer: answer.request.method == "POST") as refused:
                page.get_by_role("button", name=button).click()
            assert refused.value.status == 403
            expect(page.get_by_text("did not come from a page of this server")).to_be_visible()
        page.goto(there)
        assert page.evaluate(LOADED, base) == [None] * 3
        with page.expect_response(f"{base}/account") as framed:
            page.evaluate(FRAME, base)
        assert framed.value.status == 403
        page.goto(f"{base}/account")
        expect(page.get_by_role("heading", level=1)).to_have_text("admin")  # still logged in
