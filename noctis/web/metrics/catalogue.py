"""Every metric, with its labels and what it means: what a scrape has and docs/monitoring.md lists.

`facility` is the slug; "" for what is of no facility. `listener` is `own` for the facility's port and `default` for the
shared one. Counters run on over the end of any process, and of the supervisor, until the machine is started anew.
"""

from dataclasses import dataclass

PORT = ("facility", "listener")


@dataclass(frozen=True)
class Metric:
    """One metric, as it is exposed."""

    name: str
    kind: str  # counter | gauge | histogram | info
    labels: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Section:
    title: str
    metrics: tuple[Metric, ...]


def _section(title: str, *rows: tuple[str, str, tuple[str, ...], str]) -> Section:
    return Section(title, tuple(Metric(f"noctis_{name}", kind, labels, text) for name, kind, labels, text in rows))


SECTIONS = (
    _section(
        "Listeners",
        ("listener_up", "gauge", PORT, "1: it receives, or waits for its first connection (on demand)."),
        (
            "listener_info",
            "info",
            (*PORT, "port", "ae_title", "name"),
            "Its port, AE title and facility's name; always 1.",
        ),
        ("listener_enabled", "gauge", PORT, "1: it shall be up; 0: its facility is disabled."),
        ("listener_restarts_total", "counter", PORT, "Processes that were started in the place of one that ended."),
        ("connections_total", "counter", PORT, "TCP connections taken."),
        ("connections_open", "gauge", PORT, "TCP connections open now."),
        ("associations_accepted_total", "counter", PORT, "Associations accepted."),
        ("associations_refused_total", "counter", (*PORT, "reason"), "Callers turned away, by reason (see below)."),
        ("associations_aborted_total", "counter", PORT, "Associations that did not end by a release."),
        ("associations_live", "gauge", PORT, "Associations open now."),
        ("echoes_total", "counter", PORT, "C-ECHOs answered."),
        ("stored_instances_total", "counter", PORT, "Instances acknowledged with success: they are on disk."),
        ("stored_bytes_total", "counter", PORT, "Bytes of these, as files."),
        (
            "store_failures_total",
            "counter",
            (*PORT, "reason"),
            "C-STOREs answered with a failure, by reason (see below).",
        ),
        ("store_answer_seconds", "histogram", PORT, "From the last byte of a C-STORE request to its answer."),
        ("last_instance_timestamp_seconds", "gauge", PORT, "When the last instance was acknowledged; 0: never."),
        (
            "set_aside_total",
            "counter",
            PORT,
            "Instances that the listener put into quarantine, and answered with a failure.",
        ),
    ),
    _section(
        "Spool and archiver",
        ("spool_instances", "gauge", ("facility",), "Instances that are acknowledged and not filed yet."),
        ("spool_oldest_seconds", "gauge", ("facility",), "For how long the oldest of them has waited; 0: none waits."),
        ("archiver_filed_instances_total", "counter", ("facility",), "Instances filed in archive and index."),
        ("archiver_filed_bytes_total", "counter", ("facility",), "Bytes of these, as files."),
        ("archiver_duplicates_total", "counter", ("facility",), "Instances that were there already, byte for byte."),
        ("archiver_conflicts_total", "counter", ("facility",), "Instances whose UID was there with other bytes."),
        (
            "archiver_quarantined_total",
            "counter",
            ("facility",),
            "Instances put into quarantine by the archiver, conflicts included.",
        ),
        ("archiver_batch_instances", "histogram", (), "Entries of a batch."),
        ("archiver_lag_seconds", "histogram", (), "From the acknowledgement of an instance to its row in the index."),
        ("archiver_last_batch_timestamp_seconds", "gauge", (), "When the last batch was filed; 0: never."),
        (
            "archiver_heartbeat_timestamp_seconds",
            "gauge",
            (),
            "When the archiver last began a round; 0: it does not run.",
        ),
    ),
    _section(
        "Database and disk",
        ("database_up", "gauge", (), "1: it answers, and its schema is this release's."),
        ("database_ping_seconds", "gauge", (), "That the last look at it took; absent when it does not answer."),
        ("database_size_bytes", "gauge", (), "Its size: SQLite's files, or what PostgreSQL says."),
        (
            "database_schema_info",
            "info",
            ("current", "wanted"),
            "The schema's version, and the one of this release; always 1.",
        ),
        ("disk_free_bytes", "gauge", ("disk",), "Free space of the file system of `spool` and of `archive`."),
        ("disk_size_bytes", "gauge", ("disk",), "Its size."),
        ("disk_reserve_bytes", "gauge", ("disk",), "Free space that is never used up (`storage.reserve_bytes`)."),
    ),
    _section(
        "Processes",
        ("supervisor_up", "gauge", (), "1: it answers. 0: nothing of listeners and services is known."),
        ("service_up", "gauge", ("service",), "1: the archiver, watcher, scheduler, web … runs."),
        (
            "service_restarts_total",
            "counter",
            ("service",),
            "Processes that were started in the place of one that ended.",
        ),
        ("audit_messages_total", "counter", (), "Audit messages sent; absent without `audit.syslog`."),
        ("audit_waiting", "gauge", (), "Rows whose audit messages wait."),
        ("process_start_time_seconds", "gauge", ("process",), "When a process was started."),
        ("process_cpu_seconds_total", "counter", ("process",), "Its processor time; begins anew with each process."),
        ("process_resident_memory_bytes", "gauge", ("process",), "Its memory."),
        ("process_open_fds", "gauge", ("process",), "Its open files and sockets."),
        ("build_info", "info", ("version", "python"), "The release; always 1."),
    ),
    _section(
        "Certificates and verify",
        (
            "certificate_expiry_timestamp_seconds",
            "gauge",
            ("kind", "facility", "device", "fingerprint"),
            "When a TLS certificate ends: `server`, `facility`, `ca`, `client` or, of the pages, `web`. Absent "
            "where it is not known.",
        ),
        ("verify_last_timestamp_seconds", "gauge", (), "When the archive's last verify ended; 0: never."),
        ("verify_files", "gauge", (), "Files that it looked at."),
        ("verify_findings", "gauge", ("kind",), "What it found, by kind; absent when all was well."),
        ("verify_running", "gauge", (), "1: one is under way."),
    ),
)
METRICS = {each.name: each for section in SECTIONS for each in section.metrics}


def reference() -> str:
    """The tables of docs/monitoring.md."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += [f"### {section.title}", "", "| metric | type | labels | |", "|---|---|---|---|"]
        for each in section.metrics:
            labels = " ".join(f"`{label}`" for label in each.labels)
            lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.text} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference())
