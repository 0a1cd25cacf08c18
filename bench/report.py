"""What a run found: tables on the terminal, the same as Markdown, and JSON.

A `Table` here is plain: a title, column heads, rows of text; the first columns that are words stand left.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from bench.machine import in_words
from bench.measure import Row
from bench.plan import RECEIVERS, Form
from bench.probes import Figures, title
from bench.targets import Target, checklist, sender_in_words


@dataclass
class Table:
    title: str
    columns: list[str]
    left: int = 1  # so many columns are words
    rows: list[list[str]] = field(default_factory=list)


@dataclass
class Run:
    """Everything that one run found."""

    machine: dict[str, object]
    form: Form
    repeat: int
    rows: list[Row] = field(default_factory=list)
    probes: Figures = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # label: why

    def targets(self) -> list[Target]:
        return checklist(self.rows, self.probes)

    def as_json(self) -> dict[str, object]:
        return {
            "machine": self.machine,
            "form": self.form,
            "repeat": self.repeat,
            "rows": [{**asdict(row), "ratios": self._ratios(row)} for row in self.rows],
            "probes": self.probes,
            "targets": [target.as_json() for target in self.targets()],
            "left_out": self.left_out,
        }

    def _ratios(self, row: Row) -> dict[str, float]:
        """This row's rate in terms of each neighbour's."""
        neighbours = [other for other in self.rows if _group(other) == _group(row) and other is not row]
        return {other.receiver: round(row.instances_per_second / other.instances_per_second, 3) for other in neighbours}


def tables(run: Run) -> list[Table]:
    """All tables of a run, the checklist last."""
    made = [
        _by_receiver(run, "instances per second, index complete (in brackets: noctis / this one)", _rate),
        _by_receiver(run, "MB per second", lambda row, _: f"{row.mb_per_second:.0f}"),
        _by_receiver(run, "C-STORE answer time, p50 / p99, ms", _answer),
        _by_receiver(
            run, "CPU seconds of the receiver per 1000 instances", lambda row, _: f"{row.cpu_seconds_per_1000:.2f}"
        ),
        _by_receiver(
            run, "peak memory of the receiver's largest process, MB", lambda row, _: _or_dash(row.peak_rss_mb)
        ),
        _by_receiver(
            run, "CPU seconds of the sender per 1000 instances", lambda row, _: f"{row.sender_cpu_seconds_per_1000:.2f}"
        ),
        *(_probe(name, by_receiver) for name, by_receiver in run.probes.items()),
        _targets(run.targets()),
    ]
    if run.left_out:
        made.append(Table("left out", ["what", "why"], 2, [[what, why] for what, why in run.left_out.items()]))
    return [table for table in made if table.rows]


def _group(row: Row) -> tuple[str, str, int]:
    return row.sender, row.kind, row.associations


def _by_receiver(run: Run, title: str, cell: Callable[[Row, Row | None], str]) -> Table:
    """One line for each sender, kind and number of associations; a column for each receiver that has a figure."""
    groups: dict[tuple[str, str, int], dict[str, Row]] = {}
    for row in run.rows:
        groups.setdefault(_group(row), {})[row.receiver] = row
    names = [name for name in RECEIVERS if any(name in group for group in groups.values())]
    table = Table(title, ["sender", "kind", "n", *names], 2)
    for (sender, kind, associations), group in groups.items():
        ours = group.get("noctis")
        cells = [cell(group[name], ours) if name in group else "-" for name in names]
        if any(each != "-" for each in cells):
            table.rows.append([sender_in_words(sender), kind, str(associations), *cells])
    filled = [at for at in range(len(table.columns)) if at < 3 or any(row[at] != "-" for row in table.rows)]
    return Table(title, [table.columns[at] for at in filled], 2, [[row[at] for at in filled] for row in table.rows])


def _rate(row: Row, ours: Row | None) -> str:
    rate = f"{row.instances_per_second:.{0 if row.instances_per_second >= 10 else 1}f}"
    if ours is None or row is ours:
        return rate
    ratio = ours.instances_per_second / row.instances_per_second
    return f"{rate} ({ratio:.{0 if ratio >= 10 else 1 if ratio >= 2 else 2}f}x)"


def _answer(row: Row, _: Row | None) -> str:
    return "-" if row.p50_ms is None or row.p99_ms is None else f"{row.p50_ms:.1f} / {row.p99_ms:.1f}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _probe(name: str, by_receiver: dict[str, dict[str, float]]) -> Table:
    columns = list(next(iter(by_receiver.values()), {}))
    rows = [[receiver, *(f"{found[each]:g}" for each in columns)] for receiver, found in by_receiver.items()]
    return Table(title(name), ["receiver", *(each.replace("_", " ") for each in columns)], 1, rows)


def _targets(targets: list[Target]) -> Table:
    rows = [[each.text, each.wanted_in_words, each.measured_in_words, each.verdict] for each in targets]
    count = {verdict: sum(each.met is verdict for each in targets) for verdict in (True, False, None)}
    title = f"targets: {count[True]} met, {count[False]} missed, {count[None]} not measured"
    return Table(title, ["target", "wanted", "measured", "verdict"], 1, rows)


def introduction(run: Run) -> str:
    """The machine and the form of the run, in two sentences."""
    runs = "each row once" if run.repeat == 1 else f"the medians of {run.repeat} runs of each row"
    form = "too short to mean anything" if run.form is Form.SMOKE else f"{run.form} form"
    return f"{in_words(run.machine)}. This run: {form}, {runs}."


def show(run: Run, console: Console) -> None:
    """All tables on a terminal."""
    show_tables(introduction(run), tables(run), console)


def show_tables(introduction: str, shown: list[Table], console: Console) -> None:
    console.print(escape(introduction))
    for table in shown:
        made = RichTable(title=table.title, title_justify="left")
        for at, column in enumerate(table.columns):
            made.add_column(column, justify="left" if at < table.left else "right", overflow="fold")
        for row in table.rows:
            made.add_row(*map(escape, row))
        console.print(made)


def markdown(run: Run) -> str:
    """All tables, ready to be put into a document."""
    return as_markdown(introduction(run), tables(run))


def as_markdown(introduction: str, shown: list[Table]) -> str:
    parts = [introduction]
    for table in shown:
        heads = ["---" if at < table.left else "---:" for at in range(len(table.columns))]
        lines = [table.columns, heads, *table.rows]
        parts.append(f"**{table.title[:1].upper()}{table.title[1:]}**")
        parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"
