"""dcmtk's tools over TLS: who gets in, what is said of who does not, and that the bytes are those of a plain port.

dcmtk 3.6.7 has its own words: `+tls KEY CERT` shows a certificate, `+tla` none, `-tls` (the default) is no TLS; `+cf`
is whom it trusts, `+py` the non-downgrading BCP 195 profile (the default), `+px` one that offers older suites too.
"""

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from noctis.facilities.snapshot import ClientCertificate, Facility
from tests import tls
from tests.integration.listener.conftest import CENTRAL, RunningListener, Start
from tests.integration.listener.tls_peers import configure, refusals, refused, serve
from tests.samples import make_instance
from tests.support import wait_for
from tests.system.senders import run, tool


def echoscu(listener: RunningListener, *options: str | Path, calling: str = "CT1") -> subprocess.CompletedProcess[str]:
    titles = ("-aet", calling, "-aec", "CENTRAL", "127.0.0.1", str(listener.port))
    return run(tool("echoscu"), "-v", *options, *titles)


def storescu(listener: RunningListener, *words: str | Path) -> None:
    done = run(tool("storescu"), "-aet", "CT1", "-aec", "CENTRAL", "127.0.0.1", str(listener.port), *words)
    assert done.returncode == 0, done.stdout + done.stderr


def showing(listener: RunningListener, sender: tls.Files | None) -> tuple[str | Path, ...]:
    """dcmtk's options."""
    shown = ("+tla",) if sender is None else ("+tls", sender.key, sender.certificate)
    return (*shown, "+cf", listener.home.tls / "ca.pem")


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_an_echo_with_a_certificate(start: Start, sender: tls.Files, profile: str) -> None:
    listener = serve(start)
    done = echoscu(listener, *showing(listener, sender), profile)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_echo_without_one(start: Start) -> None:
    listener = serve(start)
    assert echoscu(listener, *showing(listener, None)).returncode != 0
    assert "shows no client certificate" in refused(listener)["reason"]
    configure(listener, client_certificates="optional")
    assert echoscu(listener, *showing(listener, None)).returncode == 0


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: tls.client("Strange", "Other CA"), "unknown CA"),
        (lambda: tls.client("Old", days=-0.5, begins=-3), "has expired"),
    ],
)
def test_a_certificate_that_will_not_do(start: Start, tmp_path: Path, made: Any, reason: str) -> None:
    listener = serve(start)
    assert echoscu(listener, *showing(listener, tls.write(made(), tmp_path, "shown"))).returncode != 0
    assert reason in refused(listener)["reason"]


def test_the_certificate_of_a_at_bs_door(start: Start, tmp_path: Path, sender: tls.Files) -> None:
    listener = serve(start)
    a = Facility(2, "a", "A", "A", 1, certificates=(ClientCertificate(sender.fingerprint),))
    listener.set_facilities(Facility(**{**CENTRAL.__dict__, "port": listener.port, "tls": "on"}), a)
    done = echoscu(listener, *showing(listener, sender))
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
    record = refused(listener)
    assert record["reason"] == "its client certificate is that of 'A', not of 'Central'"
    assert record["called"] == "CENTRAL"


def test_a_plain_caller_at_the_tls_port_and_the_contrary(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    done = echoscu(listener, "-tls")
    assert "Association Rejected" in done.stdout + done.stderr
    assert refused(listener)["reason"] == "a plain DICOM connection at a TLS port"
    configure(listener, tls="off")
    assert echoscu(listener, *showing(listener, sender)).returncode != 0
    assert refused(listener)["reason"] == "a TLS connection at a port without TLS"
    assert echoscu(listener, "-tls").returncode == 0


def test_a_client_that_trusts_another_ca(start: Start, tmp_path: Path, sender: tls.Files) -> None:
    listener = serve(start)
    other = tls.write(tls.authority("Other CA"), tmp_path, "other")
    assert echoscu(listener, "+tls", sender.key, sender.certificate, "+cf", other.certificate).returncode != 0
    assert "does not accept the server's certificate" in refused(listener)["reason"]


@pytest.mark.parametrize(
    "options", [("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1", "-cipher", "ALL:@SECLEVEL=0")]
)
def test_openssl_with_an_old_version(start: Start, options: tuple[str, ...]) -> None:
    listener = serve(start)
    done = subprocess.run(
        ["openssl", "s_client", *options, "-connect", f"127.0.0.1:{listener.port}"],
        input="", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "alert" in done.stderr
    assert "old version of TLS" in refused(listener)["reason"]


def data_sets(listener: RunningListener) -> list[bytes]:
    """What was stored, without the file meta, which names association and port."""
    found = []
    for path in listener.spooled():
        content = path.read_bytes()
        found.append(content[144 + int.from_bytes(content[140:144], "little") :])
    return sorted(found)


def test_what_is_stored_is_bit_for_bit_what_a_plain_port_stores(
    start: Start, tmp_path: Path, sender: tls.Files
) -> None:
    folders = []
    for number in range(3):
        folder = tmp_path / f"study{number}"
        folder.mkdir()
        for instance, size in enumerate((1, 700, 40_000, 3_000_000)):
            made = make_instance(
                study=f"1.2.{number}", series=f"1.2.{number}.1", number=instance, pixels=os.urandom(2 * size)
            )
            made.save_as(folder / f"{instance}.dcm", enforce_file_format=True)
        folders.append(folder)
    listener = serve(start)
    for switch in ("off", "on"):
        configure(listener, tls=switch)
        secure = showing(listener, sender) if switch == "on" else ()
        threads = [
            threading.Thread(target=storescu, args=(listener, *secure, "+sd", "-xe", folder)) for folder in folders
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wait_for(lambda: not listener.listener.live, what="the associations' ends")
    stored = data_sets(listener)
    assert len(stored) == 24
    assert stored[0::2] == stored[1::2]
    assert refusals(listener) == []
