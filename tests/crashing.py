"""Process death in tests: a child that ends, without another instruction, at one of its calls that change something.

`Child` runs work in a forked process whose `os` calls, SQL statements and commits are counted; before the one that is
chosen the process is gone: no `finally`, no flush, no rollback, nothing closed. A write may be cut in half. What the
child has told by `say` until then its parent knows.
"""

import contextlib
import gc
import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event

from noctis.repository import archive as archive_module

DIED, FAILED = 9, 1  # exit codes
# All that a process asks of the file system in Python's own words. What goes through files of `io` is seen as `open`.
CALLS = (
    *("close", "fchmod", "fdatasync", "fsync", "ftruncate", "link", "mkdir", "pwrite", "pwritev", "remove", "rename"),
    *("replace", "rmdir", "truncate", "unlink", "utime", "write"),
)
WRITES = ("pwrite", "pwritev", "write")

Say = Callable[[Any], None]


@dataclass
class Told:
    """How a child ended, and what it has said."""

    died_at: str = ""  # the call; "": it came to its end
    calls: int = 0  # that it got to; 0 when it died
    said: list[Any] = field(default_factory=list)


def run_in_child(work: Callable[[Say], None], *, die_at: int = 0, torn: bool = False) -> Told:
    """Run `work` in a child.

    Parameters
    ----------
    die_at
        Which call is not made any more; 0, or more than there are: none.
    torn
        If that call is a write, its first half is done.

    Raises
    ------
    AssertionError
        `work` raised something; its traceback is on stderr.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        child = os.fork()
    if child == 0:
        _live(work, reader, writer, die_at, torn)
    os.close(writer)
    with open(reader, "rb") as pipe:
        lines = [json.loads(line) for line in pipe.read().splitlines()]
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    told = Told()
    for line in lines:
        match line:
            case ["died", call]:
                told.died_at = call
            case ["ended", calls]:
                told.calls = calls
            case ["said", what]:
                told.said.append(what)
            case ["failed", what]:
                raise AssertionError(f"the child failed at call {die_at}: {what}")
    assert code in (0, DIED), f"the child ended with {code}"
    return told


def _live(work: Callable[[Say], None], reader: int, writer: int, die_at: int, torn: bool) -> None:
    """The child's whole life; never returns."""
    code, write = FAILED, os.write
    try:
        gc.disable()  # it would touch, and so copy, all that the parent has
        os.close(reader)
        count = _Counting(die_at, torn, lambda call: _tell(write, writer, "died", call))
        count.patch()
        work(lambda what: _tell(write, writer, "said", what))
        _tell(write, writer, "ended", count.calls)
        code = 0
    except BaseException as error:  # noqa: BLE001 - the child must not return into pytest
        sys.excepthook(*sys.exc_info())
        with contextlib.suppress(BaseException):
            _tell(write, writer, "failed", repr(error))
    finally:
        os._exit(code)


def _tell(write: Callable[[int, bytes], int], writer: int, kind: str, what: Any) -> None:
    write(writer, json.dumps([kind, what]).encode() + b"\n")


class _Counting:
    def __init__(self, die_at: int, torn: bool, told: Callable[[str], None]) -> None:
        self.calls = 0
        self._die_at, self._torn, self._told = die_at, torn, told

    def patch(self) -> None:
        """For good: this process has nothing else to do."""
        for name in CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        archive_module.sync_file_system = self._counted("syncfs", archive_module.sync_file_system)
        sys.addaudithook(self._audited)
        for name in ("begin", "commit", "rollback"):
            event.listen(Engine, name, lambda *_, name=name: self._count(name))
        event.listen(Engine, "before_cursor_execute", lambda *_: self._count("statement"))

    def _count(self, name: str) -> bool:
        """Whether this is the call that is not made."""
        self.calls += 1
        if self.calls == self._die_at:
            if self._torn and name in WRITES:
                return True
            self._die(name)
        return False

    def _die(self, name: str) -> None:
        self._told(name)
        os._exit(DIED)

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            if self._count(name):
                data = arguments[1]
                whole = b"".join(data) if name == "pwritev" else bytes(data)
                half = whole[: len(whole) // 2]
                if name == "pwritev":
                    call(arguments[0], [half], *arguments[2:])
                else:
                    call(arguments[0], half, *arguments[2:])
                self._die(f"half of {name}")
            return call(*arguments, **named)

        return counted

    def _audited(self, name: str, arguments: tuple[Any, ...]) -> None:
        """`open` is not replaced, as pathlib and shutil have their own ways to it."""
        if name != "open" or not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if not str(arguments[0]).endswith((".db", "-wal", "-shm")):
            self._count("open")
