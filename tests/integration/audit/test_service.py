"""Outages: the server away, gone with what it was sent, the database away, the process killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noctis.audit import cursor as cursors
from noctis.audit import service as services
from noctis.audit.cursor import OPEN_MAX, Cursor, Place
from noctis.errors import DatabaseError
from noctis.observability.scoreboard import Counter
from tests.auditing import SyslogServer, parse
from tests.integration.audit.conftest import Auditor, Ledgers
from tests.support import free_port, wait_for


def names(server: SyslogServer) -> list[str]:
    return [each.details[0].split()[0] for each in list(server.received)]


def fails(auditor: Auditor) -> None:
    """One turn that fails, and what the loop does then."""
    assert auditor.service is not None
    with pytest.raises(OSError) as caught:
        auditor.turn()
    auditor.service._away(caught.value)


def test_the_server_is_away(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    server.stop()
    for number in range(3):
        ledgers.event(f"x.{number}")
        fails(auditor)
    board = auditor.scoreboard
    assert board.get(Counter.PENDING) == 3
    assert board.get(Counter.OLDEST_NS) > 0
    assert "127.0.0.1" in board.read().last_error
    server.start()
    auditor.told(3)
    auditor.turn()
    assert names(server) == ["x.0", "x.1", "x.2"]
    assert board.get(Counter.PENDING) == board.get(Counter.OLDEST_NS) == 0


def test_a_server_that_goes_with_what_it_was_sent_is_sent_it_again(
    auditor: Auditor, ledgers: Ledgers, server: SyslogServer
) -> None:
    server.on_frame = lambda: False  # reads, and ends without having kept anything
    ledgers.event("x.lost")
    ledgers.refusal()
    auditor.turn()
    assert auditor.service is not None
    wait_for(lambda: not auditor.service._sender.alive(), what="the server to go")
    fails(auditor)
    assert server.received == []
    server.on_frame = None
    auditor.told(2)
    assert auditor.scoreboard.get(Counter.OLDEST_NS) > 0  # it is not known yet whether it will stay this time
    auditor.turn()
    assert auditor.scoreboard.get(Counter.OLDEST_NS) == 0


def test_a_server_that_closes_an_idle_connection_is_no_outage(
    auditor: Auditor, ledgers: Ledgers, server: SyslogServer
) -> None:
    ledgers.event("x.0")
    auditor.told(1)
    auditor.turn()
    auditor.turn()
    server.hang_up()
    assert auditor.service is not None
    wait_for(lambda: not auditor.service._sender.alive())
    auditor.turn()
    ledgers.event("x.1")
    auditor.told(2)


def test_a_killed_process_tells_what_was_not_confirmed_again(
    auditor: Auditor, ledgers: Ledgers, server: SyslogServer
) -> None:
    ledgers.event("x.0")
    auditor.told(1)
    auditor.turn()  # confirmed
    ledgers.event("x.1")
    auditor.told(2)
    auditor.restart()
    auditor.told(3)
    assert names(server) == ["x.0", "x.1", "x.1"]


def test_a_stop_confirms_what_was_sent(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    ledgers.event("x.0")
    auditor.told(1)
    assert auditor.service is not None
    auditor.service.finish()
    auditor.restart()
    auditor.turn()
    ledgers.event("x.1")
    auditor.told(2)
    assert names(server) == ["x.0", "x.1"]


def test_the_database_is_away(
    auditor: Auditor, ledgers: Ledgers, server: SyslogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noctis.audit import feed

    real = feed.reading

    def away(engine: object) -> object:
        raise DatabaseError("the database is away")

    monkeypatch.setattr(feed, "reading", away)
    with pytest.raises(DatabaseError) as caught:
        auditor.turn()
    assert auditor.service is not None
    auditor.service._away(caught.value)
    assert auditor.scoreboard.read().last_error == "the database is away"
    monkeypatch.setattr(feed, "reading", real)
    ledgers.event("x.0")
    auditor.told(1)


def test_a_cursor_that_cannot_be_read_begins_anew(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    path = auditor.settings.paths.run / services.CURSOR
    for damage in ("", "[]", '{"event": 1}', "{"):
        path.write_text(damage)
        assert cursors.load(path) is None
    auditor.restart(since=datetime.now(UTC))
    auditor.turn()
    assert cursors.load(path) is not None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_cursor_survives(tmp_path: Path) -> None:
    made = Cursor(Place(7, "2026-01-02T08:00:00+00:00", {5: 1.5}), Place(9), {1: 3})
    made.save(tmp_path / "cursor")
    assert cursors.load(tmp_path / "cursor") == made
    assert len(Place().opened(set(range(2 * OPEN_MAX)), 1.0).open) == OPEN_MAX
    assert cursors.load(tmp_path / "none") is None


PROCESS = """
    import sys
    from datetime import UTC, datetime
    from noctis.audit import service
    from noctis.config import load_settings
    from noctis.observability.scoreboard import Scoreboard

    home, url, syslog = sys.argv[1:]
    settings = load_settings(options={"home": home, "database": {"url": url}, "audit": {"syslog": syslog}})
    sys.exit(service.run(settings, Scoreboard(), since=datetime.now(UTC)))
