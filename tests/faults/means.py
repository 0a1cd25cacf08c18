"""What a fault needs of this machine: each probe says why it cannot be had here, "" when it can."""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.faults.disks import Disk


@functools.cache
def disks() -> str:
    """Small file systems in files, mounted: root, and loop devices."""
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    missing = [name for name in ("mkfs.ext4", "e2fsck", "mount") if find(name) is None]
    if missing:
        return f"{missing[0]} is not installed: apt-get install e2fsprogs mount"
    with tempfile.TemporaryDirectory(prefix="noctis-probe-") as folder:
        try:
            with Disk(Path(folder) / "image", Path(folder) / "mounted", mib=8):
                return ""
        except (subprocess.CalledProcessError, OSError) as error:
            said = getattr(error, "stderr", "") or str(error)
            return f"loop devices cannot be mounted here: {' '.join(str(said).split())}"


@functools.cache
def tracing() -> str:
    """strace, attached to a process that runs, letting its system calls fail."""
    if find("strace") is None:
        return "strace is not installed: apt-get install strace"
    child = subprocess.Popen(["sleep", "5"])
    try:
        tried = subprocess.run(
            ["timeout", "-s", "INT", "0.3", "strace", "-o", "/dev/null", "-p", str(child.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        child.kill()
        child.wait()
    return "a process cannot be traced here (ptrace)" if "not permitted" in tried.stderr else ""


@functools.cache
def networks() -> str:
    """Network namespaces with a cable between them."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if find("ip") is None:
        return "ip is not installed: apt-get install iproute2"
    done = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "network namespaces cannot be made here"


@functools.cache
def clocks() -> str:
    """A clock of its own for a tree of processes: a C compiler, for what is preloaded (`clock.c`)."""
    return "" if find("cc") else "cc is not installed: apt-get install gcc libc6-dev"


def find(name: str) -> str | None:
    """A program, those of the administrator too."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin")))
