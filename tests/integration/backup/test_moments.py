"""Whatever happens between two steps of a backup, what was acknowledged before it is in it, once restored.

The search: every step of a backup, and before it one of the ways in which an instance can move.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from noctis.archiver.filing import file_spool_once
from noctis.backup import intake as backup_intake
from noctis.backup import make
from noctis.config import Settings
from noctis.db import models
from noctis.repository import slots
from noctis.repository.release import release
from tests.books import assert_true, rows
from tests.integration.backup.conftest import Bring, SaveInto
from tests.spooling import Intake

STEPS = ("_copy_settings", "_copy_spool", "_copy_quarantine", "_copy_database", "_copy_archive")
Move = Callable[[Intake, Settings, Engine], object]


def file_all(intake: Intake, settings: Settings, engine: Engine) -> None:
    file_spool_once(settings, engine=engine)


def eject_all(intake: Intake, settings: Settings, engine: Engine) -> None:
    for entry in list(slots.everything_waiting(settings.paths.spool)):
        if entry.slot:
            slots.eject(settings.paths.spool, entry)


def replace_one(intake: Intake, settings: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE facility SET conflict = 'replace'"))
    intake.instance(study="1.1", series="1.1.0", sop_instance="1.2.3.1", name="Newer")
    file_spool_once(settings, engine=engine)


def release_one(intake: Intake, settings: Settings, engine: Engine) -> None:
    (name,) = (path.name for path in settings.paths.quarantine.glob("central/*.dcm"))
    release(settings, engine, "central", name, replace=True)


def contents(engine: Engine, settings: Settings) -> set[str]:
    """The data sets that are in the archive or in quarantine, by their digests."""
    found = {row["sha256"] for row in rows(engine, models.Instance)}
    for path in settings.paths.quarantine.glob("*/*.dcm"):
        from noctis.repository.archive import content

        found.add(content(path)[0])
    return found


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("move", [file_all, eject_all, replace_one, release_one])
@pytest.mark.parametrize("step", STEPS)
def test_nothing_slips_through(
    step: str,
    move: Move,
    filed: Intake,
    settings: Settings,
    engine: Engine,
    save: SaveInto,
    bring_back: Bring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slotted = Intake(settings, slot_bytes=1 << 20)
    wanted = {filed.instance(study="1.8", sop_instance="1.8.1").hint.sha256}
    wanted |= {slotted.instance(study="1.8", sop_instance=f"1.8.2.{number}").hint.sha256 for number in range(3)}
    wanted |= contents(engine, settings)
    assert len(wanted) == 10  # two facilities have one each of the same UID, one is in quarantine
    real = getattr(make._Run, step)
    moved: list[bool] = []

    def hooked(self: object, *arguments: object) -> None:
        if not moved:
            moved.append(True)
            move(slotted, settings, engine)
        real(self, *arguments)

    monkeypatch.setattr(make._Run, step, hooked)
    made = save()
    assert moved
    assert made.problems == []
    slotted.close()
    home = bring_back()
    assert home.result.problems == []
    assert_true(home.engine, home.settings)
    file_spool_once(home.settings, engine=home.engine)
    assert wanted <= contents(home.engine, home.settings)
    assert_true(home.engine, home.settings)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_what_moves_from_a_slot_into_new_while_the_spool_is_read(
    filed: Intake,
    settings: Settings,
    engine: Engine,
    save: SaveInto,
    bring_back: Bring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slotted = Intake(settings, slot_bytes=1 << 20)
    sha256 = slotted.instance(study="1.8", sop_instance="1.8.2").hint.sha256
    real = backup_intake._children
    seen: list[object] = []

    def children(folder: object) -> object:
        if len(seen) == 1:  # between the first folder that is read and the second
            eject_all(slotted, settings, engine)
        seen.append(folder)
        return iter(list(real(folder)))  # type: ignore[arg-type]

    monkeypatch.setattr(backup_intake, "_children", children)
    assert save().problems == []
    slotted.close()
    home = bring_back()
    file_spool_once(home.settings, engine=home.engine)
    assert sha256 in contents(home.engine, home.settings)
