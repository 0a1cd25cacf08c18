"""A small disk: ext4 in a file, mounted over a loop device, that can be full, read-only, or broken."""

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType

from tests.support import wait_for


class Disk:
    """Mounted while it is entered; unmounted at the end, whoever still uses it (lazily then)."""

    def __init__(self, image: Path, at: Path, *, mib: int) -> None:
        self._image = image
        self.at = at
        self._mib = mib

    def __enter__(self) -> "Disk":
        self.at.mkdir(parents=True, exist_ok=True)
        with self._image.open("wb") as file:
            file.truncate(self._mib << 20)
        _run("mkfs.ext4", "-q", "-m", "0", self._image)
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("umount", self.at)
            return
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("umount", "--lazy", self.at)

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", self._image, self.at)
        self.at.chmod(0o700)

    # -- full

    def fill(self) -> None:
        """Leave no block free; said again it takes what was freed meanwhile."""
        filler = os.open(self.at / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            for piece in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while os.write(filler, b"\0" * piece):
                        pass
        finally:
            os.close(filler)

    def make_room(self) -> None:
        (self.at / "filler").unlink()

    # -- read-only

    def read_only(self) -> None:
        """Remount read-only, which the kernel refuses while a file is open for writing: at the first moment it can."""
        wait_for(lambda: self._remounts("ro"), seconds=60, what="a moment to remount read-only")

    def writable(self) -> None:
        assert self._remounts("rw")

    def _remounts(self, mode: str) -> bool:
        return subprocess.run(["mount", "-o", f"remount,{mode}", self.at], capture_output=True).returncode == 0

    # -- broken

    def fail(self) -> None:
        """What the kernel does when it meets an error of the file system: read-only from now on, whatever is open."""
        source = _run("findmnt", "--noheadings", "--output", "SOURCE", self.at).strip()
        with contextlib.suppress(OSError):  # the file system that ends under it refuses this write too
            Path("/sys/fs/ext4", Path(source).name, "trigger_fs_error").write_text("1")
        wait_for(lambda: not self._takes_files(), what="the file system to be read-only")

    def repair(self) -> None:
        """What the administrator does then; nobody may use it."""
        _run("umount", self.at)
        done = subprocess.run(["e2fsck", "-f", "-y", self._image], capture_output=True, check=False)
        assert done.returncode <= 1, done.stdout
        self._mount()

    def _takes_files(self) -> bool:
        probe = self.at / "probe"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True


def _run(*command: str | Path) -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    ).stdout
