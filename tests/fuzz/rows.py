"""From an instance to rows: whatever command, caller and data set say, the index takes them.

The first byte of an input says the syntax, the second how many bytes are for the file meta (UIDs of the command and AE
titles, a line each); the rest is the data set. Oracle: a text in a row is bounded, free of NULs and lone surrogates; a
real index takes the rows and gives them back as they were; the place in the archive is inside the facility's folder.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath

from sqlalchemy import Engine, create_engine, select

from noctis.archiver.intake import examine as examine_entry
from noctis.db.models import Base
from noctis.repository import filemeta, spool
from noctis.repository.archive import Archive
from noctis.repository.filemeta import Origin
from noctis.repository.index_rows import Books
from noctis.repository.index_statements import FACILITY, INSTANCE, SERIES, STUDY
from noctis.repository.index_values import TEXT_MAX, Filing, instance_row, series_row, study_row
from noctis.repository.spool_entries import SpoolEntry
from tests.unit.repository import header_data
from tests.unit.repository.header_data import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, in_memory

SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
INDEXED_MAX = 2704  # bytes of one value in a b-tree of PostgreSQL


def examine(data: bytes) -> None:
    if len(data) < 2:
        return
    syntax, split = SYNTAXES[data[0] % 4], 2 + data[1]
    told = [*data[2:split].split(b"\n"), b"", b"", b"", b""]
    data_set = data[split:]
    origin = Origin(told[2].decode("latin-1"), told[3].decode("latin-1"), "192.0.2.7", 11113, "a1")
    head = filemeta.encode(told[0], told[1], syntax, origin)
    with in_memory(head.encoded + data_set) as descriptor:
        digest = spool.digest(descriptor, len(head.encoded), len(data_set))
        os.pwrite(descriptor, head.record(digest, len(data_set)), head.record_at)
        path = Path(f"/proc/self/fd/{descriptor}")
        assert spool.is_whole(path)
        filing = examine_entry(SpoolEntry("central", path))
    if isinstance(filing, Filing):
        assert (filing.sha256, filing.bytes) == (digest, len(head.encoded) + len(data_set))
        entered(filing)


@cache
def engine() -> Engine:
    made = create_engine("sqlite://")
    Base.metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(
            FACILITY.insert(), {"id": 1, "slug": "central", "name": "Central", "ae_title": "CENTRAL", "port": 11113}
        )
    return made


def entered(filing: Filing) -> None:
    relative = PurePosixPath(
        Archive(Path("/archive")).relative(filing.slug, filing.study_uid, filing.series_uid, filing.instance_uid)
    )
    assert len(relative.parts) == 4
    assert relative.parts[0] == "central"
    assert not {"", ".", ".."} & set(relative.parts)
    assert all(len(part) <= 100 for part in relative.parts)
    with engine().connect() as connection:
        books = Books(connection)
        study = study_row(1, filing)
        books.open_studies({(1, filing.study_uid): study})
        state = books.studies[1, filing.study_uid]
        series = series_row(state.id, filing)
        books.open_series({(state.id, filing.series_uid): series})
        series_state = books.series[state.id, filing.series_uid]
        instance = instance_row(1, series_state.id, str(relative), filing)
        books.add(state, series_state, filing.bytes, filing.received_at)
        books.insert_instances([dict(instance)])
        books.close()
        for table, row in ((STUDY, study), (SERIES, series), (INSTANCE, instance)):
            (stored,) = connection.execute(select(table)).mappings()
            for name, value in row.items():
                bounded(value)
                if name not in ("first_received", "last_received"):
                    assert stored[name] == value, name
        connection.rollback()


def bounded(value: object) -> None:
    if isinstance(value, str):
        assert "\0" not in value
        assert len(value) <= TEXT_MAX
        assert len(value.encode()) < INDEXED_MAX
    elif isinstance(value, datetime):
        assert value.tzinfo is UTC
    else:
        assert value is None or isinstance(value, int)


def seeds() -> Iterator[bytes]:
    told = b"1.2.840.10008.5.1.4.1.1.7\n1.2.3.4\nCT1\nCENTRAL"
    sets = (
        header_data.data_set(),
        header_data.data_set(header_data.implicit),
        header_data.data_set(header_data.big, order=">"),
        header_data.deflated(header_data.data_set()),
    )
    for number, data_set in enumerate(sets):
        yield bytes((number, len(told))) + told + data_set
    long = header_data.data_set().replace(b"1.2.3.4\0", b"1.2.3/.." + b"")
    yield bytes((0, len(told))) + told + long
