"""Behind a reverse proxy: one that leaves the base path on, one that takes it off, and whom it speaks for."""

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from noctis.config import Settings
from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.integration.web.application import create_app
from tests.integration.web.conftest import PASSWORD


@pytest.fixture
def backend() -> str:
    return "sqlite"


def site_with(settings: Settings, **values: object) -> Site:
    made = Site(settings.model_copy(update={"web": settings.web.model_copy(update=values)}))
    if made.accounts("test").is_empty():
        made.accounts("test").add("ada", PASSWORD, Role.ADMIN)
    return made


class Proxy:
    """What a browser sees: its addresses have the base path, our process gets them as the proxy sends them."""

    def __init__(self, site: Site, *, strips: bool) -> None:
        self._client = TestClient(create_app(site), base_url="http://noctis.test", follow_redirects=False)
        self._strips = strips

    def ask(self, method: str, path: str, **options: object) -> tuple[int, str, str]:
        assert path.startswith("/noctis"), f"a browser never asks the proxy for {path}"
        sent = (path.removeprefix("/noctis") or "/") if self._strips else path
        self._client.cookies.clear()  # which has other ideas of paths than a browser behind a proxy
        answer = self._client.request(method, sent, **options)  # type: ignore[arg-type]
        headers = answer.headers
        return answer.status_code, headers.get("location", ""), headers.get("set-cookie", "") or answer.text


@pytest.mark.parametrize("strips", [True, False])
def test_all_of_it_lies_below_the_base_path(settings: Settings, strips: bool) -> None:
    proxy = Proxy(site_with(settings, base_path="/noctis"), strips=strips)
    assert proxy.ask("GET", "/noctis/")[:2] == (303, "/noctis/login")
    assert proxy.ask("GET", "/noctis")[:2] == (303, "/noctis/login")
    assert proxy.ask("GET", "/noctis/users?x=1")[1] == "/noctis/login?next=/users%3Fx%3D1"
    form = {"name": "ada", "password": PASSWORD, "next": "/users"}
    status, to, cookie = proxy.ask("POST", "/noctis/login", data=form)
    assert (status, to) == (303, "/noctis/users")
    assert "Path=/noctis;" in cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    for page in ("/noctis/", "/noctis/users", "/noctis/users/ada", "/noctis/account", "/noctis/api/docs"):
        status, _, text = proxy.ask("GET", page, headers=headers)
        assert status == 200, page
        linked = {unescape(each) for each in re.findall(r'(?:href|src|action|hx-get|hx-post|data-url)="([^"]*)"', text)}
        assert linked
        for each in linked:
            if not each.startswith(("#", "data:")):
                assert each.startswith("/noctis/"), f"{page} links to {each}"
                assert not each.startswith("/noctis/noctis")
    assert 'aria-current="page"' in proxy.ask("GET", "/noctis/users", headers=headers)[2]
    for path in ("/noctis/static/noctis.css", "/noctis/static/vendor/htmx.min.js", "/noctis/api/v1/me"):
        assert proxy.ask("GET", path, headers=headers)[0] == 200, path
    assert '"url":"/noctis"' in proxy.ask("GET", "/noctis/api/v1/openapi.json", headers=headers)[2]
    assert proxy.ask("GET", "/noctis/api/v1/nowhere", headers=headers)[2].startswith("{")
    assert proxy.ask("GET", "/noctis/static/../app.py")[0] == 404
    status, to, cookie = proxy.ask("POST", "/noctis/logout", headers=headers)
    assert (status, to) == (303, "/noctis/login")
    assert "Path=/noctis;" in cookie


def test_a_path_that_only_begins_alike(settings: Settings) -> None:
    client = TestClient(create_app(site_with(settings, base_path="/noctis")), follow_redirects=False)
    assert client.get("/noctisx/login").status_code == 404
    assert client.get("/noctis/noctis/login").status_code == 404


def test_whom_a_proxy_speaks_for(settings: Settings) -> None:
    site = site_with(settings, proxies=("192.0.2.7/32",))
    form = {"name": "ada", "password": PASSWORD}
    told = {"X-Forwarded-For": "6.6.6.6, 198.51.100.9", "X-Forwarded-Proto": "https"}
    for address, believed in (("192.0.2.7", True), ("192.0.2.8", False)):
        client = TestClient(create_app(site), client=(address, 1), follow_redirects=False)
        cookie = client.post("/login", data=form, headers=told).headers["set-cookie"]
        assert ("Secure" in cookie) is believed
        account = site.sessions.account(cookie.partition("=")[2].partition(";")[0])
        assert account is not None
        latest = site.sessions.of(account)[0]
        assert latest.address == ("198.51.100.9" if believed else address)  # what the proxy itself has added


def test_a_proxy_with_https_gets_secure_cookies(settings: Settings) -> None:
    site = site_with(settings, url="https://pages.example/noctis")
    client = TestClient(create_app(site), follow_redirects=False)
    answer = client.post("/login", data={"name": "ada", "password": PASSWORD})
    assert answer.headers["set-cookie"].startswith(COOKIE)
    assert "Secure" in answer.headers["set-cookie"]
