"""The dashboard, the alerts and docs/monitoring.md name what there is; Prometheus's own tool finds nothing wrong."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from noctis.observability.words import FailureKind, RefusalKind
from noctis.web.metrics.catalogue import METRICS, SECTIONS, reference
from tests import monitoring
from tests.monitoring import RULES, RULES_TEST, SCRAPE, dashboard, expressions, panels, rules

DOCS = Path(__file__).parents[2] / "docs" / "monitoring.md"


# -- the list of metrics


def test_every_metric_is_in_the_docs() -> None:
    """Made by `python -m noctis.web.metrics.catalogue`."""
    text = DOCS.read_text(encoding="utf-8")
    tables = text[text.index(f"### {SECTIONS[0].title}") : text.index("### Reasons")]
    assert tables.strip() == reference().strip()


def test_every_reason_is_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    reasons = re.findall(r"^\| `([a-z]+)` \| [^|]+ \|$", text[text.index("### Reasons") :], flags=re.MULTILINE)
    assert reasons == [*RefusalKind, *FailureKind]


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metrics_name_says_its_kind(metric: monitoring.Any) -> None:
    assert re.fullmatch(r"noctis_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    assert metric.text.endswith((".", ")."))


# -- the dashboard


def test_the_dashboard_names_metrics_that_there_are() -> None:
    assert monitoring.missing(monitoring.dashboard_metrics(), sample_names()) == []


def test_the_dashboard_uses_every_metric() -> None:
    left_out = {
        "noctis_process_start_time_seconds",
        "noctis_archiver_heartbeat_timestamp_seconds",
        "noctis_database_schema_info",
        "noctis_audit_messages_total",
        "noctis_audit_waiting",
        "noctis_verify_files",
        "noctis_verify_running",
    }
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in monitoring.dashboard_metrics()}
    assert METRICS.keys() - used == left_out


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    document = dashboard()
    assert document["schemaVersion"] >= 39  # Grafana 11
    assert document["id"] is None
    assert document["uid"]
    found = panels(document)
    ids = [panel["id"] for panel in found]
    assert len(ids) == len(set(ids))
    names = {each["name"] for each in document["templating"]["list"]}
    assert {"datasource", "facility", "instance"} == names
    for panel in found:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    for name in re.findall(r"\$\{?(\w+)", " ".join(expressions(document))):
        assert name in names | {"__rate_interval"}


def test_no_two_panels_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels(dashboard()):
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


# -- the alerts


def test_the_alerts_name_metrics_that_there_are() -> None:
    assert monitoring.missing(monitoring.rule_metrics(), sample_names()) == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, monitoring.Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert Path(DOCS.parents[1] / page) == DOCS
    assert f"### {rule['alert']}\n" in DOCS.read_text(encoding="utf-8")
    assert anchor == rule["alert"].lower()


def test_every_alert_is_tried() -> None:
    text = RULES_TEST.read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if rule["alert"] not in text] == []


# -- Prometheus's own tool


def promtool(*arguments: str | Path, stdin: bytes = b"") -> str:
    """What it says; it must find nothing wrong."""
    path = monitoring.promtool()
    if path is None:
        pytest.skip("promtool is not installed; scripts/test fetches it")
    command = [path, *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, cwd=RULES.parent, timeout=120, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_promtool_reads_the_alerts() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", RULES.name)
    promtool("check", "config", SCRAPE.name)


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", RULES_TEST.name)


def test_promtool_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    values = {"$__rate_interval": "5m", "$instance": ".*", "$facility": ".*"}
    queries = []
    for target in (target for panel in panels(dashboard()) for target in panel.get("targets", ())):
        text = target["expr"]
        for name, value in values.items():
            text = text.replace(name, value)
        queries.append(text)
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(queries)]
    path = tmp_path / "dashboard.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}), encoding="utf-8")
    promtool("check", "rules", path)


def sample_names() -> set[str]:
    """What samples are called, by the list of metrics."""
    names = set()
    for metric in METRICS.values():
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {metric.name + part for part in parts}
    return names
