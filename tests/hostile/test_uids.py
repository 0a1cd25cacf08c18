"""Values that others take for paths, commands or lines of a log: UIDs, and the Patient ID."""

import itertools
from pathlib import Path

from noctis.archiver.filing import file_spool_once
from tests.hostile import wire
from tests.hostile.case import Case, each, play
from tests.hostile.peer import ACCEPT, Answered, Peer, goes_on, statuses
from tests.hostile.target import Target

ESCAPE = "/tmp/noctis-hostile-escape"  # must never exist
SHAPES = (
    ("a_relative_path", "`../../etc/x`", b"../../etc/x"),
    ("a_longer_relative_path", "`../` 20 times", b"../" * 20 + b"tmp/x"),
    ("an_absolute_path", f"`{ESCAPE}`", ESCAPE.encode()),
    ("a_windows_path", "`..\\..\\x`, and `C:\\x`", b"..\\..\\x\\C:\\x"),
    ("dots", "`..`", b".."),
    ("dots_among_digits", "`1.2..3.`", b"1.2..3."),
    ("65_digits", "65 digits and dots", b"1." + b"2" * 63),
    ("300_characters", "300 characters: more than a file name may have", b"1." + b"3" * 298),
    ("5000_characters", "5,000 characters", b"1." + b"4" * 4998),
    ("shell_characters", "``$(reboot);`id`|x&``", b"$(reboot);`id`|x&"),
    ("markup", "`<script>` and `[bold]`", b"<script>alert(1)</script>[bold]{0}%s"),
    ("a_newline", "a newline and a forged log line", b'1.2\n{"event": "instance.stored"}'),
    ("ansi", "ANSI escape sequences", b"\x1b[2J\x1b[31m1.2"),
    ("c1_controls", "C1 control characters", b"\x9b2J\x9d0;x\x9c"),
    ("utf_8", "UTF-8", "1.2.é‮3".encode()),
    ("0xff", "bytes 0xFF", b"\xff" * 30),
    ("sql", "`'; DROP TABLE instance; --`", b"'; DROP TABLE instance; --"),
    ("a_slug", "the name of the facility's own folder", b"central"),
    ("leading_spaces", "leading spaces", b"  1.2.3"),
)
STORED = Answered(0)


_numbers = itertools.count(1)


def _stored(**values: bytes) -> bytes:
    """A C-STORE of an instance of its own, unless it is given one."""
    instance = values.pop("instance", f"1.2.826.0.5.{next(_numbers)}".encode())
    return wire.store(wire.data_set(instance=instance, **values), instance=instance)


def _case(where: str, keyword: str, name: str, what: str, value: bytes) -> Case:
    return Case(
        f"{keyword}_of_{name}", f"{where} {what}", _stored(**{keyword: value}), STORED, stored=1,
        says="0000, under a safe name" if keyword != "patient_id" else "0000; it is part of no path",
    )  # fmt: skip


PLACES = (
    ("a SOP Instance UID of", "instance"),
    ("a Study Instance UID of", "study"),
    ("a Series Instance UID of", "series"),
    ("a Patient ID of", "patient_id"),
)
NULS = b"1.2\0/../3"
CASES = (
    *(_case(where, keyword, *shape) for where, keyword in PLACES for shape in SHAPES),
    Case("instance_of_nuls", "a SOP Instance UID with NULs inside",
         wire.store(wire.data_set(instance=NULS), instance=NULS), Answered(0xA900), quarantined=1),
    Case("study_of_nuls", "a Study Instance UID with NULs inside", _stored(study=NULS), STORED,
         stored=1, says="0000, under a safe name"),
    Case("patient_id_of_nuls", "a Patient ID with NULs inside", _stored(patient_id=NULS), STORED,
         stored=1),
    Case("another_instance", "a SOP Instance UID that differs between command and data set",
         wire.store(wire.data_set(instance="1.2.3"), instance="1.2.4"), Answered(0xA900), quarantined=1),
    Case("instance_only_in_the_command", "an empty SOP Instance UID in the data set",
         wire.store(wire.data_set(instance="")), Answered(0xC000), quarantined=1),
    Case("no_study", "an empty Study Instance UID", wire.store(wire.data_set(study="")), Answered(0xC000),
         quarantined=1),
    Case("no_series", "an empty Series Instance UID", wire.store(wire.data_set(series="")), Answered(0xC000),
         quarantined=1),
)  # fmt: skip


@each(CASES)
def test_case(case: Case, target: Target) -> None:
    play(case, target)
    assert not Path(ESCAPE).exists()


def test_whatever_was_stored_is_filed_inside_the_archive(target: Target) -> None:
    before = target.around()
    sent = [case for case in CASES if case.stored]
    with Peer(target.port) as peer:
        assert peer.associate()[0] == ACCEPT
        for case in sent:
            assert isinstance(case.send, bytes)
            peer.send(case.send)
            statuses(peer, 0)
        goes_on(peer)
    file_spool_once(target.settings)
    filed = [Path(path) for path in target.around() - before]
    assert len(filed) == len(sent)
    assert all(path.is_relative_to(target.settings.paths.media / "central") for path in filed)
    assert all(path.suffix == ".dcm" and len(path.name) < 80 for path in filed)
    assert not Path(ESCAPE).exists()
    assert target.take_kept()[0] == 0
