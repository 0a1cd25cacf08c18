"""What holds for every request and answer: CSRF, sizes, headers, hosts, paths of files."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from noctis.errors import DatabaseError
from noctis.users.roles import Right, Role
from noctis.web import guard
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.integration.web.application import create_app
from tests.integration.web.conftest import PASSWORD, LogIn
from tests.integration.web.routes import Route, all_routes

ROUTES = all_routes()
UNSAFE = [route for route in ROUTES if not route.is_safe]


@pytest.fixture
def backend() -> str:
    """None of this depends on the database."""
    return "sqlite"


def with_web(site: Site, **values: object) -> Site:
    """The same home with other settings of the section `web`."""
    web = site.settings.web.model_copy(update=values)
    return Site(site.settings.model_copy(update={"web": web}))


# -- CSRF


@pytest.mark.parametrize("route", UNSAFE, ids=str)
def test_no_other_site_makes_a_browser_change_anything(route: Route, anonymous: TestClient) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "nonsense"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://noctis.test"},
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://noctis.test.evil.test"},
        {"Origin": "http://noctis.test:8081"},
        {"Origin": "http://[evil"},
    ):
        answer = anonymous.request(route.method, route.address(), headers=headers)
        assert answer.status_code == 403, headers
        assert "did not come from a page of this server" in answer.text
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://noctis.test"}, {}):
        answer = anonymous.request(route.method, route.address(), headers=headers)
        assert "did not come from a page" not in answer.text, headers


LINK = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_another_site_can_link_to_us_and_load_nothing(anonymous: TestClient, method: str) -> None:
    for path in ("/login", "/", "/api/v1/me", "/static/noctis.svg", "/nowhere"):
        for site in ("cross-site", "same-site"):  # another port of our host is the same site, and has our cookie
            found = {"Sec-Fetch-Site": site}
            for kind in (
                {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
                {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
                {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"},
                {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
                {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
                {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
            ):
                answer = anonymous.request(method, path, headers=found | kind)
                assert answer.status_code == 403, (path, site, kind)
                has_the_headers(answer)
            assert anonymous.request(method, path, headers=found | LINK).status_code != 403
        for ours in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            kind = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
            assert anonymous.request(method, path, headers=ours | kind).status_code != 403


def test_a_link_changes_nothing_where_a_form_is_meant(anonymous: TestClient) -> None:
    for route in UNSAFE:
        answer = anonymous.request(route.method, route.address(), headers=LINK | {"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403


def test_methods_that_change_something_are_the_ones_that_are_guarded() -> None:
    assert {route.method for route in ROUTES} <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    assert {"GET", "HEAD", "OPTIONS"} == guard.SAFE


def test_the_address_that_operators_type_is_ours_behind_a_proxy_that_names_another(site: Site) -> None:
    client = TestClient(
        create_app(with_web(site, url="https://pages.example/noctis")),
        base_url="http://10.0.0.5:8080",
        follow_redirects=False,
    )
    assert client.post("/logout", headers={"Origin": "https://pages.example"}).status_code == 303
    assert client.post("/logout", headers={"Origin": "https://pages.example.evil.test"}).status_code == 403


# -- headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/login", 200),
        ("GET", "/", 303),
        ("GET", "/nowhere", 404),
        ("PUT", "/login", 405),
        ("GET", "/api/v1/me", 401),
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/static/noctis.css", 200),
        ("GET", "/static/nowhere", 404),
        ("POST", "/static/noctis.css", 405),
        ("GET", "/login?x=%00", 400),
    ],
)
def test_every_answer_has_the_headers(anonymous: TestClient, method: str, path: str, status: int) -> None:
    answer = anonymous.request(method, path)
    assert answer.status_code == status
    has_the_headers(answer)
    assert "server" not in answer.headers
    assert ("no-store" in answer.headers["cache-control"]) is (status != 200 or path == "/login")


def has_the_headers(answer: httpx2.Response) -> None:
    for name in guard.HEADERS:
        assert answer.headers.get_list(name) == [guard.HEADERS[name]], name
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_faults_and_refusals_have_them_too(site: Site, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    client = log_in("admin")
    client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    has_the_headers(client.post("/logout", headers={"Origin": "http://evil.test"}))
    has_the_headers(client.post("/login", content=b"x" * (guard.BODY_MAX + 1)))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("something secret")

    monkeypatch.setattr(site.sessions, "account", fail)
    for path in ("/", "/api/v1/me"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert "fault in Noctis" in answer.text
        assert "Doe" not in answer.text
        has_the_headers(answer)


def test_https_is_insisted_on_where_there_is_some(site: Site, anonymous: TestClient) -> None:
    assert "strict-transport-security" not in anonymous.get("/login").headers
    client = TestClient(create_app(with_web(site, url="https://pages.example")), base_url="https://pages.example")
    assert "max-age" in client.get("/login").headers["strict-transport-security"]


# -- sizes


def test_a_body_that_says_that_it_is_too_large(anonymous: TestClient) -> None:
    for path in ("/login", "/api/v1/login", "/nowhere"):
        assert anonymous.post(path, content=b"x" * (guard.BODY_MAX + 1)).status_code == 413
        for length in (str(1 << 70), "9" * 40, "-1", "x"):
            assert anonymous.post(path, headers={"Content-Length": length}, content=b"").status_code == 413


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/login", "application/x-www-form-urlencoded"),
        ("/api/v1/login", "application/json"),
        ("/api/v1/login", "text/plain"),
    ],
)
def test_a_body_that_does_not_say(anonymous: TestClient, path: str, kind: str) -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        yield b'"name='
        while taken < guard.BODY_MAX * 3:
            taken += 1 << 16
            yield b"a" * (1 << 16)

    answer = anonymous.post(path, content=chunks(), headers={"Content-Type": kind})
    assert answer.status_code == 413
    has_the_headers(answer)


NONSENSE = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"[" * 100_000,
    b'{"name": ' * 10_000,
    b'{"name": ' + b"9" * 5000 + b"}",
    b'{"name": 1e400}',
    b'{"name": "\\ud800", "password": "\\udfff"}',
    b'{"name": "a\\u0000b", "password": "\\u0000"}',
    b'{"\\ud800": 1}',
]


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
def test_a_body_that_is_nonsense(anonymous: TestClient, body: bytes) -> None:
    answer = anonymous.post("/api/v1/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 401, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    form = anonymous.post("/login", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert form.status_code in (400, 401, 422)


def test_a_form_of_very_many_fields(anonymous: TestClient) -> None:
    body = "&".join(f"f{number}=1" for number in range(10_000))
    answer = anonymous.post("/login", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code in (400, 401, 422)


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%x":1' % number for number in range(12_000)) + b"}",
        b"[" + b",".join([b"1"] * 60_000) + b"]",
        b'{"name":[' + b",".join([b"1"] * 50_000) + b"]}",
        b'{"' + b"x" * 100_000 + b'":1}',
    ],
    ids=range(4),
)
def test_a_body_with_very_much_wrong_gets_a_short_answer(anonymous: TestClient, body: bytes) -> None:
    assert len(body) <= guard.BODY_MAX
    answer = anonymous.post("/api/v1/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert len(answer.content) < 4000


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "Multipart/Mixed", "multipart/form-data"])
def test_files_are_taken_by_no_page(anonymous: TestClient, kind: str) -> None:
    for path in ("/login", "/api/v1/login", "/nowhere"):
        answer = anonymous.post(path, content=b"--x--\r\n", headers={"Content-Type": kind})
        assert answer.status_code == 415
        has_the_headers(answer)


def test_half_a_request_asks_for_nothing() -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])

    async def take(parts: list[Message]) -> None:
        async def receive() -> Message:
            return parts.pop(0) if parts else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            raise AssertionError(message)

        scope = {"type": "http", "method": "POST", "path": "/login", "query_string": b"", "headers": []}
        await guard.Guard(app, https=False)(scope, receive, send)

    def ask(*parts: Message) -> None:
        with ThreadPoolExecutor(1) as thread:  # which has no loop, whatever ran here before
            thread.submit(asyncio.run, take(list(parts))).result()

    half: Message = {"type": "http.request", "body": b"name=", "more_body": True}
    ask(half)
    ask()
    assert asked == []
    ask(half, {"type": "http.request"})
    assert asked == ["/login"]


# -- hosts


MALFORMED = ["evil.test/x", "evil.test@noctis.test", "[evil", "a b", "noctis.test:x", "noctis.test:999999", "a,b", ""]


@pytest.mark.parametrize("host", MALFORMED)
def test_a_malformed_host(anonymous: TestClient, host: str) -> None:
    assert anonymous.get("/login", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["noctis.test", "127.0.0.1:8080", "[::1]:8080", "noctis-1.example:443"])
def test_a_host_as_it_should_be(anonymous: TestClient, host: str) -> None:
    assert anonymous.get("/login", headers={"Host": host}).status_code == 200


def test_the_host_that_a_request_names_stands_in_no_answer(anonymous: TestClient) -> None:
    forged = {"Host": "evil.test", "X-Forwarded-Host": "evil.test", "Forwarded": "host=evil.test"}
    for path in ("/", "/login", "/login/", "/users/", "/nowhere", "/static", "/static/", "/setup?secret=x"):
        answer = anonymous.get(path, headers=forged)
        assert "evil.test" not in answer.text + repr(answer.headers), path
        assert "://" not in answer.headers.get("location", "")


# -- files


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%5capp.py",
        "/static/....//app.py",
        "/static/vendor/../../app.py",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/vendor",
        "/static/",
    ],
)
def test_no_path_leads_out_of_the_static_files(site: Site, path: str) -> None:
    client = TestClient(create_app(site), base_url="http://noctis.test", follow_redirects=False)
    answer = client.send(httpx2.Request("GET", httpx2.URL("http://noctis.test", raw_path=path.encode())))
    assert answer.status_code in (303, 404)
    assert "import" not in answer.text
    assert "root:" not in answer.text


# -- the cookie


def test_the_cookie_is_out_of_reach(site: Site) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.VIEWER)
    form = {"name": "ada", "password": PASSWORD}
    for scheme, path in (("http", "/login"), ("https", "/login"), ("https", "/api/v1/login")):
        client = TestClient(create_app(site), base_url=f"{scheme}://noctis.test", follow_redirects=False)
        body = {"json": form} if "api" in path else {"data": form}
        (cookie,) = client.post(path, **body).headers.get_list("set-cookie")  # type: ignore[arg-type]
        flags = {each.strip().lower() for each in cookie.split(";")[1:]}
        assert {"httponly", "samesite=lax", "path=/"} <= flags
        assert ("secure" in flags) is (scheme == "https")
        assert not any(flag.startswith(("domain", "max-age", "expires")) for flag in flags)  # gone with the browser
        assert cookie.startswith(f"{COOKIE}=")


def test_routes_for_nobody_in_particular_are_few() -> None:
    assert {route.path for route in ROUTES if route.right is Right.OPEN} <= {
        "/login", "/logout", "/setup", "/api/v1/login", "/api/v1/logout", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip


def test_a_page_that_is_not_there_has_the_menu_of_whoever_is_logged_in(
    anonymous: TestClient, admin: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = admin.get("/nowhere")
    assert found.status_code == 404
    assert "There is no such page" in found.text
    assert 'href="/studies"' in found.text
    assert "Times are " in found.text
    outside = anonymous.get("/nowhere").text
    assert 'href="/studies"' not in outside
    assert "Log in" in outside

    def away(*_: object, **__: object) -> None:
        raise DatabaseError("the database is away")

    monkeypatch.setattr(site.sessions, "account", away)
    assert admin.get("/nowhere").status_code == 404
