"""C-STORE: what becomes of an instance (docs/conformance.md).

Takes the data set in pieces, into the facility's spool. Promises that success is answered only for what is committed;
that an instance which cannot be filed is kept whole in quarantine and answered with a failure that says why; and that
nothing half-written stays. Refuses with A700 when space, a quota or quarantine is used up, and what is too large.
"""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from noctis.config import Settings
from noctis.errors import StorageError
from noctis.listener.commands import Status
from noctis.listener.operations import Answer, Operation, Refused, Request
from noctis.listener.quotas import Allowance, LimitError, Quotas
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.observability.words import FailureKind
from noctis.repository.header import Header, HeaderError, read_header
from noctis.repository.hints import Hint, HintSender
from noctis.repository.journal import Journal
from noctis.repository.quarantine import Note, Quarantine, QuarantineFullError, Reason
from noctis.repository.slots import SlotBudget
from noctis.repository.spool import Spool, SpoolFile, SpoolFullError

log = structlog.get_logger()

VERIFICATION = "1.2.840.10008.1.1"
_BEGINNING = 16 << 10  # bytes of a data set that are kept in memory until its end
_SAY_AGAIN_SECONDS = 60.0  # that a quota is reached; each instance that it stops is told in a line of its own


class StoreService:
    """One listener's storage. Safe for several associations at once."""

    def __init__(self, settings: Settings, scoreboard: Scoreboard, journal: Journal) -> None:
        self._settings = settings
        self._home = settings.paths
        self._scoreboard = scoreboard
        self._journal = journal
        self._hints = HintSender(self._home.hints)
        self._quarantine = Quarantine(self._home.quarantine)
        self._spools: dict[str, Spool] = {}
        self._slots = SlotBudget(settings.storage.slot_bytes)
        self._quotas = Quotas(settings.storage, self._home.usage, self._home.spool)
        self._said: dict[str, float] = {}  # which quota: when (monotonic) it was last said to be reached
        self._lock = threading.Lock()

    def begin(self, request: Request) -> Operation:
        """Open a spool file for one instance; what cannot be stored at all is refused at once."""
        command = request.command
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        flags = () if command.sop_class.decode("latin-1") == request.abstract_syntax else ("context",)
        allowance: Allowance | None = None
        try:
            allowance = self._quotas.admit(request.facility)
            spool = self._spool(request.facility.slug)
            file = spool.receive(
                command.sop_class, command.sop_instance, request.transfer_syntax, request.origin, flags
            )
        except LimitError as error:
            return self.beyond_limit(request, error)
        except (SpoolFullError, OSError) as error:
            if allowance is not None:
                allowance.end()
            return self.out_of_resources(str(error))
        return Reception(self, request, file, allowance)

    def close(self) -> None:
        self._hints.close()
        for spool in self._spools.values():
            spool.close()

    def _refusal(self, request: Request) -> Refused | None:
        command = request.command
        if request.abstract_syntax == VERIFICATION:
            return Refused(Status.SOP_CLASS_NOT_SUPPORTED, "C-STORE on a Verification context")
        if not command.sop_class or not command.sop_instance:
            missing = "Class" if not command.sop_class else "Instance"
            return Refused(Status.MISSING_ATTRIBUTE, f"no Affected SOP {missing} UID in the command")
        if not command.has_data_set:
            return Refused(Status.CANNOT_UNDERSTAND, "a C-STORE request without a data set")
        return None

    def _spool(self, slug: str) -> Spool:
        with self._lock:
            spool = self._spools.get(slug)
            if spool is None:
                storage = self._settings.storage
                spool = Spool(
                    self._home.spool,
                    slug,
                    strict=storage.durability == "strict",
                    reserve_bytes=storage.reserve_bytes,
                    slots=self._slots,
                )
                self._spools[slug] = spool
            return spool

    def out_of_resources(self, reason: str) -> Refused:
        self._scoreboard.error(f"out of resources: {reason}")
        log.error("instance.out_of_resources", reason=reason)
        return Refused(Status.OUT_OF_RESOURCES, reason, FailureKind.SPACE)

    def beyond_limit(self, request: Request, error: LimitError) -> Refused:
        facility, now = request.facility.slug, time.monotonic()
        if not error.quota:
            log.warning("instance.too_large", facility=facility, reason=error.message, fix=error.fix)
        elif now - self._said.get(error.quota, -_SAY_AGAIN_SECONDS) >= _SAY_AGAIN_SECONDS:
            self._said[error.quota] = now
            log.error("quota.reached", facility=facility, reason=error.message, fix=error.fix)
        self._scoreboard.error(f"{facility}: {error.message}; {error.fix}")
        failure = FailureKind.QUOTA if error.quota else FailureKind.SIZE
        return Refused(Status.OUT_OF_RESOURCES, error.message, failure)

    # -- what `Reception` calls at the end

    def accept(self, request: Request, file: SpoolFile, header: Header, allowance: Allowance | None) -> Answer:
        """Commit, tell the archiver, count."""
        try:
            if allowance is not None:
                allowance.claim(file.size)
            entry = file.commit()
        except LimitError as error:
            file.discard()
            return self.beyond_limit(request, error).finish()
        except SpoolFullError as error:
            return self.out_of_resources(str(error)).finish()
        size = file.size
        if allowance is not None:
            allowance.end(stored=True)

        def tell() -> None:
            self._hints.send(Hint(entry.slug, entry.name, file.sha256, header))
            self._scoreboard.of(request.facility.slug).stored(size)

        return Answer(Status.SUCCESS, stored=size, after=tell)

    def set_aside(self, request: Request, file: SpoolFile, reason: Reason, detail: str, status: Status) -> Answer:
        """Keep what cannot be filed, under a name that a re-send of the same bytes has too."""
        command, origin, facility = request.command, request.origin, request.facility
        note = Note(
            reason=reason,
            detail=detail,
            sop_class_uid=command.sop_class.decode("latin-1"),
            sop_instance_uid=command.sop_instance.decode("latin-1"),
            calling=origin.calling,
            called=origin.called,
            address=origin.address,
            received_at=datetime.now(UTC).isoformat(),
        )
        cap = facility.quarantine_max_instances
        name = f"{file.sha256[:40]}.dcm"
        try:
            path: Path = file.set_aside()
            self._quarantine.keep(
                path,
                facility.slug,
                note,
                cap=self._settings.storage.quarantine_max_instances if cap is None else cap,
                name=name,
            )
        except QuarantineFullError as error:
            file.discard()
            self._scoreboard.error(str(error))
            log.error("quarantine.full", facility=facility.slug, reason=detail)
            return Answer(status, f"{detail}; quarantine full, not kept", failure=FailureKind.QUARANTINE)
        except StorageError as error:
            file.discard()
            return self.out_of_resources(str(error)).finish()
        self._scoreboard.of(facility.slug).add(Counter.QUARANTINED)
        self._journal.append("quarantined")
        log.warning("instance.quarantined", facility=facility.slug, reason=str(reason), detail=detail, name=name)
        failure = FailureKind.UID if reason is Reason.UID_MISMATCH else FailureKind.UNDERSTAND
        return Answer(status, detail, failure=failure)


