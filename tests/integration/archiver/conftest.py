"""A facility or two, their spools, and a filer."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.facilities.registry import Registry
from tests.spooling import Intake


@pytest.fixture
def filer(registry: Registry, engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)


@pytest.fixture(params=[0, 1 << 20], ids=["files", "slots"])
def intake(registry: Registry, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Intake]:
    """What comes lies in files of its own, or in slots as far as they go."""
    made = Intake(settings, slot_bytes=request.param)
    yield made
    made.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, int], None]]:
    """Put a file system of so many bytes of memory on a folder; said again it has another size."""
    mounted: list[Path] = []

    def mounter(folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        again = ["remount,"] if folder in mounted else [""]
        command = ["mount", "-t", "tmpfs", "-o", f"{again[0]}size={size},mode=0700", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        if folder not in mounted:
            mounted.append(folder)

    yield mounter
    for folder in reversed(mounted):
        subprocess.run(["umount", "-l", str(folder)], check=True)
