"""All scoreboards of one home: who counts where, kept over kills and restarts of the supervisor too.

A board is a file of a folder of ours below /dev/shm, mapped by the parent and by the child that it forks; memory until
the machine is started anew. Its name is that of a listener or service and a number. A process gets the first board of
its name that nobody has, so what a worker that is gone has counted stays in the total, and is counted on by the next.
A process that has outlived its parent still writes into its own: the next one is given another.

Where there is no such folder, or it is not ours alone, boards are anonymous and live as long as the parent; this is
said once, and stops nothing. Every page that will be written is allocated here: a full file system never kills a
process in the middle of a count.
"""

import contextlib
import hashlib
import itertools
import mmap
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import structlog

from noctis.observability.scoreboard import BOARD_BYTES, Scoreboard, board_bytes
from noctis.observability.words import LAYOUT, LAYOUT_AT, ROWS_AT, Counter

log = structlog.get_logger()

SHARED_MEMORY = Path("/dev/shm")
ROWS = 4096  # facilities that a process can count apart; only what is used is allocated
_ROWS_AHEAD = 32
_HOME = "home"  # the file that says whose boards these are
_NAME = re.compile(r"(?P<name>.+)\.(?P<number>\d{1,6})")


def folder_of(root: Path) -> Path:
    """Where the boards of a home are."""
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return SHARED_MEMORY / f"noctis-{os.geteuid()}-{digest}"


class Boards:
    """One parent's. Not thread-safe.

    Parameters
    ----------
    root
        The home; None: nothing is kept.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._folder = -1  # a descriptor; none: anonymous
        self._boards: dict[str, dict[int, Scoreboard]] = {}
        self._taken: set[Scoreboard] = set()
        self._allowed = _ROWS_AHEAD
        self._with_rows: dict[Scoreboard, str] = {}  # its file's name; "": it has none
        if root is not None:
            try:
                self._folder = _open(folder_of(root), root)
                self._attach()
            except OSError as error:
                self._not_kept(error)

    def _not_kept(self, error: OSError) -> None:
        log.warning(
            "scoreboards.not_kept", reason=f"{error.filename or SHARED_MEMORY}: {error.strerror or error}",
            action="counters begin anew when the supervisor does",
        )  # fmt: skip
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _attach(self) -> None:
        """What was counted before, by whomever."""
        for file in sorted(os.listdir(self._folder)):
            if match := _NAME.fullmatch(file):
                rows = os.stat(file, dir_fd=self._folder, follow_symlinks=False).st_size > BOARD_BYTES
                self._board(match["name"], int(match["number"]), rows=rows)

    # -- who counts where

    def take(self, name: str, *, rows: bool = False) -> Scoreboard:
        """A board for one process of this name; with a table of facilities, where `rows` is asked for."""
        for number in itertools.count(1):
            board = self._boards.get(name, {}).get(number) or self._board(name, number, rows=rows)
            if board not in self._taken and not _is_alive(board.get(Counter.PID)):
                board.forget_the_moment()
                self._taken.add(board)
                return board
        raise AssertionError("unreachable")

    def give_back(self, board: Scoreboard) -> None:
        """Its process has ended and will not be started again; its counts stay."""
        board.forget_the_moment()
        self._taken.discard(board)

    def of(self, name: str) -> list[Scoreboard]:
        """All boards of this name, those that nobody has too."""
        return list(self._boards.get(name, {}).values())

    def total(self, name: str, position: int) -> int:
        """A figure over all boards of this name."""
        return sum(each.total(position) for each in self.of(name))

    def allow(self, facilities: int) -> None:
        """There are so many facilities now, each of which may want a row."""
        self._allowed = min(ROWS, facilities + _ROWS_AHEAD)
        for board in self._with_rows:
            self._allow(board)

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Forget the boards of other names: of facilities that are no more."""
        for name in [name for name in self._boards if not wanted(name)]:
            if not self._taken.isdisjoint(self.of(name)):
                continue
            for number in self._boards.pop(name):
                if self._folder >= 0:
                    with contextlib.suppress(OSError):
                        os.unlink(f"{name}.{number}", dir_fd=self._folder)

    # -- the memory

    def _board(self, name: str, number: int, *, rows: bool) -> Scoreboard:
        file = f"{name}.{number}"
        size = board_bytes(ROWS if rows else 0)
        memory: mmap.mmap | None = None
        if self._folder >= 0:
            try:
                memory = _map(self._folder, file, size)
            except OSError as error:
                self._not_kept(error)
        if memory is None:
            file, memory = "", mmap.mmap(-1, size)
        made = Scoreboard(memory)
        self._boards.setdefault(name, {})[number] = made
        if rows:
            self._with_rows[made] = file
            self._allow(made)
        return made

    def _allow(self, board: Scoreboard) -> None:
        rows = min(ROWS, max(self._allowed, board.get(ROWS_AT) + _ROWS_AHEAD))
        if file := self._with_rows[board]:
            try:
                descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
                try:
                    os.posix_fallocate(descriptor, 0, board_bytes(rows))
                finally:
                    os.close(descriptor)
            except OSError:
                return  # what was allowed before stays; who finds no row is counted with all
        board.allow(rows)


def _is_alive(pid: int) -> bool:
    """Whether a process has this pid; another one may have got it meanwhile, which costs no more than a board."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _open(folder: Path, root: Path) -> int:
    """A descriptor of the folder, which is ours alone, and made if need be."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(1, "it belongs to somebody else, or others may write there", str(folder))
        home = os.open(_HOME, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=descriptor)
        try:
            os.write(home, os.fsencode(root.resolve()))
        finally:
            os.close(home)
    except OSError:
        os.close(descriptor)
        raise
    _forget_lost(folder.parent)
    return descriptor


def _forget_lost(shared: Path) -> None:
    """Remove what is ours of homes that are no more."""
    for folder in shared.glob(f"noctis-{os.geteuid()}-*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            home = (folder / _HOME).read_bytes()
            if home and not os.path.exists(home):
                shutil.rmtree(folder)


def _map(folder: int, file: str, size: int) -> mmap.mmap:
    """The file of one board, mapped; one of another layout, or size, is begun anew."""
    for _ in range(2):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
                raise PermissionError(1, "it is not our own file", file)
            if status.st_size in (0, size):
                os.ftruncate(descriptor, size)
                os.posix_fallocate(descriptor, 0, BOARD_BYTES)
                # The mapping keeps a descriptor that a forked child closes with all others; the child never unmaps it.
                memory = mmap.mmap(descriptor, size)
                layout = int.from_bytes(memory[LAYOUT_AT * 8 : LAYOUT_AT * 8 + 8], "little", signed=True)
                if layout in (0, LAYOUT):
                    return memory
                memory.close()
        finally:
            os.close(descriptor)
        os.unlink(file, dir_fd=folder)
    raise FileExistsError(17, "it comes back when it is removed", file)
