"""The archive: where instances live for good, one file each, below one folder.

Two layouts: `tree` is {facility}/{study}/{series}/{instance}.dcm, `flat` is {facility}/{instance}.dcm (the facility
stays, as the same SOP Instance UID in two facilities is two things). Every part of a path is the facility's slug or
made by `names.safe_name`; nothing from the wire is used as it came.

Where it is full for a facility (`repository.room`) that is an `ArchiveFullError`, and nothing half-written stays.

Filing is a hard link, or a copy where links cannot be, or of a slot, and promises: the source stays as it is; a file
appears under its name whole or not at all; after `Placing.sync` it survives a power cut. Done again it ends the same.
Whether a file that is found in the place is one that counts, the index's row decides, not the file: who calls `put` or
`copy` holds that row. Copies are written in `.incoming` and made durable all at once; `sync` gives them their names.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from noctis.errors import StorageError
from noctis.repository.content import content, linked_in, same_content, same_file
from noctis.repository.names import safe_name
from noctis.repository.room import FULL, Meter, Room
from noctis.repository.spool_entries import NO_LINK, sync_folder

__all__ = ["SUFFIX", "Archive", "Placing", "SourceGoneError", "content", "same_content"]

SUFFIX = ".dcm"
INCOMING = ".incoming"  # copies that have no name yet
_PIECE = 1 << 20  # bytes
_NO_FACILITY = (INCOMING, "lost+found")  # the latter is in the root of every ext4 file system
_SYNC_ALL_FROM = 8  # copies: fewer are synced one by one, more with the whole file system, which is one wait
_ATTEMPTS = 5  # a folder that we made may be cleared away, empty, by somebody else
_KNOWN_MAX = 50_000  # folders whose names are known to be durable

Layout = Literal["tree", "flat"]


class SourceGoneError(StorageError):
    """The file to be put into the archive is not there any more: somebody else has filed it."""


class Archive:
    """All facilities' files."""

    def __init__(self, root: Path, layout: Layout = "tree", *, strict: bool = True, reserve_bytes: int = 0) -> None:
        self.root = root
        self.room = Room(root, reserve_bytes)
        self.layout = layout
        self.strict = strict  # False: `storage.durability: fast`, nothing is synced
        self._durable: set[str] = set()  # folders whose own names this process has synced

    def relative(self, slug: str, study_uid: str, series_uid: str, instance_uid: str) -> str:
        """Where an instance lies, below the archive's folder."""
        name = safe_name(instance_uid) + SUFFIX
        if self.layout == "flat":
            return f"{slug}/{name}"
        return f"{slug}/{safe_name(study_uid)}/{safe_name(series_uid)}/{name}"

    def path(self, relative: str) -> Path:
        return self.root / relative

    def has_facility(self, slug: str) -> bool:
        """Whether the facility's folder is there. One that had files and has no folder lies on a disk that is away."""
        return (self.root / slug).is_dir()

    def files(self, slug: str) -> Iterator[Path]:
        """Everything in one facility's folder that is no folder, in no order."""
        for folder, _, names in os.walk(self.root / slug):
            for name in names:
                yield Path(folder, name)

    def slugs(self) -> list[str]:
        """The folders that are there, of facilities known or not."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(
                entry.name
                for entry in os.scandir(self.root)
                if entry.name not in _NO_FACILITY and entry.is_dir(follow_symlinks=False)
            )
        return []

    def remove(self, relative: str) -> None:
        """Remove a file, if it is there, and the folders that are empty then."""
        path = self.root / relative
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.prune(path.parent)

    def prune(self, folder: Path) -> None:
        """Remove `folder` and those around it as far as they are empty; the facility's own stays."""
        while len(folder.relative_to(self.root).parts) > 1:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            self._durable.discard(str(folder))
            folder = folder.parent

    def clear_incoming(self) -> int:
        """Remove the copies of processes that have ended before they got their names; how many there were."""
        removed = 0
        for path in (self.root / INCOMING).glob("*"):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # those that are being written are locked
                path.unlink()
                removed += 1
        return removed

    def forget(self, source: Path, relative: str) -> None:
        """Remove what an interrupted `put` of `source` left. Only for a path that no row of the index owns."""
        if same_content(source, self.root / relative):
            self.remove(relative)


