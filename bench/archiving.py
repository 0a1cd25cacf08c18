"""Noctis's archiver at work on a prepared spool, in this process: homes, spool entries, databases, and its rate."""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from bench.index_fill import INSTANCES, SERIES
from bench.studies import TINY, TRANSFER_SYNTAX, Template, Uids
from bench.uids import UidSource
from noctis.archiver.service import Archiver
from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from noctis.db.migrate import upgrade
from noctis.facilities.registry import Registry
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.repository import filemeta
from noctis.repository.filemeta import Origin
from noctis.repository.header import read_header
from noctis.repository.hints import Hint, HintSender
from noctis.repository.spool import Spool, SpoolEntry

FACILITIES = 8
FILE_SECONDS = 600


@dataclass(frozen=True)
class Place:
    """One home with its index and facilities."""

    settings: Settings
    slugs: list[str]


class UntilFiled:
    """What ends the archiver's service: so many instances filed."""

    def __init__(self, scoreboard: Scoreboard, goal: int) -> None:
        self._scoreboard, self._goal = scoreboard, goal
        self._deadline = time.monotonic() + FILE_SECONDS
        self.descriptor, self._write = os.pipe()

    @property
    def received(self) -> bool:
        return self._scoreboard.get(Counter.INSTANCES) >= self._goal or time.monotonic() > self._deadline

    def wait(self, seconds: float, *descriptors: int) -> None:
        if seconds > 0:
            select.select(descriptors, [], [], min(seconds, 0.1))

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._write)


def make_place(home: Path, database_url: str | None) -> Place:
    """A home with its schema and facilities."""
    settings = load_settings(options={"home": str(home), "database": {"url": database_url}})
    settings.paths.create()
    engine = make_engine(settings)
    try:
        upgrade(engine)
        registry = Registry(engine, settings, "bench")
        slugs = [registry.add(f"Bench {number}").slug for number in range(1, FACILITIES + 1)]
    finally:
        engine.dispose()
    return Place(settings, slugs)


def put_into_spool(place: Place, count: int, uids: UidSource) -> list[SpoolEntry]:
    """`count` tiny instances in studies of the usual size, one facility's after another's."""
    template = Template(TINY)
    content = bytearray(template.data)
    sop_class = TINY.sop_class_uid.encode()
    origin = Origin("BENCH", "BENCH", "192.0.2.1", 11113, "b1")
    entries = []
    with ExitStack() as stack:
        spools = [
            stack.enter_context(closing(Spool(place.settings.paths.spool, slug, strict=False))) for slug in place.slugs
        ]
        for number in range(count):
            if number % (SERIES * INSTANCES) == 0:
                study = uids.study()
            if number % INSTANCES == 0:
                series = uids.series()
            of = Uids(study, series, uids.instance())
            template.patch(content, of)
            spool = spools[number // (SERIES * INSTANCES) % len(spools)]
            file = spool.receive(sop_class, of.instance.encode(), TRANSFER_SYNTAX, origin)
            file.write(content)
            entries.append(file.commit())
    return entries


def hint_of(entry: SpoolEntry) -> Hint:
    """What a listener says of an entry."""
    descriptor = os.open(entry.path, os.O_RDONLY)
    try:
        meta = filemeta.read(descriptor)
        header = read_header(descriptor, meta.dataset_start, meta.transfer_syntax_uid)
    finally:
        os.close(descriptor)
    if meta.record is None:
        raise RuntimeError(f"{entry.name} was not committed")
    return Hint(entry.slug, entry.name, meta.record.sha256, header)


def feed(sender: HintSender, hints: list[Hint]) -> None:
    """Send them as fast as the archiver takes them."""
    deadline = time.monotonic() + FILE_SECONDS
    for hint in hints:
        while not sender.send(hint) and time.monotonic() < deadline:
            time.sleep(0.001)


def measure(place: Place, count: int, uids: UidSource, *, hints: bool) -> float:
    """Instances filed per second, from a spool that is full when the archiver begins."""
    entries = put_into_spool(place, count, uids)
    told = [hint_of(entry) for entry in entries] if hints else []
    os.sync()
    scoreboard = Scoreboard()
    with (
        closing(UntilFiled(scoreboard, count)) as stop,
        closing(Archiver(place.settings, scoreboard)) as archiver,
        closing(HintSender(place.settings.paths.hints)) as sender,
    ):
        feeding = threading.Thread(target=feed, args=(sender, told))
        begun = time.monotonic()
        feeding.start()
        archiver.serve(stop)
        seconds = time.monotonic() - begun
        feeding.join()
    filed = scoreboard.get(Counter.INSTANCES)
    if filed != count or any(place.settings.paths.spool.glob("*/new/*.dcm")):
        raise RuntimeError(f"of {count} instances {filed} were filed: {scoreboard.read().last_error}")
    return round(count / seconds, 1)


@contextmanager
def fresh_database(server: str | None, name: str) -> Iterator[str | None]:
    """The URL of an empty database of a PostgreSQL server, which is dropped at the end; without one, SQLite's None."""
    if server is None:
        yield None
        return
    url = make_url(server)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    database = f"noctis_bench_{name}_{os.getpid()}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {database} TEMPLATE template0"))
        yield url.set(database=database).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
        engine.dispose()
