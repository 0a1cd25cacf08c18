import json

import pytest

from bench.measure import Row, median
from bench.plan import Form
from bench.report import Run, markdown, tables
from bench.targets import Target, checklist

MACHINE = {
    "cpus": 2,
    "cpu": "some",
    "memory_gb": 8,
    "kernel": "6.1",
    "file_system": "ext4",
    "journal": True,
    "python": "3.11",
    "dcmtk": "3.6.7",
    "orthanc": None,
}


def row(receiver: str, sender: str, kind: str, associations: int, rate: float, p50: float | None = None) -> Row:
    return Row(receiver, sender, kind, associations, 100, 1.0, 0.0, rate, rate / 8, p50, p50, 1.0, 50.0, 0.1, [rate])


def find(targets: list[Target], text: str) -> Target:
    return next(target for target in targets if target.text == text)


def test_a_ratio_is_of_the_same_sender_kind_and_number_of_associations() -> None:
    targets = checklist(
        [
            row("noctis", "storescu", "MR", 1, 300),
            row("orthanc", "storescu", "MR", 1, 20),
            row("orthanc", "storescu", "MR", 4, 1),
            row("noctis-fast", "storescu-nodelay", "CT", 4, 99),
            row("storescp", "storescu-nodelay", "CT", 4, 100),
        ],
        {},
    )
    assert find(targets, "storescu as shipped, MR, n=1: noctis / orthanc").verdict == "met"
    assert find(targets, "storescu as shipped, MR, n=4: noctis / orthanc").verdict == "not measured"
    fast = find(targets, "storescu, Nagle off, CT, n=4: noctis-fast / storescp")
    assert (fast.measured, fast.verdict) == (0.99, "MISSED")


def test_sixteen_senders_are_compared_with_four_of_the_same() -> None:
    rows = [row("noctis", "load", "MR", 4, 100), row("noctis", "load", "MR", 16, 91)]
    target = find(checklist(rows, {}), "load generator, MR: noctis, n=16 / n=4")
    assert (target.measured, target.met) == (0.91, True)


@pytest.mark.parametrize(("percent", "met"), [(0.99, True), (1.0, False)])
def test_idle_associations_must_cost_less_than_one_percent(percent: float, met: bool) -> None:
    figures = {"idle": {"noctis": {"associations": 200, "cpu_percent": percent}}}
    target = find(checklist([], figures), "CPU of a listener with 200 idle associations, of one core")
    assert target.met is met


def test_a_smaller_form_does_not_judge_what_it_did_not_measure() -> None:
    figures = {
        "idle": {"noctis": {"associations": 20, "cpu_percent": 0}},
        "memory": {"noctis": {"instance_mb": 30, "growth_mb": 0}},
        "echo": {"noctis": {"associations": 10, "cpu_ms_per_association": 0}},
    }
    assert all(target.met is None for target in checklist([], figures))


def test_the_median_of_several_runs_keeps_every_rate() -> None:
    rows = [row("noctis", "load", "MR", 1, rate, p50) for rate, p50 in ((10, 3.0), (30, 1.0), (20, 2.0))]
    middle = median(rows)
    assert (middle.instances_per_second, middle.p50_ms, middle.rates) == (20, 2.0, [10, 30, 20])
    assert median([row("noctis", "storescu", "MR", 1, 10)]).p50_ms is None


def test_the_reports_hold_rows_ratios_probes_and_the_checklist() -> None:
    run = Run(
        MACHINE,
        Form.FULL,
        1,
        [row("noctis", "load", "MR", 1, 300, 1.5), row("orthanc", "load", "MR", 1, 20, 9.5)],
        {"echo": {"noctis": {"associations": 500, "associations_per_second": 500, "cpu_ms_per_association": 1.2}}},
        {"storescp load MR 1": "storescp is not installed"},
    )
    text = markdown(run)
    assert "| load generator | MR | 1 | 300 | 20 (15x) |" in text
    assert "| load generator | MR | 1 | 1.5 / 1.5 | 9.5 / 9.5 |" in text
    assert "| noctis | 500 | 500 | 1.2 |" in text
    assert "| storescp load MR 1 | storescp is not installed |" in text
    assert "1 met, 0 missed" in text
    for table in tables(run):
        assert all(len(cells) == len(table.columns) for cells in table.rows)
    document = json.loads(json.dumps(run.as_json()))
    assert document["rows"][0]["ratios"] == {"orthanc": 15}
    assert {target["verdict"] for target in document["targets"]} == {"met", "not measured"}
