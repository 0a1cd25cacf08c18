"""TLS on a supervised Noctis: switched on, used, renewed and drained without a restart of anything."""

import json
import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.load import tls_context
from bench.scu import Association
from bench.studies import TINY
from noctis.facilities.certificates import CertificateRegistry
from noctis.facilities.records import parse_device
from noctis.facilities.snapshot import SnapshotReader
from tests import tls
from tests.samples import make_instance
from tests.support import wait_for
from tests.system import senders
from tests.system.associations import in_flight, message, store
from tests.system.conftest import MakeNoctis, Noctis


@pytest.fixture
def central(noctis: Noctis, tmp_path: Path) -> Any:
    """A facility whose port speaks TLS, and a sender's certificate that is bound to it."""
    ca = tls.write(tls.authority(tls.CA), noctis.home / "tls", "ca")
    tls.write(tls.server(), noctis.home / "tls", "server")
    sender = tls.write(tls.client(), tmp_path, "sender")
    record = noctis.add("Central", ae_title="CENTRAL", devices=[parse_device("CT1")])
    certificates = CertificateRegistry(noctis.engine(), noctis.settings, actor="test")
    certificates.bind("central", sender.fingerprint, device="CT1")
    certificates.edit("central", {"tls": "on"})
    noctis.wait_listener("central")
    reader = SnapshotReader(noctis.settings.paths.snapshot)
    wait_for(lambda: reader.current().by_slug["central"].tls == "on", what="TLS in the snapshot")
    files = {"private_key": sender.key, "certificate": sender.certificate, "ca": ca.certificate}
    return {name: str(path) for name, path in files.items()} | {"port": record.port, "fingerprint": sender.fingerprint}


def options(issued: Any) -> tuple[str, ...]:
    """dcmtk's."""
    return "+tls", issued["private_key"], issued["certificate"], "+cf", issued["ca"]


def context(issued: Any) -> ssl.SSLContext:
    return tls_context(issued["private_key"], issued["certificate"], issued["ca"])


