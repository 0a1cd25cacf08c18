"""What is missing, damaged or in the way is told, and the rest is saved or restored."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
from noctis.backup import files, generations, make
from noctis.backup.make import backup
from noctis.config import Settings
from noctis.errors import DatabaseError, HomeError, StorageError, UsageError
from noctis.repository import slots
from noctis.repository.verify import Kind, verify
from tests.books import assert_true
from tests.integration.backup.conftest import Bring, SaveInto
from tests.spooling import Intake

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
FIRST = "central/1.1/1.1.0/1.2.3.0.dcm"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)


# -- in the archive


@pytest.mark.usefixtures("filed")
@pytest.mark.parametrize(
    ("harm", "kind"),
    [(Path.unlink, "missing"), (flip, "damaged"), (lambda path: os.truncate(path, 100), "damaged")],
)
def test_a_damaged_archive_is_told_and_the_rest_is_saved(
    harm: Callable[[Path], None], kind: str, save: SaveInto, folder: Path, settings: Settings, bring_back: Bring
) -> None:
    original = (settings.paths.media / FIRST).read_bytes()
    harm(settings.paths.media / FIRST)
    made = save()
    assert [(each.kind, each.path) for each in made.problems] == [(kind, f"archive/{FIRST}")]
    assert made.copied == 4
    assert (folder / made.generation / "damaged" / FIRST).exists() == (kind == "damaged")
    home = bring_back()
    assert [(each.kind, each.path) for each in home.result.problems] == [(kind, f"archive/{FIRST}")]
    assert home.result.instances == 4
    assert verify(home.settings, home.engine).counts == {Kind.NO_FILE: 1}
    assert save().problem_count == 1  # what is not there is not taken for unchanged
    (settings.paths.media / FIRST).write_bytes(original)
    again = save()
    assert (again.problems, again.copied, again.unchanged) == ([], 1, 4)


@pytest.mark.usefixtures("filed")
def test_a_sound_file_of_the_backup_before_is_kept(save: SaveInto, settings: Settings, bring_back: Bring) -> None:
    save()
    flip(settings.paths.media / FIRST)
    assert save().problems == []
    home = bring_back()
    assert_true(home.engine, home.settings)


@pytest.mark.parametrize("slot_bytes", [0, 1 << 20])
@pytest.mark.parametrize("where", ["head", "data set"])
def test_a_damaged_instance_in_the_spool_is_told_and_kept(
    where: str, slot_bytes: int, filed: Intake, settings: Settings, save: SaveInto, folder: Path
) -> None:
    intake = Intake(settings, slot_bytes=slot_bytes)
    for number in range(2):
        path = intake.instance(study="1.8", sop_instance=f"1.8.{number}").entry.path
    meta = slots.look(path)
    assert meta is not None
    assert meta.record is not None
    assert bool(meta.record.stamp) == bool(slot_bytes)
    with open(path, "r+b") as file:
        file.seek(200 if where == "head" else meta.dataset_start + 9)
        file.write(b"\xff")
    made = save()
    intake.close()
    if where == "head" and slot_bytes:  # then it is no committed slot
        assert (made.spool, made.problems) == (1, [])
        return
    assert [(each.kind, Path(each.path).name) for each in made.problems] == [("spool", path.name)]
    assert made.spool == 2
    assert len(list((folder / made.generation / "spool").glob("central/new/*.dcm"))) == 2


# -- in the backup


@pytest.mark.usefixtures("filed")
def test_a_damaged_backup_is_told_and_the_rest_is_restored(
    intake: Intake, save: SaveInto, folder: Path, settings: Settings, bring_back: Bring
) -> None:
    for number in range(2):
        intake.instance(study="1.9", sop_instance=f"1.9.{number}")
    generation = folder / save().generation
    flip(generation / "archive" / FIRST)
    (generation / "archive/central/1.1/1.1.0/1.2.3.1.dcm").unlink()
    (quarantined,) = generation.glob("quarantine/central/*.dcm")
    flip(quarantined)
    spooled = sorted(generation.glob("spool/central/new/*.dcm"))
    spooled[0].unlink()
    result = bring_back().result
    assert {(each.kind, each.path) for each in result.problems} == {
        ("damaged", f"archive/{FIRST}"),
        ("missing", "archive/central/1.1/1.1.0/1.2.3.1.dcm"),
        ("damaged", str(quarantined.relative_to(generation))),
        ("missing", str(spooled[0].relative_to(generation))),
    }
    assert (result.instances, result.spool, result.quarantine) == (3, 1, 0)


@pytest.mark.usefixtures("filed")
def test_a_backup_whose_index_cannot_be_used_is_refused(
    save: SaveInto, folder: Path, bring_back: Bring, tmp_path: Path
) -> None:
    path = folder / save().generation / "noctis.db"
    sound = path.read_bytes()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="newer Noctis"):
        bring_back()
    path.write_bytes(sound[:4096] + b"\xff" * 4096 * 40 + sound[4096 * 41 :])
    with pytest.raises(DatabaseError, match="damaged"):
        bring_back()
    path.unlink()
    with pytest.raises(StorageError, match="is missing"):
        bring_back()
    assert not [each for each in tmp_path.glob("restored*") if any(each.rglob("*"))]


@pytest.mark.usefixtures("filed")
def test_an_index_that_is_another_one_is_told(save: SaveInto, folder: Path, bring_back: Bring) -> None:
    path = folder / save().generation / "noctis.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE facility SET name = 'Other' WHERE slug = 'central'")
    result = bring_back().result
    assert [(each.kind, each.path) for each in result.problems] == [("damaged", "noctis.db")]
    assert result.instances == 5


@pytest.mark.usefixtures("filed")
def test_a_list_of_files_that_leads_elsewhere_is_not_followed(
    save: SaveInto, folder: Path, bring_back: Bring, tmp_path: Path
) -> None:
    ledger = folder / save().generation / "files.jsonl"
    line = json.dumps({"path": "spool/../../../evil.dcm", "bytes": 1, "sha256": ""})
    ledger.write_text(line + "\n" + ledger.read_text())
    problems = bring_back().result.problems
    assert [(each.kind, each.path) for each in problems] == [("damaged", "files.jsonl")] * 2
    assert not list(tmp_path.rglob("evil.dcm"))


# -- interrupted


class Killed(BaseException):
    pass


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Make the backup end so, without a chance to tidy up, after so many instances."""

    def arm(count: int) -> None:
        real, done = make._Run._copy_instance, [0]

        def copy(self: make._Run, *arguments: Any, **options: Any) -> None:
            if done[0] == count:
                monkeypatch.undo()
                raise Killed
            done[0] += 1
            real(self, *arguments, **options)

        monkeypatch.setattr(make._Run, "_copy_instance", copy)

    return arm


