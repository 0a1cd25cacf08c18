"""The collector: what was observed, as Prometheus's families of metrics (`catalogue` names them)."""

import platform
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from noctis import __version__
from noctis.checks.probe import Seen
from noctis.checks.status import GOOD
from noctis.facilities.snapshot import Snapshot
from noctis.observability import procfs
from noctis.observability.words import ANSWER, BATCH, LAG, Buckets, FailureKind, RefusalKind
from noctis.web.metrics.catalogue import METRICS
from noctis.web.metrics.observed import Database, Observed

OWN, DEFAULT = "own", "default"
_KINDS: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
_BY_LISTENER = {  # metric: what it is called on the scoreboard
    "noctis_associations_accepted_total": "associations",
    "noctis_associations_aborted_total": "aborted",
    "noctis_associations_live": "live",
    "noctis_echoes_total": "echoes",
    "noctis_stored_instances_total": "instances",
    "noctis_stored_bytes_total": "bytes",
    "noctis_set_aside_total": "quarantined",
}
_BY_ARCHIVER = {
    "noctis_archiver_filed_instances_total": "instances",
    "noctis_archiver_filed_bytes_total": "bytes",
    "noctis_archiver_duplicates_total": "duplicates",
    "noctis_archiver_conflicts_total": "conflicts",
    "noctis_archiver_quarantined_total": "quarantined",
}


class Families:
    """The families of one scrape, each made with its first value."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def _of(self, name: str) -> Any:
        made = self._made.get(name)
        if made is None:
            metric = METRICS[name]
            if metric.kind == "info":
                made = InfoMetricFamily(name.removesuffix("_info"), metric.text)
            else:
                made = _KINDS[metric.kind](name, metric.text, labels=metric.labels)
            self._made[name] = made
        return made

    def set(self, name: str, value: float, *labels: str) -> None:
        self._of(name).add_metric(labels, value)

    def info(self, name: str, *values: str) -> None:
        """An info metric: all its labels are its value."""
        self._of(name).add_metric((), dict(zip(METRICS[name].labels, values, strict=True)))

    def histogram(self, name: str, buckets: Buckets, words: Sequence[int] | None, *labels: str) -> None:
        counts = (words or [0] * len(buckets.positions))[:-1]
        total = words[-1] / buckets.scale if words else 0.0
        bounds = [*map(floatToGoString, buckets.bounds), "+Inf"]
        self._of(name).add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)

    def all(self) -> Iterator[Metric]:
        return iter(self._made.values())


class NoctisCollector(Collector):
    """Everything of one home. A part that cannot be had is absent, and its `_up` is 0."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def collect(self) -> Iterator[Metric]:
        supervisor, database, disks = self._observed.look()
        snapshot = self._observed.place.snapshots.current()
        found = Families()
        found.info("noctis_build_info", __version__, platform.python_version())
        found.set("noctis_supervisor_up", supervisor.value is not None)
        if supervisor.value is not None:
            _listeners(found, supervisor.value["listeners"], snapshot, self._observed.place.settings.server)
            _services(found, supervisor.value["services"], snapshot)
            _processes(found, supervisor.value)
        self._spool(found, supervisor.value, snapshot)
        _database(found, database)
        for disk, space in (disks.value or {}).items():
            found.set("noctis_disk_free_bytes", space["free_bytes"], disk)
            found.set("noctis_disk_size_bytes", space["total_bytes"], disk)
            found.set("noctis_disk_reserve_bytes", space["reserve_bytes"], disk)
        _certificates(found, self._observed.certificates.result().value or [])
        _verify(found, self._observed.verify())
        return found.all()

    def describe(self) -> list[Metric]:
        """Nothing: a registry that asks at its making would wait for a scrape."""
        return []

    def _spool(self, found: Families, supervisor: dict[str, Any] | None, snapshot: Snapshot) -> None:
        waiting = self._observed.waiting(supervisor)
        if waiting is None:
            return
        now = time.time()
        for slug in sorted(snapshot.by_slug.keys() | {slug for slug, (count, _) in waiting.items() if count}):
            count, oldest = waiting.get(slug, (0, 0))
            found.set("noctis_spool_instances", count, slug)
            found.set("noctis_spool_oldest_seconds", max(0.0, now - oldest / 1e9) if oldest else 0.0, slug)


