"""A database that is made anew has the facilities of the last snapshot; one that has any is left alone."""

from dataclasses import replace

from sqlalchemy import Engine, select

from noctis.config import Settings
from noctis.db import models
from noctis.facilities import watcher
from noctis.facilities.records import DeviceRecord
from noctis.facilities.recover import take_from_snapshot
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import Snapshot
from noctis.repository.verify import reindex


def without_ids(snapshot: Snapshot) -> list[object]:
    return [replace(each, id=0) for each in snapshot.facilities]


def known(engine: Engine, settings: Settings) -> Snapshot:
    """Two facilities, of which everything that a snapshot holds is set, and their snapshot."""
    registry = Registry(engine, settings, actor="test")
    registry.add("North", devices=[DeviceRecord("CT1", "10.0.0.0/8"), DeviceRecord("MR1", "")])
    registry.add("Central", workers=2)
    registry.edit("central", {"enabled": False, "conflict": "replace", "quota_bytes": 1 << 40, "tls": "on"})
    with engine.begin() as connection:
        owner = connection.scalar(select(models.Facility.id).where(models.Facility.slug == "north"))
        connection.execute(
            models.ClientCertificate.__table__.insert(),
            {"facility_id": owner, "device": "CT1", "fingerprint": "ab" * 32},
        )
    return watcher.refresh(settings, engine)


def lose(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in reversed(models.Base.metadata.sorted_tables):
            connection.execute(table.delete())


def test_facilities_come_back_as_the_listeners_knew_them(engine: Engine, settings: Settings) -> None:
    before = known(engine, settings)
    lose(engine)
    assert take_from_snapshot(engine, settings, actor="test") == 2
    registry = Registry(engine, settings, actor="test")
    assert without_ids(registry.snapshot()) == without_ids(before)
    assert take_from_snapshot(engine, settings, actor="test") == 0
    ports = {each.port for each in before.facilities}
    assert registry.add("Third").port not in ports
    assert registry.edit("central", {"enabled": True}).enabled


def test_a_table_with_a_row_is_left_alone(engine: Engine, settings: Settings) -> None:
    known(engine, settings)
    lose(engine)
    Registry(engine, settings, actor="test").add("Other")
    assert take_from_snapshot(engine, settings, actor="test") == 0


def test_without_a_snapshot_there_is_nothing_to_take(engine: Engine, settings: Settings) -> None:
    assert take_from_snapshot(engine, settings, actor="test") == 0


def test_reindex_takes_them_where_there_are_none(engine: Engine, settings: Settings) -> None:
    known(engine, settings)
    lose(engine)
    (settings.paths.media / "north").mkdir()
    assert reindex(settings, engine).sound
    assert len(Registry(engine, settings, actor="test").all()) == 2
