"""kill -9 at every step of filing, then filing again: archive, index and quarantine end as if nothing had been.

A child files and dies just before its n-th change of the file system or of the database, for every n until it gets
through; the next filer finds what it left.
"""

import contextlib
import errno
import gc
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from noctis.archiver import filing
from noctis.archiver.filing import file_spool_once
from noctis.config import Settings
from noctis.db import engine as engine_module
from noctis.errors import ConflictError, NotFoundError
from noctis.facilities.registry import Registry
from noctis.repository import quarantine_rows
from noctis.repository.quarantine import Note, Quarantine, Reason
from noctis.repository.release import release
from tests.books import Books, assert_true, books, empty
from tests.spooling import Intake

CHANGES = {"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
STEPS_MAX = 400
KILLED = 9
Action = Callable[[], Any]


def in_a_child_that_dies(step: int, settings: Settings, work: Action) -> bool:
    """Run `work` in a child that dies before its `step`-th change; whether it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        child = os.fork()
    if child == 0:
        try:
            gc.disable()  # it would touch, and so copy, all that the parent has
            _die_at(step)
            work()
        except BaseException:  # noqa: BLE001 - the child must not return into pytest
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), f"the child failed before step {step}"
    return code == KILLED


def _die_at(step: int) -> None:
    counted = 0

    def change(*_: object) -> None:
        nonlocal counted
        counted += 1
        if counted == step:
            os._exit(KILLED)

    def audited(name: str, arguments: tuple[Any, ...]) -> None:
        writing = name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if name in CHANGES or (writing and not str(arguments[0]).endswith((".db", "-wal", "-shm"))):
            change()

    event.listen(Engine, "commit", change)
    sys.addaudithook(audited)


def kill_everywhere(
    engine: Engine, settings: Settings, intake: Intake, prepare: Action, expected: Books, work: Action | None = None
) -> int:
    """Kill at each step in turn; after each, file again and compare. Returns how many steps there were."""
    for step in range(1, STEPS_MAX):
        start_anew(engine, settings)
        prepare()
        engine.dispose()  # a child must not have its parent's connections
        died = in_a_child_that_dies(step, settings, work or (lambda: file_spool_once(settings)))
        (work or (lambda: None))() if died else None
        settle(engine, settings)
        assert books(engine, settings) == expected, f"after a kill before step {step}"
        assert_true(engine, settings)
        if not died:
            return step - 1
    raise AssertionError(f"more than {STEPS_MAX} steps")


def settle(engine: Engine, settings: Settings) -> None:
    file_spool_once(settings, engine=engine)
    quarantine_rows.sync(engine, Quarantine(settings.paths.quarantine))


def start_anew(engine: Engine, settings: Settings) -> None:
    empty(engine)
    home = settings.paths
    for folder in (home.media, home.quarantine):
        shutil.rmtree(folder)
        folder.mkdir()
    for path in home.spool.glob("*/new/*"):
        path.unlink()


def undisturbed(engine: Engine, settings: Settings, prepare: Action) -> Books:
    start_anew(engine, settings)
    prepare()
    settle(engine, settings)
    return books(engine, settings)


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if spool and archive were on two file systems."""

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)


def new_study(intake: Intake) -> Action:
    def prepare() -> None:
        for number in range(3):
            intake.instance(study=f"1.2.826.{number // 2}", sop_instance=f"1.2.3.{number}")
        intake.instance(study="1.2.826.0", sop_instance="1.2.3.0")  # a duplicate

    return prepare


def conflicts(intake: Intake, engine: Engine, settings: Settings, *, other_study: bool) -> Action:
    def prepare() -> None:
        intake.instance(study="1.2.826.1", sop_instance="1.2.3.1")
        intake.instance(study="1.2.826.1", sop_instance="1.2.3.2")
        file_spool_once(settings, engine=engine)
        intake.instance(study="1.2.826.2" if other_study else "1.2.826.1", sop_instance="1.2.3.1", name="Newer")

    return prepare


def test_a_new_study(intake: Intake, engine: Engine, settings: Settings) -> None:
    prepare = new_study(intake)
    expected = undisturbed(engine, settings, prepare)
    assert len(expected.instances) == len(expected.archive) == 3
    assert kill_everywhere(engine, settings, intake, prepare, expected) > 10


@pytest.mark.usefixtures("copying")
def test_a_new_study_on_another_file_system(intake: Intake, engine: Engine, settings: Settings) -> None:
    prepare = new_study(intake)
    expected = undisturbed(engine, settings, prepare)
    assert len(expected.instances) == len(expected.archive) == 3
    assert kill_everywhere(engine, settings, intake, prepare, expected) > 10


