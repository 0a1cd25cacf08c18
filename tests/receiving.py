"""What a receiver and its archiver have promised, as a model, and whether a home keeps it.

`Ledger` notes what was sent and what was acknowledged. `check` files what waits, and then: everything acknowledged is
in the archive or in quarantine, whole; nothing is anywhere that was not sent; archive and index agree both ways; counts
are true; no file is left that belongs to nobody.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from noctis.archiver.filing import Result, file_spool_once
from noctis.config import Settings
from noctis.db.models import Facility, Instance, Quarantined
from noctis.errors import StorageError
from noctis.repository import quarantine_rows, slots, spool
from noctis.repository.archive import content
from noctis.repository.quarantine import Quarantine
from noctis.repository.spool import Spool
from tests.books import assert_true
from tests.samples import make_instance
from tests.spooling import ORIGIN, encode

SLUGS = ("central", "north")
SOP_CLASS, SYNTAX = b"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
Content = tuple[str, str]  # slug, SHA-256 (hex) of a data set


@cache
def data_set(number: int, variant: int) -> bytes:
    """Instance `number`; other variants of it have other bytes, and the third belongs to another study.

    Number 9 cannot be read, number 8 has no Study Instance UID, 7 is larger than what goes through the page cache.
    """
    if number == 9:
        return b"\xff" * 64 + bytes((variant,))
    study = f"1.2.826.{number // 2}{'.9' if variant == 2 else ''}"
    size = 300_000 if number == 7 else 512
    made = make_instance(
        study=study, series=f"{study}.1", sop_instance=uid(number), name=f"Doe^{variant}", pixels=bytes(size)
    )
    if number == 8:
        del made.StudyInstanceUID
    return encode(made)


def uid(number: int) -> str:
    return f"1.2.3.{number}"


def digest(number: int, variant: int) -> str:
    return hashlib.sha256(data_set(number, variant)).hexdigest()


@dataclass
class Ledger:
    """What has been promised."""

    sent: set[Content] = field(default_factory=set)
    acknowledged: set[Content] = field(default_factory=set)

    def discarded(self, content_: Content) -> None:
        """An operator has thrown it out of the quarantine, or was about to."""
        self.acknowledged.discard(content_)


def check(settings: Settings, engine: Engine, ledger: Ledger, living: tuple[Spool, ...] = ()) -> None:
    """File what waits, and look whether every promise is kept.

    Parameters
    ----------
    living
        The spools of processes that have not ended.
    """
    home = settings.paths
    for folder in home.spool.glob("*/tmp/.*"):
        os.utime(folder, (0, 0))  # a minute later
    spool.recover(home.spool)
    results = file_spool_once(settings, engine=engine)
    assert not results[Result.HELD] + results[Result.UNKNOWN_FACILITY], "it is held"
    quarantine_rows.sync(engine, Quarantine(home.quarantine))
    waiting = list(slots.everything_waiting(home.spool))
    assert waiting == [], "it still waits in the spool"
    _no_strays(home.spool, living)
    archived = contents(home.media)
    kept = contents(home.quarantine, "*.dcm")
    found = set(archived) | set(kept)
    assert ledger.acknowledged <= found, "an acknowledged instance is lost"
    assert found <= ledger.sent, "something is there that was never sent: torn, or in another facility"
    assert max(Counter(archived.values()).values(), default=1) == 1, "two files of one SOP Instance UID"
    assert_true(engine, settings)
    with engine.connect() as connection:
        paths = set(connection.scalars(select(Instance.path)))
        named = select(Facility.slug, Quarantined.name).join(Facility, Facility.id == Quarantined.facility_id)
        rows = {tuple(row) for row in connection.execute(named)}
    assert paths == {str(path.relative_to(home.media)) for path in home.media.rglob("*") if path.is_file()}
    assert rows == {(path.parent.name, path.name) for path in home.quarantine.glob("*/*.dcm")}
    notes = {path.with_suffix(".dcm") for path in home.quarantine.glob("*/*.json")}
    assert notes >= set(home.quarantine.glob("*/*.dcm")), "an instance in quarantine without its reason"


def contents(root: Path, pattern: str = "*") -> dict[Content, tuple[str, str]]:
    """Every instance below a folder: its content → its facility and SOP Instance UID."""
    found: dict[Content, tuple[str, str]] = {}
    for path in root.rglob(pattern):
        if not path.is_file():
            continue
        slug = path.relative_to(root).parts[0]
        try:
            sha256, _ = content(path)
        except StorageError as error:
            raise AssertionError(f"{path.relative_to(root)} is no whole file: {error.message}") from error
        found[slug, sha256] = (slug, path.stem)
    return found


def _no_strays(root: Path, living: tuple[Spool, ...]) -> None:
    assert list(root.glob("*/new/*")) == []
    owned = {each._own for each in living}
    assert set(root.glob("*/tmp/*")) == owned
    for folder in owned:
        assert all(path.suffix == ".dcm" or path.name == "lock" for path in folder.iterdir())


def receive(spool_: Spool, ledger: Ledger, number: int, variant: int, *, end: str = "commit", say: Any = None) -> None:
    """One instance, in three pieces; acknowledged (`say` is told) when its commit has returned.

    Parameters
    ----------
    end
        "commit", "discard", or "leave": the process goes on without it.
    """
    data = data_set(number, variant)
    file = spool_.receive(SOP_CLASS, uid(number).encode(), SYNTAX, ORIGIN)
    for piece in (data[:40], data[40:41], data[41:]):
        file.write(piece)
    if end == "commit":
        file.commit()
        if say is None:
            ledger.acknowledged.add((spool_.slug, digest(number, variant)))
        else:
            say([spool_.slug, digest(number, variant)])
    elif end == "discard":
        file.discard()
