"""The words of a scoreboard: what is counted, and at which position. Pure.

Every figure is one 64-bit word. A change of anything here changes `LAYOUT`, and a mapping of another layout is begun
anew: no word is ever read as another.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any


class Counter(IntEnum):
    """The position of each figure that stands alone."""

    PID = 0
    STARTED_NS = 1  # time.time_ns() of this process's start
    RESTARTS = 2
    LIVE = 3  # associations open now
    ASSOCIATIONS = 4  # accepted
    REFUSED = 5
    ABORTED = 6
    ECHOES = 7
    INSTANCES = 8  # acknowledged with success (listener), filed (archiver); messages sent (audit)
    BYTES = 9
    FAILURES = 10  # C-STOREs answered with a failure
    DUPLICATES = 11
    CONFLICTS = 12
    QUARANTINED = 13
    LAST_INSTANCE_NS = 14
    LAST_ERROR_NS = 15
    PENDING = 16  # archiver: spool entries waiting; audit: rows whose messages wait
    OLDEST_NS = 17  # archiver: when the oldest of them came; audit: since when nothing can be sent; 0: none
    BATCHES = 18
    LAST_BATCH = 19  # instances in it
    LAST_BATCH_NS = 20
    HEARTBEAT_NS = 21
    CONNECTIONS = 22  # taken
    OPEN = 23  # connections open now


class RefusalKind(StrEnum):
    """Why a caller is turned away, in one word: for the count by reason. The ledger has the sentence."""

    CALLED = "called"  # the called AE title is nobody's here
    CALLING = "calling"  # the calling AE title is no device of the facility
    PORT = "port"  # it calls another facility than the one whose port this is
    NETWORK = "network"  # a device, from outside its network
    AMBIGUOUS = "ambiguous"  # a device of several facilities
    DISABLED = "disabled"  # the facility is
    CERTIFICATE = "certificate"  # the client certificate is missing, or another's
    TLS = "tls"  # TLS where it is plain, plain where it is TLS, or no handshake
    LIMIT = "limit"  # of the facility, or of the default port
    CONGESTION = "congestion"  # all listeners together, or too many connections without an association
    PROXY = "proxy"  # no PROXY header, or a wrong one
    PROTOCOL = "protocol"  # what came is not DICOM, or not as DICOM has it; in no ledger


class FailureKind(StrEnum):
    """Why a C-STORE was answered with a failure."""

    SPACE = "space"  # the reserve is reached, or the disk refuses
    QUOTA = "quota"
    SIZE = "size"  # the data set is larger than it may be
    UID = "uid"  # SOP Class or Instance UID differ from the command's
    UNDERSTAND = "understand"  # it cannot be parsed, or has no Study, Series or SOP Instance UID
    QUARANTINE = "quarantine"  # for one of the two reasons above, and quarantine was full
    COMMAND = "command"  # the command cannot be carried out whatever the data set


@dataclass(frozen=True)
class Buckets:
    """A histogram: a word for each bucket, one for what is above all of them, one for the sum."""

    at: int  # position of the first
    bounds: tuple[float, ...]  # each bucket's upper one, inclusive
    scale: int  # the sum is counted in 1/scale

    @property
    def sum_at(self) -> int:
        return self.at + len(self.bounds) + 1

    @property
    def positions(self) -> range:
        return range(self.at, self.sum_at + 1)


FAILURES_AT = 32
ANSWER = Buckets(  # seconds from a C-STORE request's last byte to its answer
    40, (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0), 1_000_000_000
)
ROW_WORDS = 56  # what is counted for each facility: all of the above
REFUSALS_AT = 56
LAG = Buckets(72, (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0), 1_000_000_000)
BATCH = Buckets(88, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), 1)  # instances
LAYOUT_AT, ROWS_AT, ROWS_ALLOWED_AT = 120, 121, 122  # of the mapping itself
BOARD_WORDS = 128

REFUSALS = {kind: REFUSALS_AT + position for position, kind in enumerate(RefusalKind)}
FAILURES = {kind: FAILURES_AT + position for position, kind in enumerate(FailureKind)}

# What is of one process, or of now: begins anew with each parent. Everything else runs on.
MOMENTARY = (
    Counter.PID,
    Counter.STARTED_NS,
    Counter.LIVE,
    Counter.LAST_ERROR_NS,
    Counter.PENDING,
    Counter.OLDEST_NS,
    Counter.LAST_BATCH,
    Counter.HEARTBEAT_NS,
    Counter.OPEN,
)

LAYOUT = 1 + zlib.crc32(
    repr(
        (
            [(each.name, each.value) for each in Counter],
            [*REFUSALS.items(), *FAILURES.items()],
            (ANSWER, LAG, BATCH, ROW_WORDS, BOARD_WORDS),
        )
    ).encode()
)

HISTOGRAMS = {"answer": ANSWER, "lag": LAG, "batch": BATCH}


def named(words: Sequence[int]) -> dict[str, Any]:
    """Words by name, for JSON; of a facility's row, as far as it goes. What is 0 is left out.

    A histogram is the list of its buckets, each by itself, and the sum.
    """
    found: dict[str, Any] = {each.name.lower(): words[each] for each in Counter if words[each]}
    for name, kinds in (("failures_by", FAILURES), ("refused_by", REFUSALS)):
        counts = {str(kind): words[at] for kind, at in kinds.items() if at < len(words) and words[at]}
        if counts:
            found[name] = counts
    for name, histogram in HISTOGRAMS.items():
        if histogram.sum_at < len(words) and any(values := [words[at] for at in histogram.positions]):
            found[name] = values
    return found
