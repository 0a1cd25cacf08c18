"""The index's rows inside one transaction: what is there, what comes, what goes, and counts that stay true.

`Books` holds one connection with an open transaction. Studies are locked before anything of them is read or changed,
sorted by key, so that two processes never wait for each other in a circle; a series is guarded by its study's lock.
The order of locks is: filed instances, studies, series, new instances. A row that somebody else adds or removes in
between raises `Raced`, and the transaction is to be done again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Table,
    delete,
    func,
    insert,
    select,
)

from noctis.db.models import StudyStatus
from noctis.repository import index_statements as statements
from noctis.repository.index_statements import EVENT, INSTANCE, SERIES, STUDY, TERM
from noctis.repository.words import terms

_T = TypeVar("_T")
_CHUNK = 500  # values in one IN


class Raced(Exception):
    """Another transaction was faster; do this one again."""


@dataclass(frozen=True)
class FacilityRow:
    id: int
    slug: str
    conflict: str | None
    quarantine_max_instances: int | None


@dataclass
class StudyState:
    """A locked study, with its counts as they will be."""

    id: int
    series: int
    instances: int
    bytes: int
    modalities: set[str]
    first_received: datetime
    last_received: datetime
    status: str
    completed: bool  # it has been complete at least once
    late_instances: int
    known_modalities: frozenset[str]  # those that it is found by already
    new_words: str = ""  # of a study that this transaction made
    reopened: int = 0  # instances that came to it while it was complete
    removed_from: bool = False


@dataclass
class SeriesState:
    id: int
    study_id: int
    instances: int
    bytes: int
    dirty: bool = False


@dataclass(frozen=True)
class FiledRow:
    """An instance that the index has, with what is needed to take it out."""

    id: int
    facility_id: int
    series_id: int
    study_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    path: str
    bytes: int
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    received_at: datetime


InstanceKey = tuple[int, str]  # facility id, SOP Instance UID
StudyKey = tuple[int, str]  # facility id, Study Instance UID
SeriesKey = tuple[int, str]  # study id, Series Instance UID


@dataclass
class Books:
    """One transaction's view of the rows it works on."""

    connection: Connection
    studies: dict[StudyKey, StudyState] = field(default_factory=dict)
    series: dict[SeriesKey, SeriesState] = field(default_factory=dict)

    # -- looking

    def facilities(self, slugs: Iterable[str]) -> dict[str, FacilityRow]:
        """The facilities with these slugs, removed ones too; a slug without a row is left out."""
        found = self.connection.execute(statements.facilities(self._dialect), {"slugs": sorted(slugs)})
        return {row.slug: FacilityRow(*row) for row in found}

    def filed(self, keys: Iterable[InstanceKey], *, lock: bool = False) -> dict[InstanceKey, FiledRow]:
        """The instances of `keys` that the index has."""
        query = statements.filed_instances(self._dialect, lock)
        found: dict[InstanceKey, FiledRow] = {}
        for facility_id, uids in _by_first(keys).items():
            for chunk in _chunks(uids):
                for row in self.connection.execute(query, {"facility_id": facility_id, "uids": chunk}):
                    filed = FiledRow(*row)
                    found[filed.facility_id, filed.sop_instance_uid] = filed
        return found

    # -- studies and series

    def open_studies(self, new: Mapping[StudyKey, Mapping[str, Any]], others: Iterable[StudyKey] = ()) -> None:
        """Lock the studies of `new`, making those that are missing from the values given, and `others` that exist."""
        wanted = sorted({*new, *others})
        self._lock_studies(wanted)
        missing = [new[key] for key in wanted if key in new and key not in self.studies]
        if missing:
            self._insert_if_absent(STUDY, missing)
            self._lock_studies([key for key in wanted if key in new and key not in self.studies])
        if any(key not in self.studies for key in new):
            raise Raced
        for values in missing:
            self.studies[values["facility_id"], values["study_instance_uid"]].new_words = values["words"]

    def _lock_studies(self, keys: Sequence[StudyKey]) -> None:
        query = statements.studies(self._dialect)
        for facility_id, uids in sorted(_by_first(keys).items()):
            for chunk in _chunks(uids):
                for row in self.connection.execute(query, {"facility_id": facility_id, "uids": chunk}):
                    modalities = set(row.modalities.split("\\")) - {""}
                    self.studies[row.facility_id, row.study_instance_uid] = StudyState(
                        id=row.id,
                        series=row.series,
                        instances=row.instances,
                        bytes=row.bytes,
                        modalities=modalities,
                        first_received=row.first_received,
                        last_received=row.last_received,
                        status=row.status,
                        completed=row.completed_at is not None,
                        late_instances=row.late_instances,
                        known_modalities=frozenset(modalities),
                    )

    def open_series(self, new: Mapping[SeriesKey, Mapping[str, Any]], others: Iterable[SeriesKey] = ()) -> None:
        """Read the series of `new`, making those that are missing, and `others`. Their studies are locked."""
        wanted = sorted({*new, *others})
        self._read_series(wanted)
        missing = [new[key] for key in wanted if key in new and key not in self.series]
        if missing:
            by_id = {study.id: study for study in self.studies.values()}
            for values in missing:
                study = by_id[values["study_id"]]
                study.series += 1
                study.modalities |= {values["modality"]} - {""}
            self._insert_if_absent(SERIES, missing)
            self._read_series([key for key in wanted if key not in self.series])
        if any(key not in self.series for key in new):
            raise Raced

    def _read_series(self, keys: Sequence[SeriesKey]) -> None:
        query = statements.series_of_studies(self._dialect)
        by_study = _by_first(keys)
        for studies in _chunks(sorted(by_study)):
            uids = {uid for study in studies for uid in by_study[study]}
            for chunk in _chunks(sorted(uids)):
                for row in self.connection.execute(query, {"studies": studies, "uids": chunk}):
                    state = SeriesState(row.id, row.study_id, row.instances, row.bytes)
                    self.series.setdefault((row.study_id, row.series_instance_uid), state)

    # -- instances

    def add(
        self, study: StudyState, series: SeriesState, size: int, received_at: datetime, *, known: bool = False
    ) -> None:
        """Count one new instance of `size` bytes; one that was `known` before does not re-open its study."""
        study.instances += 1
        study.bytes += size
        study.first_received = min(study.first_received, received_at)
        study.last_received = max(study.last_received, received_at)
        series.instances += 1
        series.bytes += size
        series.dirty = True
        if known:
            return
        if study.completed:
            study.late_instances += 1
        if study.status == StudyStatus.COMPLETE:
            study.reopened += 1

    def remove(self, row: FiledRow) -> None:
        """Take one instance out; its study and series are open."""
        study = self.studies[row.facility_id, row.study_instance_uid]
        series = self.series[row.study_id, row.series_instance_uid]
        if self.connection.execute(delete(INSTANCE).where(INSTANCE.c.id == row.id)).rowcount != 1:
            raise Raced
        study.instances -= 1
        study.bytes -= row.bytes
        study.removed_from = True
        series.instances -= 1
        series.bytes -= row.bytes
        series.dirty = True

    def insert_instances(self, rows: list[dict[str, Any]]) -> None:
        """Add rows, sorted by key; one that is there already ends the transaction with IntegrityError."""
        rows.sort(key=lambda row: (row["facility_id"], row["sop_instance_uid"]))
        self._insert(INSTANCE, rows)

    def event(self, facility_id: int | None, actor: str, action: str, subject: str, **detail: Any) -> None:
        self.connection.execute(
            insert(EVENT),
            {"actor": actor, "action": action, "facility_id": facility_id, "subject": subject, "detail": detail},
        )

    # -- the end

    def close(self) -> None:
        """Write all counts."""
        self._close_series()
        emptied = [state.id for state in self.studies.values() if not state.instances]
        for state in self.studies.values():
            if state.removed_from and state.instances:
                self._look_again(state)
        self._remove_terms()
        if emptied:
            self.connection.execute(delete(STUDY).where(STUDY.c.id.in_(emptied)))
        kept = [state for state in self.studies.values() if state.instances]
        for state in kept:
            if state.reopened:
                state.status = StudyStatus.RECEIVING
        if kept:
            self.connection.execute(
                statements.COUNT_STUDY, [_study_values(state) for state in sorted(kept, key=lambda state: state.id)]
            )
        self._add_terms()

    def _remove_terms(self) -> None:
        """What emptied studies, and those that have lost a modality, are not found by any more."""
        for state in self.studies.values():
            if not state.removed_from or (state.instances and state.known_modalities <= state.modalities):
                continue
            words = self.connection.scalar(select(STUDY.c.words).where(STUDY.c.id == state.id)) or ""
            found = terms(words, state.known_modalities)
            if state.instances:
                found -= terms(words, state.modalities)
            self.connection.execute(delete(TERM).where(TERM.c.study_id == state.id, TERM.c.term.in_(sorted(found))))

    def _add_terms(self) -> None:
        """What new studies, and those with a new modality, are found by."""
        rows: list[Mapping[str, Any]] = []
        for (facility_id, _), state in self.studies.items():
            modalities = state.modalities - state.known_modalities
            if state.instances and (state.new_words or modalities):
                found = terms(state.new_words, modalities)
                rows += [{"term": term, "study_id": state.id, "facility_id": facility_id} for term in found]
        if rows:
            self._insert_if_absent(TERM, sorted(rows, key=lambda row: (row["term"], row["study_id"])))

    def _close_series(self) -> None:
        by_id = {study.id: study for study in self.studies.values()}
        emptied = [state for state in self.series.values() if not state.instances]
        if emptied:
            for state in emptied:
                by_id[state.study_id].series -= 1
            self.connection.execute(delete(SERIES).where(SERIES.c.id.in_([state.id for state in emptied])))
        kept = [state for state in self.series.values() if state.instances and state.dirty]
        if kept:
            self.connection.execute(
                statements.COUNT_SERIES,
                [
                    {"key": state.id, "new_instances": state.instances, "new_bytes": state.bytes}
                    for state in sorted(kept, key=lambda state: state.id)
                ],
            )

    def _look_again(self, state: StudyState) -> None:
        """What cannot be kept by counting when something was taken out."""
        modalities = self.connection.scalars(select(SERIES.c.modality).where(SERIES.c.study_id == state.id).distinct())
        state.modalities = set(modalities) - {""}
        received = self.connection.execute(
            select(func.min(INSTANCE.c.received_at), func.max(INSTANCE.c.received_at))
            .join(SERIES, SERIES.c.id == INSTANCE.c.series_id)
            .where(SERIES.c.study_id == state.id)
        ).one()
        state.first_received, state.last_received = received

    @property
    def _dialect(self) -> str:
        return self.connection.dialect.name

    def _insert_if_absent(self, target: Table, rows: list[Mapping[str, Any]]) -> None:
        self._insert(target, rows, if_absent=True)

    def _insert(self, target: Table, rows: Sequence[Mapping[str, Any]], *, if_absent: bool = False) -> None:
        if self._dialect == "postgresql":
            names = tuple(rows[0])
            arrays = {name: [row[name] for row in rows] for name in names}
            self.connection.execute(statements.insert_arrays(target, names, if_absent), arrays)
        else:
            self.connection.execute(statements.insert_rows(target, if_absent), rows)


def _study_values(state: StudyState) -> dict[str, Any]:
    values: dict[str, Any] = {f"new_{name}": getattr(state, name) for name in statements.STUDY_COUNTS}
    values["new_modalities"] = "\\".join(sorted(state.modalities))
    return {"key": state.id, **values}


def _by_first(keys: Iterable[tuple[int, str]]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = {}
    for first, second in sorted(set(keys)):
        grouped.setdefault(first, []).append(second)
    return grouped


def _chunks(values: list[_T]) -> Iterable[list[_T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
