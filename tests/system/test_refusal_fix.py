"""A sender of dcmtk is turned away, an operator presses the button, and the same command succeeds."""

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.samples import make_instance
from tests.support import free_port, listens, wait_for
from tests.system.conftest import MakeNoctis, Noctis


class Api:
    """The API of a running web process, for one who is logged in."""

    def __init__(self, noctis: Noctis, role: Role) -> None:
        self._base = f"http://127.0.0.1:{noctis.settings.web.port}/api/v1"
        site = Site(noctis.settings)
        try:
            account = site.accounts("test").add(str(role), "correct horse battery staple", role)
            self._secret = site.sessions.start(account, "127.0.0.1")
        finally:
            site.close()

    def __call__(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Cookie": f"{COOKIE}={self._secret}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture
def paged(make_noctis: MakeNoctis) -> Noctis:
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port}).start()
    wait_for(lambda: listens(port), what="the web process")
    return noctis


def dcmtk(*command: str | int | Path) -> int:
    return subprocess.run([*map(str, command)], capture_output=True, timeout=60, check=False).returncode


def test_a_refused_sender_is_let_in_by_the_button(paged: Noctis, tmp_path: Path) -> None:
    facility = paged.add("Central", ae_title="CENTRAL")
    paged.wait_listener("central")
    api = Api(paged, Role.OPERATOR)
    file = tmp_path / "ct.dcm"
    make_instance(study="1.2.826.5", series="1.2.826.5.1", sop_instance="1.2.826.5.1.1").save_as(
        file, enforce_file_format=True
    )
    echo = ("echoscu", "-aet", "NEWCT", "-aec", "NOCTIS_SERVER", "127.0.0.1", paged.port)
    store = ("storescu", "-aet", "NEWMR", "-aec", "WRONG", "127.0.0.1", facility.port, file)
    assert dcmtk(*echo) != 0
    assert dcmtk(*store) != 0

    def refused(calling: str) -> Any:
        return next((row for row in api(f"/refusals?calling={calling}")["items"]), None)

    shared = wait_for(lambda: refused("NEWCT"), what="the refusal of the echo")
    own = wait_for(lambda: refused("NEWMR"), what="the refusal of the store")
    assert (shared["kind"], shared["remedy"].get("facilities")) == ("add-device", None)
    assert (own["kind"], own["remedy"]["facilities"]) == ("add-device", ["central"])
    fixed = api(f"/refusals/{shared['id']}/fix", {"facility": "central", "network": "127.0.0.0/8"})
    assert fixed["done"] == "NEWCT may send to 'Central' from 127.0.0.0/8"
    wait_for(lambda: dcmtk(*echo) == 0, what="the echo after the button")
    api(f"/refusals/{own['id']}/fix", {})
    wait_for(lambda: dcmtk(*store) == 0, what="the store after the button")
    for calling in ("NEWCT", "NEWMR"):
        wait_for(lambda calling=calling: refused(calling)["state"] == "let-in", what=f"{calling} let in")  # type: ignore[misc]
    wait_for(lambda: "1.2.826.5.1.1" in paged.indexed(), what="the instance in the index")
    assert {row["actor"] for row in api("/events?what=device.added")["items"]} == {"operator"}


def test_the_command_does_what_the_button_does(paged: Noctis) -> None:
    paged.cli("facility", "add", "Central", "--ae-title", "CENTRAL")
    paged.cli("facility", "disable", "central")
    echo = ("echoscu", "-aet", "ANY", "-aec", "CENTRAL", "127.0.0.1", paged.port)
    assert dcmtk(*echo) != 0
    (row,) = wait_for(lambda: paged.json("refusal", "list"), what="the refusal in the ledger")
    assert row["remedy"]["kind"] == "enable-facility"
    assert "is enabled" in paged.cli("refusal", "fix", row["id"])
    wait_for(lambda: dcmtk(*echo) == 0, what="the echo after the command")
    assert paged.json("refusal", "dismiss", row["id"]) == {"dismissed": 1}
    assert paged.json("refusal", "list") == []
