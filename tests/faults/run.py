"""`scripts/faults`: let the faults happen one after the other, and print what became of each as a table."""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.machine import describe
from tests.faults.ground import Figures, Row, carry_out
from tests.faults.table import ROWS

HEAD = ("row", "fault", "acknowledged", "filed", "lost", "duplicates", "recovery", "what the senders saw")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: every row that could be had is well."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="these alone (--list names them); otherwise all")
    parser.add_argument("--quick", action="store_true", help="each row in the short form that the tests run")
    parser.add_argument("--minutes", type=float, default=2.0, metavar="N", help="of the row kills (2)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table, ready to be put into a document")
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="where the homes lie; otherwise the temporary folder"
    )
    parser.add_argument("--list", action="store_true", help="name the rows, and do nothing")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that everything is taken down
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; known: {', '.join(ROWS)}")
    chosen = [
        ROWS[name] for name in options.rows or ROWS if options.rows or not (options.quick and ROWS[name].only_long)
    ]
    if options.list:
        print("\n".join(f"{each.name:28} {each.fault}" for each in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="noctis-faults-", dir=options.scratch) as scratch:
        text, well = _all(chosen, Path(scratch), long=not options.quick, minutes=options.minutes)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return 0 if well else 1


def _all(chosen: Sequence[Row], scratch: Path, *, long: bool, minutes: float) -> tuple[str, bool]:
    lines, notes, well = [], [], True
    for each in chosen:
        print(f"{each.name}: {each.fault}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        if each.missing:
            lines.append((each.name, each.fault, "-", "-", "-", "-", "-", f"left out: {each.missing}"))
            continue
        try:
            figures = carry_out(each, scratch / each.name, long=long, minutes=minutes)
        except Exception as error:  # noqa: BLE001 - the other rows are wanted all the same
            traceback.print_exc()
            lines.append((each.name, each.fault, "-", "-", "-", "-", "not recovered", f"**{type(error).__name__}**"))
            well = False
            continue
        well &= figures.is_well
        lines.append((each.name, each.fault, *_in_words(figures)))
        missed = [f"**{failure}**" for failure in figures.failures]
        notes += [f"- {each.name}: {note}" for note in (*figures.notes, *missed)]
        print(f"  {_in_words(figures)} {figures.notes} ({time.monotonic() - begun:.0f} s)", file=sys.stderr, flush=True)
    machine = describe(scratch)
    head = (
        f"{machine['cpus']} CPUs ({machine['cpu']}) shared by receiver and senders, {machine['memory_gb']} GB, "
        f"Linux {machine['kernel']}, {machine['file_system']}"
    )
    table = "\n".join("| " + " | ".join(line) + " |" for line in (HEAD, ["---"] * len(HEAD), *lines))
    return f"{head}, Python {machine['python']}.\n\n{table}\n\n" + "\n".join(notes) + "\n", well


def _in_words(figures: Figures) -> tuple[str, ...]:
    counts = (figures.acknowledged, figures.filed, figures.lost, figures.duplicates)
    return (*map(str, counts), f"{figures.recovery_seconds:.1f} s", figures.senders)


if __name__ == "__main__":
    sys.exit(main())
