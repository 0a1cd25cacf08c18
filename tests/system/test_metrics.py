"""/metrics of a real Noctis: right, and never falling, whatever is killed."""

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from noctis.observability.boards import folder_of
from noctis.web.metrics.catalogue import METRICS
from tests.monitoring import dashboard_metrics, missing, promtool, rule_metrics
from tests.support import free_port, wait_for
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.senders import StubbornSender, echoscu

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
PER_PROCESS = "noctis_process_cpu_seconds_total"  # begins anew with each process, as is usual


@pytest.fixture
def noctis(make_noctis: MakeNoctis) -> Noctis:
    return make_noctis(web={"enabled": True, "port": free_port()})


def get(noctis: Noctis, path: str) -> str:
    """What a page says; "" while nobody answers."""
    address = f"http://127.0.0.1:{noctis.settings.web.port}{path}"
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())
    except OSError:
        return ""


def scrape(noctis: Noctis) -> Samples:
    """Every sample; {} while nobody answers, or nothing is known of the processes."""
    found: Samples = {}
    for family in text_string_to_metric_families(get(noctis, "/metrics")):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found if found.get(("noctis_supervisor_up", frozenset())) else {}


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum of all series of a metric that have these labels."""
    return sum(each for (of, has), each in found.items() if of == name and labels.items() <= dict(has).items())


def counters(found: Samples) -> Samples:
    """What must never fall: counters, and the counts of histograms."""
    endings = ("_total", "_bucket", "_count", "_sum")
    return {key: value for key, value in found.items() if key[0].endswith(endings) and key[0] != PER_PROCESS}


def wait_scrape(noctis: Noctis, condition: Callable[[Samples], Any], what: str) -> Samples:
    def look() -> Samples:
        found = scrape(noctis)
        return found if found and condition(found) else {}

    return wait_for(look, seconds=60, what=what)


def send(noctis: Noctis, facility: dict[str, Any], seed: int, count: int, port: int | None = None) -> None:
    sender = StubbornSender(port or facility["port"], facility["ae_title"], seed, limit=count)
    sender.start()
    assert len(sender.stop_at_limit()) == count


def all_up(found: Samples) -> bool:
    names = ("noctis_service_up", "noctis_listener_up", "noctis_database_up")
    return all(value for (name, _), value in found.items() if name in names)


def kill_listener(noctis: Noctis) -> None:
    os.kill(noctis.listener("central")["pid"], signal.SIGKILL)


def kill_default(noctis: Noctis) -> None:
    os.kill(noctis.listener(None)["pid"], signal.SIGKILL)


def kill_service(name: str) -> Callable[[Noctis], None]:
    return lambda noctis: os.kill(noctis.control_status()[name]["pid"], signal.SIGKILL)


def kill_parent(noctis: Noctis) -> None:
    noctis.kill()
    noctis.start()


def kill_everything(noctis: Noctis) -> None:
    for pid in (noctis.pid, *(child.pid for child in psutil.Process(noctis.pid).children(recursive=True))):
        os.kill(pid, signal.SIGKILL)
    noctis.wait_gone()
    noctis.start()


def stop_and_start(noctis: Noctis) -> None:
    noctis.stop()
    noctis.start()


KILLS: dict[str, Callable[[Noctis], None]] = {
    "listener": kill_listener,
    "default listener": kill_default,
    **{name: kill_service(name) for name in ("archiver", "watcher", "scheduler", "web")},
    "parent": kill_parent,
    "everything": kill_everything,
    "a stop and a start": stop_and_start,
    "a reload": Noctis.reload,
}


@pytest.mark.timeout(600)
def test_whatever_is_killed_no_counter_falls_and_the_sums_are_right(noctis: Noctis) -> None:
    noctis.start()
    central, north = noctis.json("facility", "add", "Central"), noctis.json("facility", "add", "North")
    assert not echoscu(central["port"], "NOBODY")
    before: Samples = {}
    for sent, (what, kill) in enumerate([("nothing", lambda _: None), *KILLS.items()], 1):
        kill(noctis)
        wait_scrape(noctis, all_up, f"all of it after {what} was killed")
        send(noctis, central, 10 * sent, 3)
        send(noctis, central, 10 * sent + 1, 2, port=noctis.port)  # the shared one
        send(noctis, north, 10 * sent + 2, 1)

        def filed(found: Samples) -> bool:
            return total(found, "noctis_archiver_filed_instances_total") == 6 * sent  # noqa: B023 - called at once

        found = wait_scrape(noctis, filed, f"what was sent after {what} was killed")
        after = counters(found)
        fell = {key: (value, after.get(key)) for key, value in counters(before).items() if after.get(key, -1) < value}
        assert not fell, f"after {what} was killed"
        assert total(found, "noctis_stored_instances_total", facility="central", listener="own") == 3 * sent
        assert total(found, "noctis_stored_instances_total", facility="central", listener="default") == 2 * sent
        assert total(found, "noctis_stored_instances_total", facility="north") == sent
        assert total(found, "noctis_store_answer_seconds_count") == 6 * sent
        assert total(found, "noctis_archiver_filed_instances_total", facility="central") == 5 * sent
        assert total(found, "noctis_archiver_lag_seconds_count") == 6 * sent
        assert total(found, "noctis_associations_accepted_total") == 3 * sent
        assert total(found, "noctis_associations_refused_total", reason="called") == 1
        assert total(found, "noctis_associations_live") == 0
        before = found
    assert total(before, "noctis_listener_restarts_total", facility="central") == 1
    assert total(before, "noctis_service_restarts_total") == 4


@pytest.mark.timeout(600)
def test_no_counter_falls_under_load(noctis: Noctis) -> None:
    noctis.start()
    central = noctis.json("facility", "add", "Central", "--workers", "2")
    load = StubbornSender(central["port"], central["ae_title"], 1, per_association=5)
    load.start()
    before: Samples = {}
    for what in ("listener", "archiver", "parent", "everything"):
        enough = len(load.acknowledged) + 10
        wait_for(lambda: len(load.acknowledged) > enough, what="instances")  # noqa: B023 - called at once
        KILLS[what](noctis)
        found = wait_scrape(noctis, lambda found: total(found, "noctis_service_up", service="archiver"), what)
        after = counters(found)
        assert not {key for key, value in counters(before).items() if after.get(key, -1) < value}, what
        before = found
    load.stop()


def test_a_changed_port_fewer_workers_and_a_disabled_facility_cost_no_count(noctis: Noctis) -> None:
    noctis.start()
    central = noctis.json("facility", "add", "Central", "--workers", "2")
    send(noctis, central, 1, 5)
    for number, change in enumerate(
        [("edit", "central", "--workers", "1"), ("edit", "central", "--port", str(noctis.port + 20)),
         ("disable", "central"), ("enable", "central")], 1
    ):  # fmt: skip
        noctis.cli("facility", *change)
        if change[0] == "disable":
            found = wait_scrape(noctis, lambda found: not total(found, "noctis_listener_up", facility="central"), "")
        else:
            noctis.wait_listener("central")
            central = noctis.json("facility", "show", "central")
            send(noctis, central, 10 * number, 1)
            found = scrape(noctis)
        assert total(found, "noctis_stored_instances_total") == 5 + min(number, 2) + (number > 3), change


def test_a_down_process_is_not_live(noctis: Noctis, tmp_path: Path) -> None:
    noctis.start()
    central = noctis.json("facility", "add", "Central")
    opened = StubbornSender(central["port"], central["ae_title"], 1, limit=1_000_000)
    opened.start()
    wait_scrape(noctis, lambda found: total(found, "noctis_associations_live") == 1, "an association")
    noctis.cli("supervisorctl", "stop", f"central@{central['port']}:*")
    opened.tell_to_stop()
    found = wait_scrape(noctis, lambda found: not total(found, "noctis_listener_up", facility="central"), "its end")
    for name in ("noctis_associations_live", "noctis_connections_open"):
        assert total(found, name, facility="central") == 0
    assert total(found, "noctis_stored_instances_total") > 0
    opened.stop()


def test_readiness_follows_what_happens(noctis: Noctis) -> None:
    noctis.start()
    central = noctis.json("facility", "add", "Central")
    wait_for(lambda: '"ready":true' in get(noctis, "/readyz"), what="readiness")
    noctis.cli("supervisorctl", "stop", f"central@{central['port']}:*")
    wait_for(lambda: "the listener of central is not up: stopped" in get(noctis, "/readyz"), what="the reason")
    assert get(noctis, "/healthz") == '{"live":true}'
    os.kill(noctis.pid, signal.SIGSTOP)  # it hangs
    try:
        wait_for(lambda: "the supervisor does not answer" in get(noctis, "/readyz"), what="the reason")
        assert "noctis_supervisor_up 0.0" in get(noctis, "/metrics")
    finally:
        os.kill(noctis.pid, signal.SIGCONT)


def test_the_dashboard_and_the_rules_name_what_there_is(noctis: Noctis) -> None:
    noctis.start()
    central = noctis.json("facility", "add", "Central")
    send(noctis, central, 1, 1)
    found = wait_scrape(
        noctis, lambda found: total(found, "noctis_archiver_filed_instances_total"), "something to tell of"
    )
    there = {name for name, _ in found}
    absent = set(missing(METRICS, there))
    assert absent <= {
        "noctis_audit_messages_total",  # without audit.syslog
        "noctis_audit_waiting",
        "noctis_certificate_expiry_timestamp_seconds",  # without TLS
        "noctis_verify_findings",  # all was well
    }
    for named in (dashboard_metrics(), rule_metrics()):
        assert named
        assert set(missing(named, there)) <= absent


def test_promtool_finds_nothing_wrong_in_a_scrape(noctis: Noctis) -> None:
    path = promtool()
    if path is None:
        pytest.skip("promtool is not installed; scripts/test fetches it")
    noctis.start()
    central = noctis.json("facility", "add", 'Zürich "Süd" {x="1"} \\ <script>')
    send(noctis, central, 1, 1)
    wait_scrape(noctis, lambda found: total(found, "noctis_archiver_filed_instances_total"), "something to tell of")
    text = get(noctis, "/metrics").encode()
    done = subprocess.run([path, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_counts_are_kept_where_nobody_else_reads_them(noctis: Noctis) -> None:
    noctis.start()
    folder = folder_of(noctis.home)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
