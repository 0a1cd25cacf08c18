"""What the Grafana dashboard and the Prometheus rules name, for tests that hold it against what there is."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[1] / "config"
DASHBOARD = CONFIG / "grafana" / "noctis.json"
RULES = CONFIG / "prometheus" / "noctis.rules.yml"
RULES_TEST = CONFIG / "prometheus" / "noctis.rules.test.yml"
SCRAPE = CONFIG / "prometheus" / "prometheus.yml"
_NAME = re.compile(r"\bnoctis_[a-z_]+")
_PARTS = ("_bucket", "_count", "_sum")


def promtool() -> str | None:
    """Its path; None when it is not installed (scripts/test fetches it)."""
    return shutil.which("promtool", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels, those in rows too."""
    return [panel for each in document["panels"] for panel in (each, *each.get("panels", ()))]


def expressions(document: dict[str, Any]) -> list[str]:
    found = [target["expr"] for panel in panels(document) for target in panel.get("targets", ())]
    return found + [each["query"]["query"] for each in document["templating"]["list"] if each["type"] == "query"]


def dashboard_metrics() -> set[str]:
    return {name for each in expressions(dashboard()) for name in _NAME.findall(each)}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def rule_metrics() -> set[str]:
    return {name for rule in rules() for name in _NAME.findall(rule["expr"])}


def missing(named: Iterable[str], there: Iterable[str]) -> list[str]:
    """Those of `named` that no sample of `there` is of."""
    known = set(there)
    for each in _PARTS:
        known |= {name.removesuffix(each) for name in known if name.endswith(each)}
    return sorted(set(named) - known)
