"""The benchmark: every receiver in turn, the same senders, one set of tables (docs/performance.md).

Each receiver is started anew, with an empty store, in its own defaults, for every row; Noctis counts as done when its
index is complete. What is not installed is left out, and named.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench import machine, probes
from bench.machine import Scratch
from bench.measure import Row, measure, median
from bench.plan import Form, Group, plan
from bench.probes import Probe
from bench.report import Run, markdown, show

_FAILURES = (OSError, RuntimeError, subprocess.SubprocessError)  # of one row; the others are measured all the same
_WIDTH = 180  # characters, where there is no terminal


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure Noctis beside other receivers, in one run on this machine."
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_const", const=Form.QUICK, dest="form", help="a few minutes")
    form.add_argument(
        "--smoke", action="store_const", const=Form.SMOKE, dest="form", help="under a minute; only that all of it runs"
    )
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose 'receiver sender kind n' has it")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="measure each row so often: the medians")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where all is stored (default: temporary folder)")
    parser.add_argument("--keep-free", type=float, metavar="GB", help="delete old stores when less is free (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, for machines")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables, for documents")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    parser.set_defaults(form=Form.FULL)
    return parser


def main() -> int:
    options = arguments().parse_args()
    form: Form = options.form
    groups = [[step for step in group if _wanted(step.label, options.only)] for group in plan(form)]
    wanted = [probe for probe in probes.probes(form) if _wanted(probe.label, options.only)]
    if options.list:
        print(*(step.label for group in groups for step in group), *(probe.label for probe in wanted), sep="\n")
        return 0
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    keep_free = None if options.keep_free is None else int(options.keep_free * 1e9)
    with Scratch(options.scratch, keep_free) as scratch:
        run = Run(machine.describe(scratch.path), form, max(1, options.repeat))
        try:
            _measure_all(run, groups, wanted, scratch, console, options.json)
        except KeyboardInterrupt:
            console.print("interrupted: this is what was measured until then")
    show(run, console)
    _write_json(run, options.json)
    if options.markdown:
        options.markdown.write_text(markdown(run), encoding="utf-8")
    return 0


def _measure_all(
    run: Run, groups: list[Group], wanted: list[Probe], scratch: Scratch, console: Console, target: Path | None
) -> None:
    total = run.repeat * sum(map(len, groups)) + len(wanted)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=total)

        def done(label: str, found: str) -> None:
            progress.advance(task)
            progress.console.print(f"{label}: {found}", highlight=False, markup=False)

        for group in groups:
            found: dict[str, list[Row]] = {}
            for _ in range(run.repeat):  # receivers in turn, so that neighbours share what else the machine does
                for step in group:
                    progress.update(task, description=step.label)
                    try:
                        row = measure(step, scratch)
                    except _FAILURES as error:
                        run.left_out[step.label] = str(error)
                        done(step.label, f"left out: {error}")
                        continue
                    found.setdefault(step.label, []).append(row)
                    done(step.label, f"{row.instances_per_second} /s, {row.seconds} s")
            run.rows += map(median, found.values())
            _write_json(run, target)
        for probe in wanted:
            progress.update(task, description=probe.label)
            try:
                figures = probes.run(probe, run.form, scratch)
            except _FAILURES as error:
                run.left_out[probe.label] = str(error)
                done(probe.label, f"left out: {error}")
                continue
            run.probes.setdefault(probe.name, {})[probe.receiver] = figures
            done(probe.label, ", ".join(f"{name} {value:g}" for name, value in figures.items()))


def _write_json(run: Run, target: Path | None) -> None:
    if target:
        target.write_text(json.dumps(run.as_json(), indent=1) + "\n", encoding="utf-8")


def _wanted(label: str, texts: Iterable[str] | None) -> bool:
    """Whether one of the texts is in it; a blank at an end of a text means the end of a word."""
    return not texts or any(text in f" {label} " for text in texts)


if __name__ == "__main__":
    sys.exit(main())