def write_instances(folder: Path, *sizes: int) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, size in enumerate(sizes):
        made = make_instance(study="1.2.3", series="1.2.3.1", number=number, pixels=os.urandom(size))
        paths.append(folder / f"{number}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    return paths


def filed(noctis: Noctis) -> list[tuple[Any, ...]]:
    return noctis.sql("SELECT calling_ae_title, peer_address FROM instance")


def test_five_commands_and_a_sender(noctis: Noctis, tmp_path: Path) -> None:
    noctis.cli("facility", "add", "Central", "--ae-title", "CENTRAL", "--device", "CT1")
    noctis.cli("tls", "make-ca")
    noctis.cli("tls", "issue", "--server")
    central = noctis.json("tls", "issue", "central", "--device", "CT1")
    noctis.cli("facility", "edit", "central", "--tls", "on")
    central["port"] = noctis.listener("central")["port"]
    pids = [each["workers"] for each in noctis.control_status()["listeners"]]
    paths = write_instances(tmp_path / "study", 2, 6 << 20)
    senders.storescu(central["port"], "CENTRAL", paths, *options(central), calling="CT1")
    wait_for(lambda: len(filed(noctis)) == 2, what="two instances filed")
    assert filed(noctis) == [("CT1", "127.0.0.1")] * 2
    done = senders.run(senders.tool("echoscu"), "-aec", "CENTRAL", "127.0.0.1", str(central["port"]))
    assert "Association Rejected" in done.stdout + done.stderr
    wait_for(
        lambda: [row["reason"] for row in noctis.json("refusal", "list")] == ["a plain DICOM connection at a TLS port"],
        what="the refusal in the ledger",
    )
    assert not senders.echoscu(noctis.port, "NOCTIS_SERVER", "CT1")  # the default port is plain, and no way round
    wait_for(
        lambda: any("takes TLS alone" in row["reason"] for row in noctis.json("refusal", "list")), what="its refusal"
    )
    assert [each["workers"] for each in noctis.control_status()["listeners"]] == pids
    (said,) = [line for line in noctis.events("tls.established") if line["certificate"] == central["fingerprint"]]
    assert said["subject"] == "CN=Central CT1"


def test_our_own_echo_works_where_client_certificates_are_required_and_bound(noctis: Noctis, central: Any) -> None:
    assert "answered" in noctis.cli("facility", "test", "central")
    findings = noctis.run("check", "--json")
    wrong = [each for each in json.loads(findings.stdout) if each["check"] in ("echo", "tls") and not each["well"]]
    assert wrong == []
    (noctis.home / "tls" / "server.pem").write_text("nonsense")
    assert "answered" not in noctis.run("facility", "test", "central").stdout  # it compares with the file
    tls.write(tls.server("renewed"), noctis.home / "tls", "server")
    assert "answered" in noctis.cli("facility", "test", "central")


def test_every_port_when_tls_is_on_for_all(noctis: Noctis, central: Any) -> None:
    noctis.stop()
    noctis.set(tls={"enabled": True})
    noctis.start()
    done = senders.run(
        senders.tool("echoscu"),
        *options(central),
        "-aet",
        "CT1",
        "-aec",
        "NOCTIS_SERVER",
        "127.0.0.1",
        str(noctis.port),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    noctis.add("City")
    noctis.wait_listener("city")
    assert "answered" in noctis.cli("facility", "test", "city")
    port = noctis.listener("city")["port"]
    city = senders.run(
        senders.tool("echoscu"), *options(central), "-aec", noctis.json("facility", "show", "city")["ae_title"],
        "127.0.0.1", str(port),
    )  # fmt: skip
    assert "Calling AE Title Not Recognized" in city.stdout + city.stderr


def test_a_renewed_certificate_is_served_at_the_next_connection(noctis: Noctis, central: Any) -> None:
    def served() -> str:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{central['port']}", "-servername", "localhost"],
            input="", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]

    before = served()
    with_old = Association("127.0.0.1", central["port"], "CENTRAL", TINY, calling="CT1", tls=context(central))
    with_old.open()
    tls.write(tls.server("renewed"), noctis.home / "tls", "server")
    assert served() not in ("", before)
    assert store(with_old, 1) == 0  # who is connected stays so
    with_old.close()


def test_a_stop_lets_an_instance_over_tls_finish(noctis: Noctis, central: Any) -> None:
    sending = Association("127.0.0.1", central["port"], "CENTRAL", TINY, calling="CT1", tls=context(central))
    sending.open()
    whole = message(7)
    sending.sock.sendall(whole[: len(whole) // 2])
    wait_for(lambda: in_flight(noctis.home, "central"), what="the instance in flight")
    noctis.signal(15)
    wait_for(lambda: noctis.events("supervisor.stopping"), what="the stop")
    sending.sock.sendall(whole[len(whole) // 2 :])
    assert sending.status() == 0
    assert noctis.wait_gone() == 0
    sending.sock.close()
    assert noctis.processes() == []


def test_a_slow_sender_and_a_listener_whose_memory_and_descriptors_stay(noctis: Noctis, central: Any) -> None:
    pid = noctis.listener("central")["pid"]
    slow = Association("127.0.0.1", central["port"], "CENTRAL", TINY, calling="CT1", tls=context(central))
    slow.open()
    whole = message(8)
    for at in range(0, len(whole), 97):
        slow.sock.sendall(whole[at : at + 97])
    assert slow.status() == 0
    slow.close()
    process = psutil.Process(pid)
    wait_for(lambda: noctis.listener("central")["live_associations"] == 0, what="its end")
    held = process.num_fds(), process.num_threads()
    for _ in range(20):
        done = senders.run(senders.tool("echoscu"), "+tla", "-ic", "-aec", "CENTRAL", "127.0.0.1", str(central["port"]))
        assert done.returncode != 0
    wait_for(lambda: (process.num_fds(), process.num_threads()) == held, what="nothing that is left")
    wait_for(
        lambda: [row["count"] for row in noctis.json("refusal", "list")] == [20], what="twenty, counted in one row"
    )


def test_our_own_echo_by_tls_behind_a_load_balancer(make_noctis: MakeNoctis) -> None:
    """Where connections begin with a PROXY header, that comes before TLS."""
    noctis = make_noctis(listeners={"proxies": ["127.0.0.1/32"]}).start()
    noctis.cli("facility", "add", "Central")
    noctis.cli("tls", "make-ca")
    noctis.cli("tls", "issue", "--server", "--name", "localhost")
    noctis.cli("facility", "edit", "central", "--tls", "on")
    assert "answered in" in noctis.cli("facility", "test", "central")
    assert noctis.json("refusal", "list") == []
