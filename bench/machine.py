"""Where a run takes place: the machine in a line, the scratch folder and its file system."""

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections import deque
from pathlib import Path
from types import TracebackType

from bench.receivers import find

KEEP_FREE = 10 << 30  # bytes; on a smaller disk four tenths of it
_JOURNAL_IN_PROC = ("ext3", "ext4")


def describe(folder: Path) -> dict[str, object]:
    """What the figures depend on; nothing that tells whose machine it is."""
    kind, journal = file_system(folder)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "file_system": kind,
        "journal": journal,
        "python": platform.python_version(),
        "dcmtk": _version("storescu", "dcmtk"),
        "orthanc": _version("Orthanc", "orthanc"),
    }


def in_words(machine: dict[str, object]) -> str:
    """The line above the tables."""
    journal = {True: "with a journal", False: "without a journal", None: "journal: not known"}[machine["journal"]]  # type: ignore[index]
    programs = [f"{name} {machine[name]}" for name in ("dcmtk", "orthanc") if machine[name]]
    return (
        f"{machine['cpus']} CPUs ({machine['cpu']}) shared by receivers and senders, {machine['memory_gb']} GB, "
        f"Linux {machine['kernel']}, {machine['file_system']} {journal}, Python {machine['python']}"
        + "".join(f", {program}" for program in programs)
    )


def file_system(folder: Path, mounts: str | None = None, journals: list[str] | None = None) -> tuple[str, bool | None]:
    """The type of the file system that a folder lies on, and whether it has a journal; None: cannot be told."""
    folder = folder.resolve()
    found, kind = Path(), "unknown"
    for line in (mounts if mounts is not None else Path("/proc/mounts").read_text()).splitlines():
        _, place, each, *_ = line.split()
        point = Path(place.replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind = point, each
    if kind not in _JOURNAL_IN_PROC:
        return kind, {"xfs": True, "tmpfs": False, "ext2": False}.get(kind)
    if journals is None:
        with contextlib.suppress(OSError):
            journals = os.listdir("/proc/fs/jbd2")
    device = _device(folder)
    if journals is None or device is None:
        return kind, None
    return kind, any(name.rpartition("-")[0] == device for name in journals)


def _device(folder: Path) -> str | None:
    number = folder.stat().st_dev
    with contextlib.suppress(OSError):
        return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True).name
    return None


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _version(program: str, package: str) -> str | None:
    with contextlib.suppress(OSError):
        said = subprocess.run([find(program, package), "--version"], capture_output=True, text=True).stdout
        return next((word.lstrip("v") for word in said.split() if word.lstrip("v")[:1].isdigit()), None)
    return None


class Scratch:
    """The folder of one run: a store for every row, kept until the end, so that no row pays for deleting another's.

    When less than `keep_free` bytes are free, the oldest stores go.
    """

    def __init__(self, parent: Path | None, keep_free: int | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="noctis-bench-", dir=parent))
        total = shutil.disk_usage(self.path).total
        self._keep_free = min(KEEP_FREE, total * 4 // 10) if keep_free is None else keep_free
        self._stores: deque[Path] = deque()

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def files(self) -> Path:
        """What storescu sends."""
        return self.path / "files"

    def store(self, *, stays: bool = False) -> Path:
        """A new folder; one that `stays` is never deleted before the end."""
        while self._stores and shutil.disk_usage(self.path).free < self._keep_free:
            shutil.rmtree(self._stores.popleft(), ignore_errors=True)
            os.sync()  # some file systems free the space only now
        store = Path(tempfile.mkdtemp(prefix="store-", dir=self.path))
        if not stays:
            self._stores.append(store)
        return store