def _listeners(found: Families, told: dict[str, Any], snapshot: Snapshot, server: Any) -> None:
    for slug, listener in told.items():
        kind = OWN if slug else DEFAULT
        counts = listener["counts"]
        facility = snapshot.by_slug.get(slug)
        port, title = (facility.port, facility.ae_title) if facility else (server.port, server.ae_title)
        found.info("noctis_listener_info", slug, kind, str(port), title, facility.name if facility else "")
        found.set("noctis_listener_up", listener["state"] in GOOD, slug, kind)
        found.set("noctis_listener_enabled", not slug or (facility is not None and facility.enabled), slug, kind)
        found.set("noctis_listener_restarts_total", counts.get("restarts", 0), slug, kind)
        found.set("noctis_connections_total", counts.get("connections", 0), slug, kind)
        found.set("noctis_connections_open", counts.get("open", 0), slug, kind)
        refused = counts.get("refused_by", {})
        for reason in RefusalKind:
            found.set("noctis_associations_refused_total", refused.get(reason, 0), slug, kind, reason)
        _counted(found, counts, slug, kind)
        for each, row in listener["facilities"].items():
            if each in snapshot.by_slug:
                _counted(found, row, each, kind)


def _counted(found: Families, counts: dict[str, Any], slug: str, kind: str) -> None:
    """What a listener counts for one facility."""
    for name, counter in _BY_LISTENER.items():
        found.set(name, counts.get(counter, 0), slug, kind)
    failures = counts.get("failures_by", {})
    for reason in FailureKind:
        found.set("noctis_store_failures_total", failures.get(reason, 0), slug, kind, reason)
    found.set("noctis_last_instance_timestamp_seconds", counts.get("last_instance_ns", 0) / 1e9, slug, kind)
    found.histogram("noctis_store_answer_seconds", ANSWER, counts.get("answer"), slug, kind)


def _services(found: Families, told: dict[str, Any], snapshot: Snapshot) -> None:
    for name, service in told.items():
        found.set("noctis_service_up", service["state"] == "running", name)
        found.set("noctis_service_restarts_total", service["counts"].get("restarts", 0), name)
    if (audit := told.get("audit")) is not None:
        found.set("noctis_audit_messages_total", audit["counts"].get("instances", 0))
        found.set("noctis_audit_waiting", audit["counts"].get("pending", 0))
    if (archiver := told.get("archiver")) is None:
        return
    for slug in snapshot.by_slug:
        row = archiver["facilities"].get(slug, {})
        for name, counter in _BY_ARCHIVER.items():
            found.set(name, row.get(counter, 0), slug)
    counts = archiver["counts"]
    found.histogram("noctis_archiver_batch_instances", BATCH, counts.get("batch"))
    found.histogram("noctis_archiver_lag_seconds", LAG, counts.get("lag"))
    found.set("noctis_archiver_last_batch_timestamp_seconds", counts.get("last_batch_ns", 0) / 1e9)
    found.set("noctis_archiver_heartbeat_timestamp_seconds", counts.get("heartbeat_ns", 0) / 1e9)


def _processes(found: Families, told: dict[str, Any]) -> None:
    for name, pid in {"supervisor": told["pid"], **told["processes"]}.items():
        process = procfs.look(pid)
        if process is None:
            continue
        found.set("noctis_process_start_time_seconds", process.started, name)
        found.set("noctis_process_cpu_seconds_total", process.cpu_seconds, name)
        found.set("noctis_process_resident_memory_bytes", process.resident_bytes, name)
        if process.open_descriptors is not None:
            found.set("noctis_process_open_fds", process.open_descriptors, name)


def _database(found: Families, seen: Seen[Database]) -> None:
    database = seen.value
    found.set("noctis_database_up", database is not None and database.state["up_to_date"])
    if database is None or not database.state["reachable"]:
        return
    from noctis.db.migrate import revisions

    found.set("noctis_database_ping_seconds", database.ping_seconds)
    found.info("noctis_database_schema_info", database.state["schema"] or "", revisions()[-1])
    if database.size is not None:
        found.set("noctis_database_size_bytes", database.size)


def _certificates(found: Families, certificates: list[dict[str, Any]]) -> None:
    for each in certificates:
        if each["not_after"]:
            found.set(
                "noctis_certificate_expiry_timestamp_seconds",
                datetime.fromisoformat(each["not_after"]).timestamp(),
                each["kind"], each["facility"] or "", each["device"], each["fingerprint"][:16],
            )  # fmt: skip


def _verify(found: Families, verify: dict[str, Any]) -> None:
    last = verify["last"]
    found.set("noctis_verify_last_timestamp_seconds", datetime.fromisoformat(last).timestamp() if last else 0)
    found.set("noctis_verify_files", verify["files"] or 0)
    found.set("noctis_verify_running", verify["running"])
    for kind, count in (verify["findings"] or {}).items():
        found.set("noctis_verify_findings", count, kind)