class Placing:
    """One batch of files on their way into the archive. `put` them, then `sync` once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._root = str(archive.root)
        self._unsynced: set[str] = set()  # folders
        self._new: set[str] = set()  # folders whose names the sync will make durable
        self._copies: list[tuple[int, str, str]] = []  # open file, its name, the name it will have
        self._meter = Meter(archive.room.check)
        self._devices: dict[str, int] = {}  # of a facility's folder, by slug; "" is the archive's own

    def put(self, source: Path, relative: str, displace: Callable[[Path], None]) -> None:
        """Give `source` its place.

        Parameters
        ----------
        displace
            Called with the path of a file that is in the place and holds another data set, kept nowhere else: it
            must be moved away.

        Raises
        ------
        SourceGoneError
            `source` does not exist.
        ArchiveFullError
            There is no room.
        OSError
            The file system refused.
        """
        with self._no_room_is_told(relative):
            self._put(source, f"{self._root}/{relative}", displace)

    def _put(self, source: Path, target: str, displace: Callable[[Path], None]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._link(source, target)
                break
            except FileExistsError:
                if not same_file(source, target):
                    waits = linked_in(source.parent, Path(target))  # and will be filed by itself
                    if not waits and not same_content(source, Path(target)):
                        displace(Path(target))
                    self._replace(source, target)
                break
            except FileNotFoundError:
                if not source.exists():
                    raise SourceGoneError(f"{source.name} is gone") from None
                if attempt == _ATTEMPTS - 1:
                    raise
                self._make_folder(os.path.dirname(target))
        self._note(os.path.dirname(target))

    def copy(self, relative: str, write: Callable[[int], None]) -> None:
        """Give a place, which must be free, to a file that does not exist yet.

        Parameters
        ----------
        write
            Writes it to an open file, and sets its time of modification.

        Raises
        ------
        FileExistsError
            There is a file in the place.
        ArchiveFullError
            There is no room.
        OSError
            The file system refused.
        """
        target = f"{self._root}/{relative}"
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists", target)
        with self._no_room_is_told(relative):
            name = self._name_of_copy(relative, target)
            try:
                descriptor = _create(name)
            except FileNotFoundError:
                self._make_folder(os.path.dirname(name))
                descriptor = _create(name)
            self._copies.append((descriptor, name, target))
            write(descriptor)
            self._meter.copied(_slug(relative), os.fstat(descriptor).st_size)

    def _name_of_copy(self, relative: str, target: str) -> str:
        """In `.incoming`, or beside its place where the facility's folder lies on a disk of its own."""
        if self._device(_slug(relative)) == self._device(""):
            return f"{self._root}/{INCOMING}/{secrets.token_hex(8)}"
        name = _temporary(target)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        return name

    def _device(self, slug: str) -> int:
        if slug not in self._devices:
            self._devices[slug] = self._archive.room.device(slug)
        return self._devices[slug]

    @contextlib.contextmanager
    def _no_room_is_told(self, relative: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise self._archive.room.full(_slug(relative)) from error

    def close(self) -> None:
        """Remove the copies that no sync has given a name. Never raises."""
        for descriptor, name, _ in self._copies:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(name)
        self._copies.clear()

    def _sync_copies(self) -> None:
        """Make what they hold durable. Each is asked where it lies: a folder below a facility's may be another disk."""
        by_device: dict[int, list[tuple[int, str]]] = {}
        for descriptor, _, target in self._copies:
            device = os.fstat(descriptor).st_dev
            by_device.setdefault(device, []).append((descriptor, self._relative(target)))
        for copies in by_device.values():
            with self._no_room_is_told(copies[0][1]):
                if len(copies) >= _SYNC_ALL_FROM:
                    sync_file_system(copies[0][0])
                else:
                    for descriptor, _ in copies:
                        os.fsync(descriptor)

    def _name_copies(self) -> None:
        if self._archive.strict:
            self._sync_copies()
        while self._copies:
            descriptor, name, target = self._copies[-1]
            with self._no_room_is_told(self._relative(target)):
                self._name_copy(name, target)
            self._copies.pop()
            os.close(descriptor)
            self._note(os.path.dirname(target))

    def _name_copy(self, name: str, target: str) -> None:
        try:
            os.rename(name, target)
        except FileNotFoundError:
            self._make_folder(os.path.dirname(target))
            os.rename(name, target)
        except OSError as error:
            if error.errno != errno.EXDEV:  # a folder below the facility's own lies on another disk
                raise
            self._copy(Path(name), target)
            os.unlink(name)

    def _relative(self, target: str) -> str:
        return target[len(self._root) + 1 :]

    def sync(self) -> None:
        """Make every file and name durable that was given since the last call."""
        if self._copies:
            self._name_copies()
        if self._archive.strict:
            for folder in sorted(self._unsynced):
                with contextlib.suppress(FileNotFoundError):  # empty again, and cleared away
                    sync_folder(Path(folder))
            durable = self._archive._durable
            if len(durable) > _KNOWN_MAX:
                durable.clear()
            durable |= self._new
        self._unsynced.clear()
        self._new.clear()

    def _link(self, source: Path, target: str) -> None:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists", target) from None
            self._copy(source, target)

    def _replace(self, source: Path, target: str) -> None:
        temporary = _temporary(target)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            self._copy(source, target)
        else:
            os.rename(temporary, target)

    def _copy(self, source: Path, target: str) -> None:
        temporary = _temporary(target)
        slug = _slug(self._relative(target))
        try:
            with open(source, "rb") as reader, open(temporary, "wb", buffering=0, opener=_private) as writer:
                while piece := reader.read(_PIECE):
                    _write_all(writer.fileno(), piece)
                    self._meter.copied(slug, len(piece))
                status = os.fstat(reader.fileno())
                os.utime(writer.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
                if self._archive.strict:
                    os.fsync(writer.fileno())
            os.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _make_folder(self, folder: str) -> None:
        if not os.path.isdir(folder):
            if folder == self._root:
                raise FileNotFoundError(errno.ENOENT, "the archive's folder is missing", folder)
            self._make_folder(os.path.dirname(folder))
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            self._archive._durable.discard(folder)

    def _note(self, folder: str) -> None:
        """Remember to sync `folder`, and those around it whose names may not be durable yet."""
        self._unsynced.add(folder)
        while folder != self._root and folder not in self._archive._durable and folder not in self._new:
            self._new.add(folder)
            folder = os.path.dirname(folder)
            self._unsynced.add(folder)


def _create(name: str) -> int:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


_libc = ctypes.CDLL(None, use_errno=True)


def sync_file_system(descriptor: int) -> None:
    """syncfs(2), which Python lacks: all that is dirty on a file system, with one wait for the disk."""
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _temporary(target: str) -> str:
    folder, name = os.path.split(target)
    return f"{folder}/.{name}.tmp"


def _slug(relative: str) -> str:
    return relative.split("/", 1)[0]


def _write_all(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
