"""`noctis import` of media that point outside of themselves, or never end."""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile import wire
from tests.hostile.media import MEMORY_MAX, Imported, dicomdir, file_meta, instance, run_import
from tests.hostile.target import Target
from tests.hostile.test_dataset import deflated, nested
from tests.hostile.wire import element

SECRET, ESCAPE = "1.2.826.0.9.9", "/tmp/noctis-hostile-escape"
OUTSIDE, ABSENT = "the DICOMDIR leads outside its folder", "named by the DICOMDIR, but not there"
NO_FILE = "the DICOMDIR names what can be no file"


@dataclass(frozen=True)
class MediaCase:
    """A folder to import: `make` fills it, and gives what is handed to the command.

    `skipped` has the beginning of the reason for each file that is not imported.
    """

    name: str
    what: str
    make: Callable[[Path], Path]
    skipped: dict[str, str]
    spooled: int = 1
    says: str = ""

    @property
    def does(self) -> str:
        return self.says or "; ".join(f"skipped: {reason}" for reason in dict.fromkeys(self.skipped.values()))


def with_dicomdir(*file_ids: bytes, links: dict[str, str] | None = None) -> Callable[[Path], Path]:
    """A folder with one sound instance, symbolic links, and a DICOMDIR that names these files and the instance."""

    def make(folder: Path) -> Path:
        (folder / "IMAGE").write_bytes(instance())
        for name, leads_to in (links or {}).items():
            (folder / name).symlink_to(leads_to)
        (folder / "DICOMDIR").write_bytes(dicomdir(*file_ids, b"IMAGE"))
        return folder / "DICOMDIR"

    return make