@pytest.mark.usefixtures("filed")
def test_an_interrupted_backup_is_none_and_is_gone_on_with(
    save: SaveInto, folder: Path, bring_back: Bring, killed_after: Callable[[int], None], settings: Settings
) -> None:
    killed_after(3)
    with pytest.raises(Killed):
        save()
    (partial,) = folder.glob("*.partial")
    with pytest.raises(UsageError, match="not complete"):
        bring_back(generation=partial.name.removesuffix(".partial"))
    with pytest.raises(UsageError, match="no complete backup"):
        bring_back()
    flip(partial / "archive" / FIRST)  # it had not reached the disk
    made = save()
    assert (made.copied, made.problems) == (5, [])
    size = (settings.paths.media / FIRST).stat().st_size
    assert made.bytes < 4 * size  # two were taken over
    assert not list(folder.glob("*.partial"))
    home = bring_back()
    assert_true(home.engine, home.settings)


@pytest.mark.usefixtures("filed")
def test_an_interrupted_restore_is_gone_on_with(
    save: SaveInto, folder: Path, settings: Settings, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noctis.backup import restore as module
    from noctis.config import load_settings
    from noctis.db.engine import make_engine

    first = save()
    latest = folder / save().generation
    new = load_settings(options={"home": str(tmp_path / "new"), "storage": {"reserve_bytes": 0}})
    target = make_engine(new, pooled=False)
    with monkeypatch.context() as patch:
        patch.setattr(module._Run, "_database", lambda self, copy: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            module.restore(new, target, latest)
    assert not new.paths.sqlite.exists()
    flip(new.paths.media / FIRST)
    with pytest.raises(HomeError, match="was interrupted"):
        module.restore(new, target, folder / first.generation)
    result = module.restore(new, target, latest)
    assert (result.instances, result.problems) == (5, [])
    assert_true(target, new)
    with pytest.raises(UsageError, match="has tables already"):
        module.restore(new, target, latest)
    target.dispose()


# -- refused


@pytest.mark.usefixtures("filed")
def test_folders_that_cannot_hold_a_backup(settings: Settings, engine: Engine, folder: Path, tmp_path: Path) -> None:
    inside = settings.paths.root / "backups"
    inside.mkdir()
    (tmp_path / "link").symlink_to(settings.paths.media)
    for where, words in (
        (tmp_path / "none", "no folder"),
        (inside, "lies in the home"),
        (settings.paths.media, "lies in the home"),
        (tmp_path / "link", "lies in the"),
    ):
        with pytest.raises(UsageError, match=words):
            backup(settings, engine, where)
    with generations.locked(folder), pytest.raises(StorageError, match=f"another backup .* runs .pid {os.getpid()}"):
        backup(settings, engine, folder)
    assert not generations.generations(folder)


@pytest.mark.usefixtures("filed")
def test_no_room_is_told_before_anything_is_copied(
    save: SaveInto, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def nearly_full(path: Any) -> Any:
        return type("Found", (), {"f_bavail": 4, "f_frsize": real(path).f_frsize})

    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", nearly_full)
        with pytest.raises(StorageError, match="the backup needs"):
            save()
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.usefixtures("filed")
def test_a_disk_that_fills_up_leaves_the_complete_ones(
    intake: Intake, save: SaveInto, folder: Path, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save()
    intake.instance(study="1.7", sop_instance="1.7.1")
    file_spool_once(settings, engine=engine)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "copy_instance", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            save()
    assert "--keep" in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", first.generation]


@pytest.mark.usefixtures("filed")
@pytest.mark.parametrize("also", [None, "copy_instance", "sync_file_system"])
def test_a_disk_that_is_full_at_the_end_leaves_nothing(
    also: str | None, save: SaveInto, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of files is written late, from a buffer: its own end may be what finds no room, or what fails next."""

    class FullLedger(files.Ledger):
        def __init__(self, path: Path, root: Path) -> None:
            super().__init__(path, root)
            if also != "sync_file_system":
                self._file.close()
                self._file = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "Ledger", FullLedger)
    if also is not None:
        monkeypatch.setattr(files if hasattr(files, also) else generations, also, full)
    with pytest.raises(StorageError, match="the backup was not made: No space left") as caught:
        save()
    assert "--keep" in str(caught.value)
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.usefixtures("filed")
def test_a_home_that_holds_anything_is_left_alone(save: SaveInto, bring_back: Bring, tmp_path: Path) -> None:
    save()
    (tmp_path / "restored0").mkdir()
    (tmp_path / "restored0" / "notes.txt").write_text("mine")
    with pytest.raises(HomeError, match="not empty"):
        bring_back()
    assert [path.name for path in (tmp_path / "restored0").iterdir()] == ["notes.txt"]
