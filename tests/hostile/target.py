"""The listener under test, a process of its own, and what must be true of it after every case.

`noctis listen` on a home of its own, below folders in which nothing else may appear. `look` before a case, `check`
after it: the same process, answering a fresh association, with no descriptor, thread or file left behind, its memory
back, and a log without tracebacks and without anything of a patient's.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from noctis.facilities.registry import Registry
from noctis.repository import slots
from noctis.repository.journal import TAKEN
from tests.hostile import wire
from tests.hostile.peer import ACCEPT, Peer, goes_on, statuses
from tests.spooling import is_being_written
from tests.support import environment, free_port, listens, wait_for

STRICT = os.environ.get("TEST_HOSTILE_STRICT") == "1"  # the machine is quiet: an echo takes less than ECHO_SECONDS
ECHO_SECONDS = 1.0
CASE_BYTES = 8 << 20  # by which the process may have grown after one case
ALL_BYTES = 16 << 20  # and after all
WARM_ROUNDS = 12
IDLE_THREADS = 2  # the main one, and for some seconds one that tells which associations are open
RENDERER_COLOURS = re.compile(rb"\x1b\[[0-9;]*m")  # of a log in console format
BURST = 40


@dataclass(frozen=True)
class Look:
    """The process before a case."""

    resident: int  # bytes
    log_at: int  # bytes
    around: frozenset[str]


class Target:
    """One listener, of the facility `central` with the AE title CENTRAL."""

    def __init__(self, root: Path, database: Path, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.root = root
        self.home = root / "deep" / "below" / "home"  # so that ../../.. stays in sight
        self.home.mkdir(parents=True)
        (self.home / "noctis.db").write_bytes(database.read_bytes())
        self.log = root.with_name(root.name + ".log")
        self.port = free_port()
        self._options: dict[str, dict[str, Any]] = {
            "server": {"bind": "127.0.0.1"},
            "storage": {"reserve_bytes": 0},
            "logging": {"format": "json"},
        }
        for section, values in options.items():
            self._options.setdefault(section, {}).update(values)
        self.slowest_echo = 0.0  # seconds
        engine = make_engine(self.settings, pooled=False)
        Registry(engine, self.settings, actor="test").add("Central", ae_title="CENTRAL", port=self.port)
        engine.dispose()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "noctis", "listen", "central"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.home.parent,
            )
        self.pid = self._process.pid
        wait_for(self._is_ready, seconds=60, what=f"the listener; its log: {self._log_tail()}")
        self._warm_up()
        self._descriptors = wait_for(self._quiet_descriptors, what="an idle listener")
        self._resident = self.resident()

    # -- its life

    @cached_property
    def settings(self) -> Settings:
        return load_settings(options={"home": str(self.home), **self._options})

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.home, self._options)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log_tail()
        return listens(self.port)

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def _warm_up(self) -> None:
        """What is loaded at first use is loaded: it would count as growth."""
        for round_ in range(WARM_ROUNDS):
            with Peer(self.port) as peer:
                assert peer.associate()[0] == ACCEPT
                for data in (wire.data_set(instance=f"1.2.826.{round_}"), b"\x08\0\x16\0??" + bytes(20)):
                    peer.send(wire.store(data, instance=f"1.2.826.{round_}"))
                statuses(peer, 0x0000, 0xC000)
                goes_on(peer)
            with Peer(self.port) as peer:
                peer.send(b"GET / HTTP/1.1\r\n\r\n")
                peer.rest()
            self.take_kept()
        with ExitStack() as burst:  # as many threads at once as any case makes: each may get an arena of its own
            for _ in range(BURST):
                begun = burst.enter_context(Peer(self.port))
                begun.send(wire.associate_rq() + wire.store(bytes(60000))[:30000])
                begun.read()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    # -- what can be seen of it

    def resident(self) -> int:
        """Bytes of memory that are its own."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
        raise AssertionError("no RssAnon in /proc")

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def descriptors(self) -> int:
        """How many are open, but for slots: a file of the spool is open once at the most, and none that was removed."""
        slots_open: set[str] = set()
        others = 0
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                path = os.readlink(f"/proc/{self.pid}/fd/{name}")
            except FileNotFoundError:
                continue
            if path.startswith(f"{self.home}/spool/") and path.endswith(".dcm") and path not in slots_open:
                slots_open.add(path)
            else:
                others += 1
        return others

    def _quiet_descriptors(self) -> int:
        return self.descriptors() if self.threads() <= IDLE_THREADS else 0

    def around(self) -> frozenset[str]:
        """Everything below the root but what belongs into spool, quarantine, run and database."""
        found = set()
        for folder, _, names in os.walk(self.root):
            inside = Path(folder).is_relative_to(self.home)
            words = Path(folder).relative_to(self.home).parts if inside else ()
            for name in names:
                if words[:1] in (("spool",), ("quarantine",)) or words[:2] == ("run", "journal"):
                    assert self._is_expected(words, name), f"a strange file: {folder}/{name}"
                elif words[:2] != ("run", "live") and not (words == () and inside and name.startswith("noctis.db")):
                    found.add(os.path.join(folder, name))
        return frozenset(found)

    def _is_expected(self, words: tuple[str, ...], name: str) -> bool:
        stem, _, suffix = name.partition(".")
        if words[0] == "spool":
            return words[1] == "central" and (suffix == "dcm" or name == "lock" or name.startswith("."))
        if words[0] == "quarantine":
            return words[1] == "central" and stem.replace("-", "").isalnum() and suffix in ("dcm", "json", "dcm.json")
        own = (f"central-{self.pid}.", "operator.")
        return name.startswith(own) and name.endswith((".jsonl", TAKEN))  # the latter while the ledgers are written

    def log_since(self, at: int) -> bytes:
        with self.log.open("rb") as file:
            file.seek(at)
            return file.read()

    def quarantined(self) -> list[Path]:
        return sorted(self.home.glob("quarantine/*/*.dcm"))

    def take_kept(self) -> tuple[int, int]:
        """How many instances are in the spool and in quarantine; they are taken away, as by archiver and operator."""
        root = self.home / "spool"
        stored = 0
        for entry in list(slots.everything_waiting(root)):
            own = slots.eject(root, entry) if entry.slot else entry
            assert own is not None
            own.path.unlink()
            stored += 1
        quarantined = self.quarantined()
        for path in self.home.glob("quarantine/*/*"):
            path.unlink()
        return stored, len(quarantined)

    # -- before and after a case

    def look(self) -> Look:
        self.take_kept()  # of a case that failed
        return Look(self.resident(), self.log.stat().st_size, self.around())

    def check(self, before: Look, *, stored: int = 0, quarantined: int = 0, filed: bool = False) -> None:
        """All of it; raises AssertionError. `filed`: the archive may have grown."""
        assert self._process.poll() is None, f"the listener has ended:\n{self._log_tail()}"
        self._check_echo()
        wait_for(lambda: self.threads() <= IDLE_THREADS, what="the end of every association's thread")
        wait_for(lambda: self.descriptors() == self._descriptors, what="the descriptors to be given back")
        unfinished = [path for path in self.home.glob("spool/*/tmp/*/*.dcm") if is_being_written(path)]
        assert unfinished == [], "half-written instances were left"
        new = self.around() ^ before.around
        archive = f"{self.settings.paths.media}/central/"
        assert not {path for path in new if not (filed and path.startswith(archive))}, f"strange files: {new}"
        assert self.take_kept() == (stored, quarantined), "instances in the spool, in quarantine"
        self._check_log(before.log_at)
        grown = self.resident() - before.resident
        assert grown <= CASE_BYTES, f"the process has grown by {grown} bytes"

    def check_all(self) -> None:
        """After a module's last case: since the start."""
        grown = self.resident() - self._resident
        assert grown <= ALL_BYTES, f"the process has grown by {grown} bytes over all cases"

    def _check_echo(self) -> None:
        """A real association on another connection, answered at the first attempt."""
        begun = time.monotonic()
        with Peer(self.port) as peer:
            peer.sock.settimeout(10.0)
            assert peer.associate(calling=b"AFTERWARDS")[0] == ACCEPT
            goes_on(peer)
        seconds = time.monotonic() - begun
        self.slowest_echo = max(self.slowest_echo, seconds)
        assert not STRICT or seconds < ECHO_SECONDS, f"the echo took {seconds:.2f} s"

    def _check_log(self, at: int) -> None:
        written = self.log_since(at)
        is_json = self._options["logging"]["format"] == "json"
        if not is_json:
            written = RENDERER_COLOURS.sub(b"", written)
        for line in written.splitlines() if is_json else ():
            said = json.loads(line)  # one line an event, whatever a peer calls itself
            assert "exception" not in said, said["exception"]
            assert not said["event"].endswith(".fault"), said
        assert b"Traceback" not in written
        for secret in wire.PATIENT_DATA:
            assert secret not in written, f"a patient's data in the log: {secret!r}"
        assert b".fault" not in written
        unprintable = [byte for byte in written if (byte < 0x20 and byte != 0x0A) or byte == 0x7F]
        assert not unprintable, "control characters in the log"
