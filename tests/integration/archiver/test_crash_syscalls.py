"""The kernel's own boundaries: one scenario, killed, or refused by the disk, at each of its system calls in turn.

`strace` ends the process before the n-th call of a kind, SQLite's among them, or makes that call fail with EIO
or ENOSPC while the process goes on. Afterwards the books balance. The ordinary run takes some calls, evenly spread;
`TEST_CRASHES=all` takes every one, and with `-s` says what was covered.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.errors import NoctisError
from noctis.facilities.registry import Registry
from noctis.repository import quarantine_rows, release, spool
from noctis.repository.quarantine import Quarantine
from noctis.repository.slots import SlotBudget
from noctis.repository.spool import Spool
from tests.books import empty
from tests.receiving import Ledger, check, digest, receive
from tests.support import wait_for

# Every call that changes a file, a name or what is durable.
CHANGES = (
    "openat,write,pwrite64,pwritev,fsync,fdatasync,syncfs,ftruncate,truncate,link,linkat,rename,renameat,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,utimensat,close"
)
FAILING = "write,pwrite64,pwritev,fsync,fdatasync,syncfs,ftruncate,link,rename,unlink,mkdir,rmdir,utimensat,openat"
SOME = 4  # of the ordinary run, for each way
KILLED = -9
_CALL = re.compile(r"^(\w+)\(")

pytestmark = [
    pytest.mark.parametrize("backend", ["sqlite"]),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
    pytest.mark.timeout(0),
]

# number, variant, slug, with slots
SENT = (
    (0, 0, "central", True), (1, 0, "central", True), (7, 0, "central", True), (2, 0, "north", False),
    (2, 0, "north", False), (0, 0, "central", True), (0, 1, "central", True), (9, 0, "central", True),
    (3, 0, "central", False), (8, 0, "north", False),
)  # fmt: skip
LATER = ((4, 0, "central", True), (5, 0, "central", True), (2, 2, "north", False), (6, 0, "north", False))


def scenario(settings: Settings, said: int) -> None:
    """Receive, file, receive again into the slots, file, release what conflicts; what fails is let be and gone on."""
    spools: dict[tuple[str, bool], Spool] = {}

    def say(what: list[str]) -> None:
        line = json.dumps(what).encode() + b"\n"
        with suppress(OSError):  # injected; the next one is not
            os.write(said, line)
            return
        os.write(said, line)

    def take(sent: tuple[tuple[int, int, str, bool], ...]) -> None:
        for number, variant, slug, slots in sent:
            with suppress(NoctisError, OSError):
                key = (slug, slots)
                if key not in spools:
                    budget = SlotBudget((1 << 20) * slots)
                    spools[key] = Spool(settings.paths.spool, slug, slots=budget)
                receive(spools[key], Ledger(), number, variant, say=say)

    def file() -> None:
        with suppress(NoctisError, OSError):
            spool.recover(settings.paths.spool)
            file_spool_once(settings)

    take(SENT)
    file()
    take(LATER)
    file()
    quarantine = Quarantine(settings.paths.quarantine)
    with suppress(NoctisError, OSError):
        engine = make_engine(settings)
        try:
            for name in sorted(quarantine.names("central")):
                with suppress(NoctisError):
                    release.release(settings, engine, "central", name, replace=True)
            quarantine_rows.sync(engine, quarantine)
        finally:
            engine.dispose()
    for each in spools.values():
        each.close()


class Run:
    """The scenario in a child under strace."""

    def __init__(self, settings: Settings, *options: str) -> None:
        go_reader, go = os.pipe2(os.O_CLOEXEC)
        said_reader, said = os.pipe2(os.O_CLOEXEC)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
            child = os.fork()
        if child == 0:
            code = 1
            try:
                os.read(go_reader, 1)
                scenario(settings, said)
                code = 0
            except BaseException:  # noqa: BLE001 - the child must not return into pytest
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        os.close(go_reader)
        os.close(said)
        log = settings.home / "strace.log"
        tracer = subprocess.Popen(
            ["strace", "-qq", "-o", str(log), *options, "-p", str(child)], stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: tracer.poll() is not None or traced(child), what="strace")
        os.write(go, b"g")
        os.close(go)
        with open(said_reader, "rb") as pipe:
            self.acknowledged = {(slug, sha256) for slug, sha256 in map(json.loads, pipe.read().splitlines())}
        _, status = os.waitpid(child, 0)
        self.code = os.waitstatus_to_exitcode(status)
        _, errors = tracer.communicate()
        if "PTRACE" in errors.upper() or "not permitted" in errors:
            pytest.skip(f"strace may not trace here: {errors.strip()}")
        self.calls = Counter(match[1] for line in log.read_text().splitlines() if (match := _CALL.match(line)))
        log.unlink()


def traced(process: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    return "TracerPid:\t0\n" not in status


@pytest.fixture
def anew(registry: Registry, engine: Engine, settings: Settings) -> Callable[[], None]:
    """Everything is as at the beginning."""

    def start() -> None:
        empty(engine)
        home = settings.paths
        for folder in (home.media, home.quarantine, home.spool):
            shutil.rmtree(folder)
            folder.mkdir()
        engine.dispose()  # a child must not have its parent's connections

    return start


def boundaries(calls: Counter[str]) -> Iterator[tuple[str, int]]:
    """Each call of each kind, or some of them, evenly spread."""
    every = [(call, number) for call in sorted(calls) for number in range(1, calls[call] + 1)]
    if os.environ.get("TEST_CRASHES") == "all":
        return iter(every)
    start = os.getpid() % max(1, len(every) // SOME)  # other ones in each run
    return iter(every[start :: max(1, len(every) // SOME)][:SOME])


def unbalanced(settings: Settings, engine: Engine, run: Run) -> str:
    """What is wrong after a run; "": nothing."""
    sent = {(slug, digest(number, variant)) for number, variant, slug, _ in SENT + LATER}
    try:
        check(settings, engine, Ledger(sent, run.acknowledged))
    except AssertionError as error:
        return str(error)
    return ""


def test_undisturbed_everything_is_acknowledged(settings: Settings, engine: Engine, anew: Callable[[], None]) -> None:
    anew()
    run = Run(settings, "-e", f"trace={CHANGES}")
    assert run.code == 0
    assert run.acknowledged == {(slug, digest(number, variant)) for number, variant, slug, _ in SENT + LATER}
    assert run.calls["fdatasync"] > len(SENT)
    assert unbalanced(settings, engine, run) == ""


def test_killed_before_any_call(settings: Settings, engine: Engine, anew: Callable[[], None]) -> None:
    anew()
    calls = Run(settings, "-e", f"trace={CHANGES}").calls
    killed, wrong = 0, {}
    for call, number in boundaries(calls):
        anew()
        run = Run(settings, "-e", f"inject={call}:signal=SIGKILL:when={number}")
        assert run.code in (0, KILLED), f"{call} {number}"
        killed += run.code == KILLED
        wrong[call, number] = unbalanced(settings, engine, run)
    print(f"\n{calls.total()} calls, killed before {killed} of them: {dict(calls)}")
    assert {where: what for where, what in wrong.items() if what} == {}
    assert killed


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_the_disk_refuses_any_call(error: str, settings: Settings, engine: Engine, anew: Callable[[], None]) -> None:
    anew()
    calls = Run(settings, "-e", f"trace={FAILING}").calls
    wrong = {}
    for call, number in boundaries(calls):
        anew()
        run = Run(settings, "-e", f"inject={call}:error={error}:when={number}")
        wrong[call, number] = unbalanced(settings, engine, run) or ("" if run.code == 0 else "it did not go on")
    print(f"\n{calls.total()} calls, {len(wrong)} of them refused with {error}: {dict(calls)}")
    assert {where: what for where, what in wrong.items() if what} == {}