def with_files(**files: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name, content in {"IMAGE": instance(), **files}.items():
            (folder / name).write_bytes(content)
        return folder

    return make


def _links(folder: Path) -> Path:
    (folder / "IMAGE").write_bytes(instance())
    (folder / "file").symlink_to("../secret.dcm")
    (folder / "folder").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    (folder / "zero").symlink_to("/dev/zero")
    return folder


def _special_files(folder: Path) -> Path:
    (folder / "IMAGE").write_bytes(instance())
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        at = os.open(folder, os.O_RDONLY)  # the path may be too long for a socket's
        sock.bind(f"/proc/self/fd/{at}/socket")
        os.close(at)
    try:
        os.mknod(folder / "device", 0o20600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        os.mkfifo(folder / "device")
    return folder


def _named_special_files(folder: Path) -> Path:
    with_dicomdir(b"FIFO")(folder)
    os.mkfifo(folder / "FIFO")
    return folder / "DICOMDIR"


def _names(folder: Path) -> Path:
    (folder / "IMAGE").write_bytes(instance())
    for name in (b"\x1b]0;owned\x07", b"a\nb", b"\xff\xfe", "‮gpj".encode(), b"$(reboot)"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"no DICOM, whatever it is called")
    return folder


def _nested_dicomdir(folder: Path) -> Path:
    with_dicomdir()(folder)
    (folder / "DICOMDIR").write_bytes(dicomdir(body=nested(50_000, defined=False)))
    return folder / "DICOMDIR"


def _deflated_dicomdir(folder: Path) -> Path:
    body = deflated(element(0x00041130, "UT", b"", length=2 << 30), b"\0", 2048, b"")
    (folder / "DICOMDIR").write_bytes(dicomdir(transfer_syntax=wire.DEFLATED, body=body))
    return folder / "DICOMDIR"


META = file_meta(wire.CT)
CASES = (
    MediaCase("a_dicomdir_with_dots", "a DICOMDIR that names `..\\secret.dcm`, which is there",
              with_dicomdir(b"..\\secret.dcm"), {"secret.dcm": OUTSIDE}),
    MediaCase("a_dicomdir_with_many_dots", "a DICOMDIR that names `..\\..\\..\\..\\..\\..\\..\\..\\etc\\passwd`",
              with_dicomdir(b"..\\" * 20 + b"etc\\passwd"), {"passwd": OUTSIDE}),
    MediaCase("a_dicomdir_with_slashes", "a DICOMDIR that names `../secret.dcm` as one component",
              with_dicomdir(b"../secret.dcm"), {"secret.dcm": OUTSIDE}),
    MediaCase("a_dicomdir_with_an_absolute_path", "a DICOMDIR that names `/etc/passwd`", with_dicomdir(b"/etc/passwd"),
              {"/etc/passwd": OUTSIDE}),
    MediaCase("a_dicomdir_with_an_absolute_component", "a DICOMDIR that names `A\\/etc\\group`",
              with_dicomdir(b"A\\/etc\\group"), {"/etc/group": OUTSIDE}),
    MediaCase("a_dicomdir_that_names_a_link", "a DICOMDIR that names a symbolic link out of the folder",
              with_dicomdir(b"LINK", links={"LINK": "../secret.dcm"}), {"LINK": OUTSIDE}),
    MediaCase("a_dicomdir_through_a_linked_folder", "a DICOMDIR that names a file behind a link to a folder",
              with_dicomdir(b"UP\\secret.dcm", links={"UP": ".."}), {"secret.dcm": OUTSIDE}),
    MediaCase("a_dicomdir_with_a_loop", "a DICOMDIR that names a symbolic link to itself",
              with_dicomdir(b"LOOP", b"LOOP\\X", links={"LOOP": "LOOP"}), {"LOOP": NO_FILE, "X": NO_FILE}),
    MediaCase("a_dicomdir_with_nuls", "a DICOMDIR that names a file with a NUL inside", with_dicomdir(b"A\0B\\C"),
              {"C": NO_FILE}),
    MediaCase("a_dicomdir_with_a_long_name", "a DICOMDIR that names a file of 5,000 characters",
              with_dicomdir(b"X" * 5000), {"X" * 5000: NO_FILE}),
    MediaCase("a_dicomdir_that_names_itself", "a DICOMDIR that names itself, and its own folder",
              with_dicomdir(b"DICOMDIR", b"."), {"DICOMDIR": "a DICOMDIR", "medium": ABSENT}),
    MediaCase("a_dicomdir_that_names_a_fifo", "a DICOMDIR that names a FIFO", _named_special_files, {"FIFO": ABSENT}),
    MediaCase("a_nested_dicomdir", "a DICOMDIR of 50,000 sequences inside each other", _nested_dicomdir,
              {"DICOMDIR": "a DICOMDIR"}, spooled=0),
    MediaCase("a_deflated_dicomdir", "a DICOMDIR that inflates to 2 GiB", _deflated_dicomdir,
              {"DICOMDIR": "a DICOMDIR"}, spooled=0),
    MediaCase("links_in_a_folder", "symbolic links to a file, a folder, a device and themselves", _links,
              {"file": "a symbolic link", "folder": "a symbolic link", "loop": "a symbolic link",
               "zero": "a symbolic link"}),
    MediaCase("special_files_in_a_folder", "a FIFO, a socket and a device", _special_files,
              {"fifo": "no regular file", "socket": "no regular file", "device": "no regular file"}),
    MediaCase("strange_file_names", "file names of escape sequences, newlines and bytes that are no UTF-8", _names,
              {}, says="skipped, their names escaped"),
    MediaCase("broken_files", "files that are empty, that end in their meta, or whose lengths lie", with_files(
        empty=b"", preamble=META[:132], half=META[:150], lying=META[:140] + b"\xff\xff\xff\x7f" + META[144:],
        endless=META + element(0x00080016, "UT", b"x", length=0xFFFFFFF0),
        huge=bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 1, b"OB", 0, 0xFFFFFFF0)), {
        "empty": "", "preamble": "", "half": "", "lying": "", "endless": "", "huge": ""}, says="skipped with a reason"),
    MediaCase("paths_as_uids", "instances whose UIDs are paths", with_files(
        one=instance("../../../../escape"), other=instance(ESCAPE + "-of-media", study="..", series="/")), {},
        spooled=3, says="filed under safe names"),
)  # fmt: skip


@dataclass(frozen=True)
class Played:
    """All cases by one command, each in a folder of its own beside a file that must not be imported through it."""

    root: Path
    done: Imported
    strange: list[Path]  # what was not there before

    def skipped(self, case: MediaCase) -> dict[str, str]:
        """File name (or path, where it is an absolute one that the case names): why, of one case."""
        own = f"{self.root / case.name}/"
        found = {Path(path).name: why for path, why in self.done.skipped.items() if path.startswith(own)}
        absolute = {path: why for path, why in self.done.skipped.items() if path in case.skipped}
        return found | absolute


@pytest.fixture(scope="module")
def played(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Played:
    root, scratch = tmp_path_factory.mktemp("media").resolve(), tmp_path_factory.mktemp("said")
    given = []
    for case in CASES:
        folder = root / case.name / "medium"
        folder.mkdir(parents=True)
        (root / case.name / "secret.dcm").write_bytes(instance(SECRET))
        given.append(case.make(folder))
    there = set(root.rglob("*"))
    before = target.look()
    done = run_import(target, given, scratch)
    target.check(before, filed=True)
    return Played(root, done, sorted(set(root.rglob("*")) ^ there))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case: MediaCase, played: Played) -> None:
    skipped = played.skipped(case)
    for name, reason in case.skipped.items():
        assert skipped[name].startswith(reason), skipped
    if case.skipped or not case.says:
        assert skipped.keys() == case.skipped.keys()


def test_what_is_imported_is_inside_the_archive_and_no_more(played: Played, target: Target) -> None:
    assert played.done.spooled == sum(case.spooled for case in CASES)
    assert played.strange == []
    assert not Path(ESCAPE).exists()
    filed = [path for path in target.settings.paths.media.rglob("*") if path.is_file()]
    assert filed
    assert not [path for path in filed if SECRET.encode() in path.read_bytes()]


def test_a_bomb_costs_no_memory(played: Played) -> None:
    assert played.done.memory < MEMORY_MAX
