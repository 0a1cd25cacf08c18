"""Put instances into a spool as a listener does, without a network."""

import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from noctis.config import Settings
from noctis.errors import StorageError
from noctis.repository import filemeta, slots
from noctis.repository.filemeta import Origin
from noctis.repository.header import read_header
from noctis.repository.hints import Hint
from noctis.repository.slots import SlotBudget
from noctis.repository.spool import Spool, SpoolEntry
from noctis.repository.spool_entries import names_in_new
from tests.samples import make_instance

ORIGIN = Origin("CT1", "CENTRAL", "192.0.2.7", 11113, "a1")
EXPLICIT = "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Spooled:
    entry: SpoolEntry
    hint: Hint
    data_set: bytes


def encode(dataset: FileDataset) -> bytes:
    """The data set's bytes, Explicit VR Little Endian, without a file meta."""
    buffer = io.BytesIO()
    bare = dataset.copy()
    del bare.file_meta
    bare.preamble = None
    dcmwrite(buffer, bare, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


@functools.lru_cache(maxsize=1024)
def _encoded(**attributes: Any) -> bytes:
    """Of `samples.make_instance`; the same one is asked for again and again."""
    return encode(make_instance(**attributes))


class Intake:
    """Every facility's spool of one home."""

    def __init__(self, settings: Settings, *, slot_bytes: int = 0) -> None:
        self._settings = settings
        self._slot_bytes = slot_bytes
        self._spools: dict[str, Spool] = {}

    def put(
        self,
        data_set: bytes,
        *,
        slug: str = "central",
        sop_class: str = "1.2.840.10008.5.1.4.1.1.2",
        sop_instance: str = "1.2.3",
        transfer_syntax: str = EXPLICIT,
        flags: tuple[str, ...] = (),
        origin: Origin = ORIGIN,
    ) -> SpoolEntry:
        if slug not in self._spools:
            self._spools[slug] = Spool(self._settings.paths.spool, slug, slots=SlotBudget(self._slot_bytes))
        file = self._spools[slug].receive(sop_class.encode(), sop_instance.encode(), transfer_syntax, origin, flags)
        file.write(data_set)
        return file.commit()

    def instance(self, *, slug: str = "central", origin: Origin = ORIGIN, **attributes: Any) -> Spooled:
        """A small CT image, as `samples.make_instance` makes it."""
        attributes.setdefault("study", "1.2.826.1")
        attributes.setdefault("series", attributes["study"] + ".1")
        attributes.setdefault("sop_instance", generate_uid())
        data_set = _encoded(**attributes)
        entry = self.put(data_set, slug=slug, sop_instance=attributes["sop_instance"], origin=origin)
        return Spooled(entry, hint_of(entry), data_set)

    def own_file(self, entry: SpoolEntry) -> SpoolEntry:
        """The entry in a file of its own, if it is in a slot."""
        ejected = slots.eject(self._settings.paths.spool, entry) if entry.slot else entry
        assert ejected is not None
        return ejected

    def waiting(self) -> list[Path]:
        return sorted(entry.path for entry in slots.everything_waiting(self._settings.paths.spool))

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()


def entries(root: Path) -> Iterator[SpoolEntry]:
    """Every instance in `new` of every facility, oldest first within each."""
    for folder in sorted(root.glob("*/new")):
        for name in names_in_new(root, folder.parent.name):
            yield SpoolEntry(folder.parent.name, folder / name)


def is_being_written(path: Path) -> bool:
    """Whether a file below `tmp` holds an instance that is on its way.

    What was made ahead is empty, what is committed has its record, and the record of a slot that was cleared is blank.
    """
    with path.open("rb") as file:
        try:
            meta = filemeta.read(file.fileno())
        except StorageError:
            return False
        file.seek(meta.dataset_start - filemeta.PRIVATE_BYTES)
        return meta.record is None and bool(file.read(filemeta.PRIVATE_BYTES).strip())


def hint_of(entry: SpoolEntry) -> Hint:
    """What a listener says of an entry."""
    import os

    descriptor = os.open(entry.path, os.O_RDONLY)
    try:
        meta = filemeta.read(descriptor)
        assert meta.record is not None
        header = read_header(descriptor, meta.dataset_start, meta.transfer_syntax_uid)
        return Hint(entry.slug, entry.name, meta.record.sha256, header)
    finally:
        os.close(descriptor)
