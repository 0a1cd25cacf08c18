"""Folders and DICOMDIRs made to mislead, and the process that imports them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hostile import wire
from tests.hostile.target import Target
from tests.hostile.wire import element

DIRECTORY = "1.2.840.10008.1.3.10"
# The command, and its own largest memory, KiB (getrusage would tell of the test's process too, from before the exec).
MEASURED = """
import re, sys
from noctis.cli import run
code = run(sys.argv[2:])
with open(sys.argv[1], "w") as file, open("/proc/self/status") as status:
    file.write(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])
sys.exit(code)
"""
MEMORY_MAX = 400 << 20  # bytes that the importing process may have had at once


def file_meta(sop_class: str, transfer_syntax: str = wire.EXPLICIT) -> bytes:
    content = (
        element(0x00020002, "UI", sop_class)
        + element(0x00020003, "UI", "1.2.826.0.3.1")
        + element(0x00020010, "UI", transfer_syntax)
    )
    return bytes(128) + b"DICM" + element(0x00020000, "UL", len(content).to_bytes(4, "little")) + content


def instance(uid: str | bytes = "1.2.826.0.3.1", **values: Any) -> bytes:
    """A whole file."""
    return file_meta(wire.CT) + wire.data_set(instance=uid, **values)


def dicomdir(*file_ids: bytes, transfer_syntax: str = wire.EXPLICIT, body: bytes | None = None) -> bytes:
    """A DICOMDIR whose records name these files; `\\` parts the components."""
    records = b""
    for file_id in file_ids:
        record = element(0x00041430, "CS", "IMAGE") + element(0x00041500, "CS", file_id)
        records += b"\xfe\xff\x00\xe0" + len(record).to_bytes(4, "little") + record
    if body is None:
        body = element(0x00041130, "CS", "DISC") + element(0x00041220, "SQ", records)
    return file_meta(DIRECTORY, transfer_syntax) + body


@dataclass(frozen=True)
class Imported:
    """What `noctis import` did."""

    code: int
    spooled: int
    skipped: dict[str, str]  # path: why
    memory: int  # bytes at the most


def run_import(target: Target, paths: Sequence[Path], scratch: Path) -> Imported:
    """`noctis import central PATH… --json`; what it says is looked at for tracebacks and terminal control."""
    out, err, memory = scratch / "out", scratch / "err", scratch / "memory"
    command = [sys.executable, "-c", MEASURED, str(memory), "import", "central", *map(str, paths), "--json"]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=target.environment, cwd=scratch
        )
        process.wait()
    written, said = out.read_bytes(), err.read_bytes()
    assert b"Traceback" not in said, said.decode(errors="replace")
    assert b"\x1b]" not in said + written
    assert written, f"nothing was printed; exit code {process.returncode}: {said.decode(errors='replace')}"
    document = json.loads(written)
    skipped = {each["path"]: each["reason"] for each in document["skipped"]}
    return Imported(process.returncode, document["spooled"], skipped, int(memory.read_text()) << 10)