class Reception:
    """One instance on its way into the spool."""

    def __init__(
        self, service: StoreService, request: Request, file: SpoolFile, allowance: Allowance | None = None
    ) -> None:
        self._service = service
        self._request = request
        self._file = file
        self._allowance = allowance  # None: there is no limit
        self._failure: Refused | None = None
        self._beginning = b""  # of the data set: where its header nearly always is

    def write(self, fragment: memoryview) -> None:
        if self._failure is None:
            if len(self._beginning) < _BEGINNING:
                self._beginning += fragment[: _BEGINNING - len(self._beginning)]
            try:
                if self._allowance is not None:
                    length = self._file.dataset_length + len(fragment)
                    self._allowance.check(length, self._file.dataset_start + length)
                self._file.write(fragment)
            except LimitError as error:  # the rest of the data set still has to come in, and is dropped
                self._give_up(self._service.beyond_limit(self._request, error))
            except SpoolFullError as error:
                self._give_up(self._service.out_of_resources(str(error)))

    def _give_up(self, failure: Refused) -> None:
        self._file.discard()
        self._failure = failure
        self._end()

    def _end(self) -> None:
        if self._allowance is not None:
            self._allowance.end()

    def finish(self) -> Answer:
        try:
            return self._finish()
        finally:
            self._end()

    def _finish(self) -> Answer:
        if self._failure is not None:
            return self._failure.finish()
        request, file = self._request, self._file
        try:
            header = read_header(
                file.descriptor,
                file.dataset_start,
                request.transfer_syntax,
                length=file.dataset_length,
                beginning=self._beginning,
            )
        except OSError as error:
            file.discard()
            return self._service.out_of_resources(f"the spool cannot be read: {error.strerror}").finish()
        except HeaderError as error:
            return self._service.set_aside(
                request, file, Reason.UNPARSEABLE, f"cannot understand: {error}", Status.CANNOT_UNDERSTAND
            )
        if header.missing_uids:
            detail = f"the data set has no {header.missing_uids}"
            return self._service.set_aside(request, file, Reason.MISSING_UID, detail, Status.CANNOT_UNDERSTAND)
        different = [
            word
            for word, ours, theirs in (
                ("SOP Class UID", request.command.sop_class, header.sop_class_uid),
                ("SOP Instance UID", request.command.sop_instance, header.sop_instance_uid),
            )
            if ours.decode("latin-1") != theirs
        ]
        if different:
            return self._service.set_aside(
                request,
                file,
                Reason.UID_MISMATCH,
                f"{' and '.join(different)} differ from the command's",
                Status.DATA_SET_MISMATCH,
            )
        return self._service.accept(request, file, header, self._allowance)

    def abandon(self) -> None:
        self._file.discard()
        self._end()
