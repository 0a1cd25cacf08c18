"""What Noctis wants to reach, as a checklist: target, measured, met or missed.

Ratios are of one run, of neighbouring rows: the same sender, kind and number of associations. Durability is `strict`
and the index complete, unless the target says otherwise. What was not measured is not judged.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.measure import Row
from bench.plan import RAW, Sender
from bench.probes import Figures

MR_CT, ALL = ("MR", "CT"), ("MR", "CT", "tiny")
IDLE_ASSOCIATIONS, CINE_MB = 200, 1000  # what a smaller form of the run does is not judged


@dataclass(frozen=True)
class Target:
    """One line of the checklist."""

    text: str
    wanted: float
    measured: float | None
    at_most: bool = False  # below `wanted`, rather than at least as much
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        if self.measured is None:
            return None
        return self.measured < self.wanted if self.at_most else self.measured >= self.wanted

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]

    @property
    def wanted_in_words(self) -> str:
        return f"{'<' if self.at_most else '≥'} {self.wanted:g}{self.unit}"

    @property
    def measured_in_words(self) -> str:
        return "-" if self.measured is None else f"{self.measured:.{2 if abs(self.measured) < 10 else 1}f}{self.unit}"

    def as_json(self) -> dict[str, object]:
        return {
            "target": self.text,
            "wanted": self.wanted_in_words,
            "measured": self.measured,
            "verdict": self.verdict,
        }


class _Rates:
    def __init__(self, rows: Iterable[Row]) -> None:
        self._rates = {(row.receiver, row.sender, row.kind, row.associations): row.instances_per_second for row in rows}

    def ratio(
        self, ours: str, theirs: str, sender: Sender, kind: str, associations: int, than: int | None = None
    ) -> float | None:
        """Of two receivers; `than`: of the second one's row with so many associations."""
        first = self._rates.get((ours, sender, kind, associations))
        second = self._rates.get((theirs, sender, kind, associations if than is None else than))
        return None if first is None or not second else round(first / second, 3)


def checklist(rows: Iterable[Row], figures: Figures) -> list[Target]:
    """Every target, in the order of the documentation."""
    rates = _Rates(rows)
    return [*_against_peers(rates), *_against_limits(rates), *_of_probes(figures)]


def _against_peers(rates: _Rates) -> Iterator[Target]:
    def line(
        ours: str, peer: str, sender: Sender, kind: str, associations: int, wanted: float, what: str = ""
    ) -> Target:
        measured = rates.ratio(ours, peer, sender, kind, associations)
        return Target(f"{what or sender_in_words(sender)}, {kind}, n={associations}: {ours} / {peer}", wanted, measured)

    for associations, wanted in ((1, {"MR": 15, "CT": 10, "tiny": 15}), (4, {"MR": 8, "CT": 6, "tiny": 12})):
        for kind in ALL:
            yield line("noctis", "orthanc", Sender.SHIPPED, kind, associations, wanted[kind])
    for kind in ALL:
        for associations in (1, 4, 16):
            yield line("noctis", "orthanc", Sender.NODELAY, kind, associations, 4 if kind == "tiny" else 3)
    for associations, factor in ((1, 10), (4, 5)):
        for kind in ALL:
            yield line("noctis", "storescp", Sender.SHIPPED, kind, associations, factor)
    for kind in ALL:
        for associations in (1, 4, 16):
            yield line("noctis-fast", "storescp", Sender.NODELAY, kind, associations, 0.7 if kind == "tiny" else 1.0)
    for kind in ALL:
        for associations in (1, 4, 16):
            yield line("noctis", "storescp", Sender.NODELAY, kind, associations, 0.6)
    for associations in (1, 4, 16):
        yield line("noctis", "pynetdicom", Sender.PER_INSTANCE, "MR", associations, 5)


def _against_limits(rates: _Rates) -> Iterator[Target]:
    for kind in MR_CT:
        measured = rates.ratio("noctis", RAW, Sender.LOAD, kind, 4)
        yield Target(f"load generator, {kind}, n=4: noctis / raw copy with two syncs", 1.0, measured)
    for sender in (Sender.LOAD, Sender.NODELAY):
        for kind in ALL:
            measured = rates.ratio("noctis", "noctis", sender, kind, 16, than=4)
            yield Target(f"{sender_in_words(sender)}, {kind}: noctis, n=16 / n=4", 0.9, measured)


def _of_probes(figures: Figures) -> Iterator[Target]:
    def of(probe: str, figure: str, needs: str, least: float) -> float | None:
        found = figures.get(probe, {}).get("noctis", {})
        return found.get(figure) if found.get(needs, 0) >= least else None

    measured = of("idle", "cpu_percent", "associations", IDLE_ASSOCIATIONS)
    yield Target("CPU of a listener with 200 idle associations, of one core", 1, measured, at_most=True, unit=" %")
    measured = of("memory", "growth_mb", "instance_mb", CINE_MB)
    yield Target("memory that a listener needs more during a 1 GB instance", 16, measured, at_most=True, unit=" MB")
    measured = of("echo", "cpu_ms_per_association", "associations", 100)
    yield Target("CPU of an association with one echo, all processes", 5, measured, at_most=True, unit=" ms")


def sender_in_words(sender: str) -> str:
    return {
        Sender.SHIPPED: "storescu as shipped",
        Sender.NODELAY: "storescu, Nagle off",
        Sender.LOAD: "load generator",
        Sender.PER_INSTANCE: "load generator, one association per instance",
    }[Sender(sender)]
