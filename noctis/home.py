"""The home folder: every path of it, from one place (docs/architecture.md, "On disk").

Folders are made 0700 and files 0600 (umask 077): what is here is patients' data.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from noctis.errors import HomeError

UMASK = 0o077
SOCKET_PATH_MAX = 107  # bytes, of sockaddr_un without its NUL


@dataclass(frozen=True)
class Home:
    """The paths below one home folder. Nothing is created until `create` is called."""

    root: Path
    media: Path  # the archive; may lie elsewhere (`storage.media`)

    @property
    def sqlite(self) -> Path:
        return self.root / "noctis.db"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def tls(self) -> Path:
        """Certificates and their keys (`tls.policy`)."""
        return self.root / "tls"

    @property
    def receipts(self) -> Path:
        """Receipts (`receipts.document`), unless they lie elsewhere (`receipts.folder`); made with the first."""
        return self.root / "receipts"

    @property
    def frames(self) -> Path:
        """Pictures of frames (`frames.cache`), made when the first is kept; may be deleted at any time."""
        return self.root / "cache" / "frames"

    @property
    def journal(self) -> Path:
        """Where listeners leave what the ledgers shall know (`repository.journal`)."""
        return self.run / "journal"

    @property
    def associations(self) -> Path:
        """Where listeners count their associations together (`listener.places`)."""
        return self.run / "associations"

    @property
    def live(self) -> Path:
        """Where listeners say which associations are open (`observability.live`)."""
        return self.run / "live"

    @property
    def snapshot(self) -> Path:
        return self.run / "facilities.json"

    @property
    def usage(self) -> Path:
        """What every facility has in the archive, for the listeners (`repository.usage`)."""
        return self.run / "usage.json"

    @property
    def control_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def hints(self) -> Path:
        return self.run / "hints"

    @property
    def pid_file(self) -> Path:
        return self.run / "supervisor.pid"

    def folders(self) -> tuple[Path, ...]:
        """Every folder that must exist and be writable."""
        return (
            self.root,
            self.media,
            self.spool,
            self.quarantine,
            self.run,
            self.journal,
            self.live,
            self.logs,
            self.tls,
        )

    def create(self) -> None:
        """Make the folders that are missing.

        Raises
        ------
        HomeError
            One of them cannot be made or written to; the message names it and its owner.
        """
        for folder in self.folders():
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise HomeError(
                    f"cannot create the folder {folder}: {error.strerror}", fix=f"make it writable for {whoami()}"
                ) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise HomeError(
                    f"the folder {folder} belongs to {owner_of(folder)} and is not writable for {whoami()}",
                    fix=f"run as {owner_of(folder)}, or: chown -R {whoami()} {self.root}",
                )


def whoami() -> str:
    """The name of the effective user, or its number."""
    return user_name(os.geteuid())


def actor() -> str:
    """Who gives the command, for the events: the login behind sudo, else the user."""
    return os.environ.get("SUDO_USER") or user_name(os.getuid())


def owner_of(path: Path) -> str:
    """The name of the user who owns `path`, or its number."""
    return user_name(path.stat().st_uid)


def user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket whose own path may be longer than sockaddr_un takes: through its folder's descriptor.

    Raises
    ------
    OSError
        There is no such folder.
    """
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