def test_a_conflict_that_is_kept_aside(intake: Intake, engine: Engine, settings: Settings) -> None:
    prepare = conflicts(intake, engine, settings, other_study=True)
    expected = undisturbed(engine, settings, prepare)
    assert len(expected.quarantine) == len(expected.quarantined) == 1
    assert kill_everywhere(engine, settings, intake, prepare, expected) > 2


@pytest.mark.parametrize("other_study", [False, True])
def test_a_replacement(
    other_study: bool, registry: Registry, intake: Intake, engine: Engine, settings: Settings
) -> None:
    registry.edit("central", {"conflict": "replace"})
    prepare = conflicts(intake, engine, settings, other_study=other_study)
    expected = undisturbed(engine, settings, prepare)
    assert len(expected.instances) == 2
    assert len(expected.quarantine) == 1
    assert kill_everywhere(engine, settings, intake, prepare, expected) > 5


@pytest.mark.usefixtures("copying")
def test_a_replacement_on_another_file_system(
    registry: Registry, intake: Intake, engine: Engine, settings: Settings
) -> None:
    registry.edit("central", {"conflict": "replace"})
    prepare = conflicts(intake, engine, settings, other_study=False)
    expected = undisturbed(engine, settings, prepare)
    assert kill_everywhere(engine, settings, intake, prepare, expected) > 5


def test_a_replacement_whose_policy_is_changed_in_between(
    registry: Registry, intake: Intake, engine: Engine, settings: Settings
) -> None:
    """Killed under `replace`, filed again under `keep`: both contents are still there, one filed and one aside."""
    prepare = conflicts(intake, engine, settings, other_study=False)
    for step in range(1, STEPS_MAX):
        start_anew(engine, settings)
        registry.edit("central", {"conflict": "keep"})
        prepare()
        registry.edit("central", {"conflict": "replace"})
        engine.dispose()
        died = in_a_child_that_dies(step, settings, lambda: file_spool_once(settings))
        registry.edit("central", {"conflict": "keep"})
        settle(engine, settings)
        found = books(engine, settings)
        assert (len(found.archive), len(found.quarantine), found.spool) == (2, 1, [])
        assert not set(found.archive.values()) & set(found.quarantine.values())
        assert_true(engine, settings)
        if not died:
            break


def test_what_cannot_be_filed(intake: Intake, engine: Engine, settings: Settings) -> None:
    def prepare() -> None:
        intake.put(b"\xff" * 64)
        intake.instance(sop_instance="1.2.3.1")

    expected = undisturbed(engine, settings, prepare)
    assert (len(expected.archive), len(expected.quarantine)) == (1, 1)
    assert kill_everywhere(engine, settings, intake, prepare, expected) > 5


def test_the_newer_of_two_is_filed_first_after_the_crash(intake: Intake, engine: Engine, settings: Settings) -> None:
    """The first one lies in the archive without a row when the second comes: nothing is lost, nothing stray."""
    for step in range(1, STEPS_MAX):
        start_anew(engine, settings)
        first = intake.instance(study="1.2.826.1", sop_instance="1.2.3.1")
        engine.dispose()
        died = in_a_child_that_dies(step, settings, lambda: file_spool_once(settings))
        second = intake.instance(study="1.2.826.2", sop_instance="1.2.3.1", name="Newer")
        filer = filing.Filer(engine, settings)
        filer.file([(second.entry, None)])
        filer.file([(first.entry, None)])
        settle(engine, settings)
        found = books(engine, settings)
        assert (len(found.archive), len(found.quarantine), found.spool) == (1, 1, [])
        assert_true(engine, settings)
        if not died:
            break


@pytest.mark.parametrize("replace", [False, True])
def test_a_release(replace: bool, intake: Intake, registry: Registry, engine: Engine, settings: Settings) -> None:
    names: list[str] = []

    def prepare() -> None:
        if replace:
            intake.instance(sop_instance="1.2.3.1")
            intake.instance(sop_instance="1.2.3.1", name="Newer")
        else:
            entry = intake.own_file(intake.instance(sop_instance="1.2.3.1").entry)
            Quarantine(settings.paths.quarantine).keep(entry.path, "central", Note(Reason.UID_MISMATCH), cap=10)
        settle(engine, settings)
        names[:] = Quarantine(settings.paths.quarantine).names("central")

    def work() -> None:
        own = engine_module.make_engine(settings)
        if names[0] in Quarantine(settings.paths.quarantine).names("central"):
            release(settings, own, "central", names[0], replace=replace)
        quarantine_rows.sync(own, Quarantine(settings.paths.quarantine))
        own.dispose()

    start_anew(engine, settings)
    prepare()
    work()
    expected = books(engine, settings)
    assert (len(expected.archive), len(expected.quarantine)) == (1, int(replace))
    assert kill_everywhere(engine, settings, intake, prepare, expected, work) > 3