"""


def test_the_process_is_killed_again_and_again(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    """kill -9 at any moment: every event comes, and in the end none is waiting."""
    url = f"tcp://127.0.0.1:{server.port}"
    arguments = [str(auditor.settings.home), auditor.settings.database_url, url]
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), *arguments]
    for number in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            for part in range(5):
                ledgers.event(f"x.{number}.{part}")
            wait_for(lambda number=number: any(name.startswith(f"x.{number}.") for name in names(server)))
        finally:
            process.kill()
            process.wait()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        ledgers.event("x.end")
        expected = {"x.end", *(f"x.{number}.{part}" for number in range(4) for part in range(5))}
        wait_for(lambda: expected <= set(names(server)), what="every event")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_rsyslogd_takes_them(auditor: Auditor, ledgers: Ledgers, tmp_path: Path) -> None:
    """A real server, and one that writes down what it got byte for byte."""
    rsyslogd = shutil.which("rsyslogd", path=os.pathsep.join(("/usr/sbin", "/usr/local/sbin", os.environ["PATH"])))
    if rsyslogd is None:
        pytest.skip("rsyslogd is not installed: apt-get install rsyslog")
    port, target, config = free_port(), tmp_path / "messages", tmp_path / "rsyslog.conf"
    config.write_text(
        f"""
        global(workDirectory="{tmp_path}" maxMessageSize="64k")
        module(load="imtcp")
        input(type="imtcp" address="127.0.0.1" port="{port}")
        template(name="raw" type="string" string="%rawmsg%\\n")
        if $msgid == "DICOM+RFC3881" then action(type="omfile" file="{target}" template="raw" asyncWriting="off")
        """
    )
    server = subprocess.Popen([rsyslogd, "-n", "-f", config, "-i", tmp_path / "pid"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port), what="rsyslogd")
        settings = auditor.settings
        audit = settings.audit.model_copy(update={"syslog": f"tcp://127.0.0.1:{port}"})
        auditor.settings = settings.model_copy(update={"audit": audit})
        auditor.restart()
        ledgers.event("application.started", pid=7)
        ledgers.refusal(calling="STRÄNGER\x01")
        auditor.turn()
        wait_for(lambda: target.exists() and target.read_bytes().count(b"\n") == 2, what="two messages")
        assert auditor.service is not None
        auditor.turn()
        auditor.service.finish()
        assert auditor.service._saved == auditor.service._sent
    finally:
        server.terminate()
        server.wait(20)
    received = [parse(line) for line in target.read_bytes().splitlines()]
    assert [each.id for each in received] == ["110100", "110113"]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
