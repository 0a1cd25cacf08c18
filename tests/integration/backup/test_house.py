"""What operators made and what was told and kept for them comes back with the images: each table has a row here."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from noctis.backup.make import backup
from noctis.config import Settings
from noctis.db.models import (
    ActivityDay,
    ApiToken,
    AssociationRecord,
    Base,
    ClientCertificate,
    Refusal,
)
from noctis.db.notifying import DeliveryTarget, Notice, NotificationCondition
from noctis.facilities.records import DeviceRecord
from noctis.facilities.registry import Registry
from noctis.frames.cache import FrameCache
from noctis.notify.rules import Draft, Rules
from noctis.receipts.document import Stored
from noctis.receipts.keeper import Keeper, find
from noctis.silence.mutes import Mutes
from noctis.users.accounts import Accounts
from noctis.users.roles import Role
from noctis.users.sessions import Sessions
from tests.integration.backup.conftest import Bring, SaveInto
from tests.integration.backup.test_round_trip import every_table
from tests.spooling import Intake

NOW = datetime.now(UTC)
DAY = NOW.astimezone().date()


def a_day_later() -> datetime:
    return NOW + timedelta(days=1)


@pytest.fixture
def lived_in(filed: Intake, engine: Engine, settings: Settings, registry: Registry) -> Engine:
    """A home in which every table has a row, with a receipt of today and a picture of a frame."""
    registry.add_device("central", DeviceRecord("CT1", ""))
    account = Accounts(engine, "tester").add("ann", "a password of hers", Role.FACILITY, facility="central")
    Sessions(engine, settings.web).start(account, "192.0.2.1")
    Mutes(engine, "tester").mute("central", reason="moving house")
    Rules(engine, settings, "tester").add(Draft("oncall", ("silence", "receipt"), url="https://example.org/hook"))
    Keeper(engine, settings, lambda: NOW).look()
    assert Keeper(engine, settings, a_day_later).look() == 2
    central = {"facility_id": 1}
    rows: dict[type[Base], dict[str, Any]] = {
        ApiToken: {"account_id": account.id, "name": "PACS", "digest": "cd" * 32},
        ActivityDay: central | {"calling": "CT1", "day": 20_000, "hours": 7, "last_at": NOW, "instances": 3},
        AssociationRecord: central
        | {"association_id": "a1", "port": 11113, "called": "C", "calling": "CT1", "address": "192.0.2.7"}
        | {"started_at": NOW, "ended_at": NOW, "outcome": "released"},
        ClientCertificate: central | {"fingerprint": "ab" * 32},
        Refusal: {"port": 11112, "called": "X", "calling": "Y", "address": "192.0.2.9", "reason": "unknown"}
        | {"first_seen": NOW, "last_seen": NOW},
        Notice: {"kind": "quarantine"} | central,
        NotificationCondition: central | {"key": "silence:central", "kind": "silence", "begun_at": NOW},
        DeliveryTarget: {"channel": "webhook", "address": "https://example.org/hook", "failures": 2},
    }
    with engine.begin() as connection:
        for table, row in rows.items():
            connection.execute(table.__table__.insert(), row)  # type: ignore[attr-defined]
        empty = [
            table.name
            for table in Base.metadata.sorted_tables
            if not connection.scalar(select(func.count()).select_from(table))
        ]
    assert not empty, "a table that this test does not know"
    FrameCache(settings.paths.frames, 1 << 20, 0).put("ab" * 32, {}, b"a picture")
    assert any(path.is_file() for path in settings.paths.frames.rglob("*"))
    return engine


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_every_table_and_the_receipts_are_there_again(
    target: str, lived_in: Engine, settings: Settings, save: SaveInto, folder: Path, bring_back: Bring
) -> None:
    made = save()
    assert (made.receipts, made.problems) == (2, [])
    generation = folder / made.generation
    assert not list(generation.rglob("*frames*"))
    home = bring_back(target)
    assert (home.result.receipts, home.result.problems) == (2, [])
    assert every_table(home.engine) == every_table(lived_in)
    assert files_below(home.settings.paths.receipts) == files_below(settings.paths.receipts)
    assert not home.settings.paths.frames.exists()
    assert Stored(find(home.engine, home.settings, "central", DAY)).head.facility == "central"
    assert Keeper(home.engine, home.settings, a_day_later).look() == 0  # it is not made, nor told, once more
    rules = Rules(home.engine, home.settings, "tester")
    assert rules.secret_of(rules.get("oncall")) == Rules(lived_in, settings, "tester").secret_of(rules.get("oncall"))
    Accounts(home.engine, "tester").add("bob", "a password of his", Role.VIEWER)  # keys go on where they ended
    rules.add(Draft("later", ("silence",), url="https://example.org/other"))


@pytest.mark.usefixtures("lived_in")
def test_receipts_that_did_not_change_are_shared(save: SaveInto, folder: Path, settings: Settings) -> None:
    first, second = (folder / save().generation / "receipts" for _ in range(2))
    assert len(files_below(first)) == 2
    for name in files_below(first):
        assert (first / name).stat().st_ino == (second / name).stat().st_ino
        assert (first / name).stat().st_ino != (settings.paths.receipts / name).stat().st_ino


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_receipts_that_lie_elsewhere(
    lived_in: Engine, settings: Settings, save: SaveInto, tmp_path: Path, bring_back: Bring
) -> None:
    """They are saved, and come into the new home, whose configuration does not tell of the old place."""
    elsewhere = tmp_path / "elsewhere"
    settings.paths.receipts.rename(elsewhere)
    at = settings.model_copy(update={"receipts": settings.receipts.model_copy(update={"folder": elsewhere})})
    config = tmp_path / "noctis.yaml"
    config.write_text(f"receipts:\n  folder: {elsewhere}\n")
    assert backup(at, lived_in, tmp_path / "backups", config=config).receipts == 2
    home = bring_back()
    assert files_below(home.settings.paths.receipts) == files_below(elsewhere)
    assert str(elsewhere) not in (home.settings.paths.root / "noctis.yaml").read_text()
