"""Every link below a study leads somewhere, whatever its UIDs are: instances really sent, pages really followed."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2 as httpx
import pytest

from noctis.web.access import COOKIE
from tests.hostile import wire
from tests.hostile.peer import ACCEPT, Peer, goes_on, statuses
from tests.hostile.test_uids import SHAPES
from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.web.conftest import base_of, secret

ODD = (
    *(value for _, _, value in SHAPES),
    b"1/2",
    b"/",
    b"//evil.example/x",
    b"1.2?x=1",
    b"1.2#x",
    b"1.2%2f3",
    b"%2e%2e",
    b".",
    b"...",
    b"~7",
    b"~0",
    b"1.2;x",
    b"1.2&amp;q=1",
    b'"1.2"',
    b"1 . 2",
    b"1.2\\3",
    b"1.2\t3",
    b"1.2..",
    b"-",
    b"_.png",
    b"archive.zip",
    b"instances",
    b"rows",
    b"1." + b"2" * 398,
    b"1." + b"2" * 399,
)
LINKS = {"a": "href", "img": "src", "form": "action", "iframe": "src", "video": "src"}
IN_JAVASCRIPT = re.compile(r'data-(?:study|series)="([^"]+)"')


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.posted: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and given.get("method") == "post":
            self.posted.append(given.get("action") or "")
            return
        self.found += [given[name] or "" for name in (LINKS.get(tag, ""), "hx-get") if given.get(name)]


def _send(noctis: Noctis, instances: list[tuple[bytes, bytes, bytes]]) -> None:
    central = noctis.add("Central")
    noctis.wait_listener("central")
    with Peer(central.port) as peer:
        assert peer.associate(called=central.ae_title.encode())[0] == ACCEPT
        for study, series, instance in instances:
            data = wire.data_set(study=study, series=series, instance=instance)
            peer.send(wire.store(data, instance=instance))
            statuses(peer, 0)
        goes_on(peer)
    wait_for(lambda: sum(noctis.indexed().values()) == len(instances), what="the instances in the index")


def _instances() -> Iterator[tuple[bytes, bytes, bytes]]:
    """Each odd UID as a study's, its series' and its instance's; some beside sound ones."""
    for odd in ODD:
        yield odd, odd, odd
    for at, odd in enumerate((b"a/../b", b"?c#d", b"..", b"1 / 2")):
        plain = f"1.2.826.8.{at}".encode()
        yield plain, odd, plain + b".1"
        yield plain, plain + b".3", odd + b"'"


@pytest.mark.tells_of_patients
def test_every_link_below_a_study_leads_somewhere(paged: Noctis) -> None:
    _send(paged, list(_instances()))
    base = base_of(paged)
    cookies = {COOKIE: secret(paged, "operator")}
    seen: set[str] = set()
    wrong: list[str] = []
    with httpx.Client(base_url=base, cookies=cookies, timeout=60, follow_redirects=False) as client:

        def get(address: str) -> httpx.Response:
            answer = client.get(address)
            if answer.status_code not in (200, 303):
                wrong.append(f"{answer.status_code} {address}")
            return answer

        waiting = ["/studies"]
        while waiting:
            address = waiting.pop()
            path = urlsplit(address).path
            if address in seen or not path.startswith(("/studies", "/api/v1/studies")):
                continue
            seen.add(address)
            answer = get(address)
            if answer.status_code == 303:
                waiting.append(urljoin(address, answer.headers["location"]))
            if not answer.headers.get("content-type", "").startswith("text/html"):
                continue
            links = _Links()
            links.feed(answer.text)
            waiting += [urljoin(base + address, each).removeprefix(base) for each in links.found]
            posted = [each for each in links.posted if each.startswith("/studies/")]
            for each in posted:
                if client.post(each, headers={"Sec-Fetch-Site": "same-origin"}).status_code != 303:
                    wrong.append(f"POST {each}")
            # what the viewer's own JavaScript asks for, by what the page tells it
            for each in (found for found in IN_JAVASCRIPT.findall(answer.text) if found.startswith("/api/")):
                listed = get(f"{each}/instances").json()
                for one in listed["instances"]:
                    part = httpx.QueryParams({"": one["address"]})
                    quoted = str(part).removeprefix("=").replace("+", "%20")
                    for what in ("file", "elements", "frames/1.png?placeholder=true"):
                        waiting.append(f"{each}/instances/{quoted}/{what}")
    assert not wrong, "\n".join(wrong[:40])
    files = {each for each in seen if each.endswith("/file")}
    assert len(files) == sum(paged.indexed().values())