@pytest.mark.parametrize("replace", [False, True])
def test_a_release_into_another_facility(
    replace: bool, intake: Intake, registry: Registry, engine: Engine, settings: Settings
) -> None:
    """Killed anywhere and done again: it is in the other facility alone, and what was there is in its quarantine."""
    quarantine = Quarantine(settings.paths.quarantine)
    names: list[str] = []

    def prepare() -> None:
        entry = intake.own_file(intake.instance(sop_instance="1.2.3.1", name="Newer").entry)
        quarantine.keep(entry.path, "central", Note(Reason.CONFLICT), cap=10)
        if replace:
            intake.instance(slug="north", sop_instance="1.2.3.1")
        settle(engine, settings)
        names[:] = quarantine.names("central")

    def work() -> None:
        own = engine_module.make_engine(settings)
        if names[0] in quarantine.names("central"):
            release(settings, own, "central", names[0], replace=replace, into="north")
        quarantine_rows.sync(own, quarantine)
        own.dispose()

    start_anew(engine, settings)
    prepare()
    work()
    expected = books(engine, settings)
    assert [path.split("/")[0] for path in expected.archive] == ["north"]
    assert [path.split("/")[0] for path in expected.quarantine] == ["north"] * replace
    assert kill_everywhere(engine, settings, intake, prepare, expected, work) > 3


@pytest.mark.parametrize("into", [None, "north"])
def test_a_release_that_was_killed_is_not_begun_into_a_second_facility(
    into: str | None, intake: Intake, registry: Registry, engine: Engine, settings: Settings
) -> None:
    """Wherever it was killed: what the archiver made of it is in one facility, and so it is after the second try."""
    quarantine = Quarantine(settings.paths.quarantine)
    other = {None: "north", "north": None}[into]
    for step in range(1, STEPS_MAX):
        start_anew(engine, settings)
        entry = intake.own_file(intake.instance(sop_instance="1.2.3.1").entry)
        name = quarantine.keep(entry.path, "central", Note(Reason.UID_MISMATCH), cap=10).name
        settle(engine, settings)
        engine.dispose()

        def work(name: str = name) -> None:
            own = engine_module.make_engine(settings)
            release(settings, own, "central", name, into=into)

        died = in_a_child_that_dies(step, settings, work)
        settle(engine, settings)
        if died:
            with contextlib.suppress(ConflictError, NotFoundError):
                release(settings, engine, "central", name, into=other)
        settle(engine, settings)
        found = books(engine, settings)
        assert len({path.split("/")[0] for path in found.archive}) <= 1, f"after a kill before step {step}"
        assert {*found.archive.values(), *found.quarantine.values()}, f"lost by a kill before step {step}"
        assert_true(engine, settings)
        if not died:
            break


@pytest.mark.parametrize("replace", [False, True])
def test_a_release_that_is_killed_and_not_done_again(
    replace: bool, intake: Intake, registry: Registry, engine: Engine, settings: Settings
) -> None:
    """The archiver finishes what it had begun in the archive: no file without a row, no row without its file."""
    for step in range(1, STEPS_MAX):
        start_anew(engine, settings)
        first = intake.instance(sop_instance="1.2.3.1")
        if replace:
            intake.instance(sop_instance="1.2.3.1", name="Newer")
        else:
            entry = intake.own_file(first.entry)
            Quarantine(settings.paths.quarantine).keep(entry.path, "central", Note(Reason.UID_MISMATCH), cap=10)
        settle(engine, settings)
        (name,) = Quarantine(settings.paths.quarantine).names("central")
        engine.dispose()

        def work(name: str = name) -> None:
            own = engine_module.make_engine(settings)
            release(settings, own, "central", name, replace=replace)

        died = in_a_child_that_dies(step, settings, work)
        settle(engine, settings)
        found = books(engine, settings)
        assert_true(engine, settings)
        assert set(found.archive) == {row["path"] for row in found.instances}, f"after a kill before step {step}"
        assert found.spool == []
        assert len(set(found.archive.values()) | set(found.quarantine.values())) == 1 + replace
        if not died:
            break
