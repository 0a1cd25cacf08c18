"""Which rows a run has: receivers under senders, grouped so that what is compared runs in neighbouring minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.studies import CINE, CT, MG, MR, TINY, Kind

RAW = "raw"  # stands among the receivers: the copy without DICOM
WORKERS = "noctis-2-workers"  # the same facility served by two processes
RECEIVERS = ("noctis", RAW, "noctis-fast", WORKERS, "orthanc", "storescp", "pynetdicom")


class Sender(StrEnum):
    SHIPPED = "storescu"  # Nagle on at both ends
    NODELAY = "storescu-nodelay"  # TCP_NODELAY=1 in the environment of both ends
    LOAD = "load"  # the load generator; receivers as for NODELAY
    PER_INSTANCE = "load-per-instance"  # the same, a new association for every instance


class Form(StrEnum):
    FULL = "full"
    QUICK = "quick"  # a few minutes
    SMOKE = "smoke"  # under a minute; says only that everything runs


@dataclass(frozen=True)
class Step:
    """One receiver under one sender."""

    receiver: str
    sender: Sender
    kind: Kind
    associations: int
    instances: int

    @property
    def label(self) -> str:
        return f"{self.receiver} {self.sender} {self.kind.name} {self.associations}"


Group = list[Step]

# Instances of one row, so that it takes some seconds: by how fast the receiver is expected to be, and the kind.
_FAST = {"MR": 3000, "CT": 1200, "tiny": 6000, "MG": 40, "cine": 1}
_MEDIUM = {"MR": 600, "CT": 400, "tiny": 800, "MG": 20, "cine": 1}
_WAITING = {1: 80, 4: 240, 16: 480}  # 40 ms and more for each, whatever its size: delayed ACKs
_PER_INSTANCE = {"noctis": 1200, "noctis-fast": 1200, "pynetdicom": 96}


def plan(form: Form) -> list[Group]:
    """Every group of a run, in order."""
    if form is Form.SMOKE:
        return [
            _group(Sender.LOAD, MR, 1, form, ("noctis", RAW, "orthanc", "storescp", "pynetdicom")),
            _group(Sender.NODELAY, MR, 4, form, ("noctis", "storescp")),
            _group(Sender.SHIPPED, TINY, 1, form, ("noctis", "orthanc")),
            _group(Sender.PER_INSTANCE, MR, 1, form, ("noctis", "pynetdicom")),
        ]
    groups = []
    for kind in (MR, CT, TINY):
        for sender in (Sender.SHIPPED, Sender.NODELAY, Sender.LOAD):
            for associations in (1, 4, 16):
                names = RECEIVERS
                if form is Form.QUICK and associations == 16:
                    names = () if sender is Sender.SHIPPED else ("noctis",)
                if sender is not Sender.LOAD or associations == 16 or kind is TINY:
                    names = tuple(name for name in names if name != RAW)
                if sender is Sender.SHIPPED or associations == 1:
                    names = tuple(name for name in names if name != WORKERS)
                groups.append(_group(sender, kind, associations, form, names))
    names = tuple(name for name in RECEIVERS if name != WORKERS)
    peers = tuple(name for name in names if name != RAW)
    for associations in (1, 4) if form is Form.QUICK else (1, 4, 16):
        groups.append(_group(Sender.PER_INSTANCE, MR, associations, form, peers))
    if form is Form.FULL:
        for associations in (1, 4):
            groups.append(_group(Sender.LOAD, MG, associations, form, names))
        groups.append(_group(Sender.NODELAY, MG, 1, form, peers))
        groups.append(_group(Sender.LOAD, CINE, 1, form, names))
    return [group for group in groups if group]


def _group(sender: Sender, kind: Kind, associations: int, form: Form, names: Sequence[str]) -> Group:
    return [
        Step(name, sender, kind, associations, _instances(name, sender, kind, associations, form)) for name in names
    ]


def _instances(name: str, sender: Sender, kind: Kind, associations: int, form: Form) -> int:
    if form is Form.SMOKE:
        return 8
    if sender is Sender.PER_INSTANCE:
        count = _PER_INSTANCE.get(name, 480)
    elif sender is Sender.SHIPPED and name in ("orthanc", "storescp"):
        count = _WAITING[associations]
    elif name in ("orthanc", "pynetdicom"):
        count = _MEDIUM[kind.name]
    else:
        count = _FAST[kind.name]
    if form is Form.QUICK:
        count //= 3
    return max(1, count // associations) * associations
