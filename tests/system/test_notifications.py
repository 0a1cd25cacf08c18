"""Notifications of a whole Noctis: every study is told of, whatever is killed and however the receiver behaves."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.notifying import SECRET, Posted, Receiver, is_signed, receiver
from tests.samples import make_instance, write_study
from tests.support import wait_for
from tests.system import senders
from tests.system.conftest import MakeNoctis, Noctis

STUDIES = 40


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def notifying(make_noctis: MakeNoctis, hook: Receiver, **more: Any) -> Noctis:
    kinds = ["study-complete", "late-arrival", "quarantine", "listener-down", "refusal-burst"]
    rule = {"name": "test", "kinds": kinds, "url": hook.url(), "secret": SECRET}
    notifications = {"rules": [rule], "disk_percent": 0.0, "listener_seconds": 1}
    return make_noctis(notifications=notifications, archiver={"study_quiet_seconds": 0.5}, **more)


def notifier_pid(noctis: Noctis) -> int:
    return int(wait_for(lambda: noctis.control_status()["notifier"]["pid"], what="the notifier"))


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_notifier_that_is_killed_again_and_again_loses_nothing(
    backend: str, make_noctis: MakeNoctis, hook: Receiver, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    more = {}
    if backend == "postgresql":
        server = request.getfixturevalue("postgres")
        more = {"database": {"url": server.url(server.create())}}
    noctis = notifying(make_noctis, hook, **more).start()
    facility = noctis.json("facility", "add", "Central")
    noctis.wait_listener("central")
    answers: list[int] = []
    killed: set[int] = set()

    def kill() -> None:
        pid = notifier_pid(noctis)
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)

    def flaky(handler: BaseHTTPRequestHandler, _posted: Posted) -> None:
        answers.append(1)
        handler.send_response(500 if len(answers) % 5 == 4 else 204)
        handler.send_header("content-length", "0")
        handler.end_headers()
        if len(answers) % 4 == 0:
            kill()

    hook.answer = flaky
    wanted = {f"1.2.826.0.1.3680043.2.7.{number}" for number in range(STUDIES)}
    paths = [path for uid in sorted(wanted) for path in write_study(tmp_path / uid, 2, study=uid)]
    senders.storescu(facility["port"], facility["ae_title"], paths, calling="CT1")

    def complete() -> set[str]:
        rows = noctis.query("SELECT study_instance_uid FROM study WHERE status = 'complete'")
        return {row[0] for row in rows}

    wait_for(lambda: complete() == wanted, seconds=60)
    while len(killed) < 4:
        if notifier_pid(noctis) not in killed:
            kill()
    hook.answer = 204

    def delivered() -> bool:
        if noctis.query("SELECT 1 FROM notice"):  # first: what is taken out of there is in the other table then
            return False
        return not noctis.query("SELECT 1 FROM delivery WHERE state != 'sent'")

    wait_for(delivered, seconds=90, what="all deliveries")
    told = hook.of("study-complete")
    assert {each.data["study_instance_uid"] for each in told} == wanted
    assert all(map(is_signed, told))
    by_id = {each.id: each.data["study_instance_uid"] for each in told}
    assert Counter(by_id.values()).most_common(1)[0][1] == 1  # again means: with the same ID
    assert noctis.indexed().total() == 2 * STUDIES


def test_late_ones_quarantine_and_a_door_that_does_not_open(
    make_noctis: MakeNoctis, hook: Receiver, tmp_path: Path
) -> None:
    noctis = notifying(make_noctis, hook).start()
    facility = noctis.json("facility", "add", "Central")
    noctis.wait_listener("central")

    def send(number: int, pixels: bytes = b"\0" * 512) -> None:
        uids = {"study": "1.2.826.9", "series": "1.2.826.9.1", "sop_instance": f"1.2.826.9.1.{number}"}
        path = tmp_path / "one.dcm"
        make_instance(**uids, pixels=pixels).save_as(path)
        senders.storescu(facility["port"], facility["ae_title"], [path], calling="CT1")

    send(1)
    wait_for(lambda: len(hook.of("study-complete")) == 1, seconds=60)
    send(2)
    wait_for(lambda: len(hook.of("study-complete")) == 2 and hook.of("late-arrival"), seconds=60)
    send(1, b"\1" * 512)
    (quarantined,) = wait_for(lambda: hook.of("quarantine"), seconds=60)
    assert quarantined.data["reasons"] == {"conflict": 1}
    noctis.cli("supervisorctl", "stop", f"central@{facility['port']}:*")
    (down,) = wait_for(lambda: hook.of("listener-down"), seconds=60)
    assert (down.document["phase"], down.document["facility"]["slug"]) == ("begun", "central")
    noctis.cli("supervisorctl", "start", f"central@{facility['port']}:*")
    wait_for(lambda: len(hook.of("listener-down")) == 2, seconds=90)
    assert hook.of("listener-down")[1].document["phase"] == "over"


def test_without_the_notifier_everything_else_goes_on(make_noctis: MakeNoctis, hook: Receiver, tmp_path: Path) -> None:
    noctis = make_noctis(notifications={"enabled": False}, archiver={"study_quiet_seconds": 0.5}).start()
    facility = noctis.json("facility", "add", "Central")
    noctis.wait_listener("central")
    assert noctis.control_status()["notifier"] is None
    paths = write_study(tmp_path / "study", 2, study="1.2.826.5")
    senders.storescu(facility["port"], facility["ae_title"], paths, calling="CT1")
    wait_for(lambda: noctis.query("SELECT 1 FROM study WHERE status = 'complete'"), seconds=60)
    assert noctis.query("SELECT count(*) FROM notice") == [(0,)]
