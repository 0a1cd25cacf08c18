"""`noctis tls`: what it makes fits together, is secret, is never overwritten unasked, and is told of before it ends."""

import json
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from noctis.facilities.snapshot import SnapshotReader
from noctis.tls import policy
from noctis.tls.contexts import make
from noctis.tls.inventory import read_certificates
from tests import tls
from tests.integration.cli.conftest import Call


@pytest.fixture
def facility(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NOCTIS_SERVER__ADVERTISED_HOST", "pacs.example.org")
    noctis("facility", "add", "Central", "--ae-title", "CENTRAL", "--device", "CT1")
    return "central"


def shake(home: Path, sender: dict[str, Any] | None) -> str | None:
    """A handshake in memory between a listener's context and a sender's; the fingerprint that the listener sees."""
    folder = home / "tls"
    files = (folder / "server.pem", folder / "server.key")
    serving = make(policy.Policy(*files, "required", folder / "ca.pem", folder / "self.pem", ""))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "ca.pem")
    if sender is not None:
        context.load_cert_chain(sender["certificate"], sender["private_key"])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.context.wrap_bio(there, back, server_side=True)
    client = context.wrap_bio(back, there, server_hostname="pacs.example.org")
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    import hashlib

    der = server.getpeercert(binary_form=True)
    return hashlib.sha256(der).hexdigest() if der else None


def snapshot(home: Path) -> Any:
    return SnapshotReader(home / "run" / "facilities.json").current()


def modes(home: Path) -> dict[str, int]:
    folder = home / "tls"
    return {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_from_nothing_to_a_sender_in_three_commands(noctis: Call, facility: str, home: Path) -> None:
    noctis("tls", "make-ca")
    names = noctis("tls", "issue", "--server", "--json").json["names"]
    assert names[0] == "pacs.example.org"
    assert {"localhost", "127.0.0.1"} <= set(names)
    issued = noctis("tls", "issue", facility, "--device", "CT1", "--password", "s3cret", "--json").json
    assert shake(home, issued) == issued["fingerprint"]
    (bound,) = snapshot(home).by_slug["central"].certificates
    assert (bound.fingerprint, bound.device) == (issued["fingerprint"], "CT1")
    assert "+tls" in issued["storescu"]
    key, certificate, chain = pkcs12.load_key_and_certificates(Path(issued["pkcs12"]).read_bytes(), b"s3cret")
    assert key is not None
    assert certificate == read_certificates(Path(issued["certificate"]))[0]
    assert chain == read_certificates(home / "tls" / "ca.pem")
    assert {mode for path, mode in modes(home).items() if path != "clients"} == {0o600}
    assert (home / "tls").stat().st_mode & 0o777 == 0o700
    assert [row["action"] for row in noctis("event", "list", "--json").json if "added" not in row["action"]] == [
        "certificate.issued",
        "tls.server_issued",
        "tls.ca_made",
    ]


def test_what_is_printed_says_what_to_copy(noctis: Call, facility: str) -> None:
    noctis("tls", "make-ca")
    out = noctis("tls", "issue", facility).out
    for word in ("bound", "central.pem", "central.key", "ca.pem", "storescu -v +tls", "takes bound certificates alone"):
        assert word in out


def test_nothing_is_overwritten_unasked(noctis: Call, facility: str, home: Path) -> None:
    noctis("tls", "make-ca")
    noctis("tls", "issue", "--server", "--name", "a.example.org")
    noctis("tls", "issue", facility)
    before = {path: path.read_bytes() for path in (home / "tls").rglob("*") if path.is_file()}
    for words in (("make-ca",), ("issue", "--server"), ("issue", facility)):
        answer = noctis("tls", *words, code=2)
        assert "is there already" in answer.err
        assert "--force" in answer.err
    assert {path: path.read_bytes() for path in before} == before
    assert noctis("tls", "issue", "--server", "--force", "--json").json["names"] == ["a.example.org"]  # kept
    noctis("tls", "issue", facility, "--force")
    assert len(snapshot(home).by_slug["central"].certificates) == 2  # the old one until it is unbound


def test_a_facilitys_own_server_certificate(noctis: Call, facility: str, home: Path) -> None:
    noctis("tls", "make-ca")
    issued = noctis("tls", "issue", "--server", facility, "--name", "10.1.2.3", "--json").json
    assert issued["certificate"] == str(home / "tls" / "facilities" / "central.pem")
    assert [each["kind"] for each in noctis("tls", "list", "--json").json] == ["facility", "ca"]


def test_bind_and_unbind(noctis: Call, facility: str, home: Path, tmp_path: Path) -> None:
    noctis("facility", "add", "City")
    theirs = tls.write(tls.client("Their CT"), tmp_path, "ct")
    noctis("tls", "bind", facility, theirs.certificate, "--device", "CT1")
    assert "bound to 'Central' (of CT1) already" in noctis("tls", "bind", "city", theirs.certificate, code=2).err
    colons = ":".join(f"{byte:02X}" for byte in bytes(range(32)))
    noctis("tls", "bind", "city", colons)
    (known, unknown) = noctis("tls", "list", "--json").json
    assert (known["subject"], known["device"], known["facility"]) == ("CN=Their CT", "CT1", "central")
    assert unknown["fingerprint"] == bytes(range(32)).hex()
    assert noctis("tls", "bind", "city", "nonsense", code=2).err
    out = noctis("tls", "unbind", theirs.fingerprint[:12]).out
    assert "any that the CA signed will do" in out
    assert snapshot(home).by_slug["central"].certificates == ()
    assert "no certificate is bound" in noctis("tls", "unbind", theirs.certificate, code=2).err
    assert noctis("tls", "unbind", "00", code=2).err
    actions = [row["action"] for row in noctis("event", "list", "--json").json]
    assert actions.count("certificate.bound") == 2
    assert actions.count("certificate.unbound") == 1


def test_removing_a_device_lets_its_certificates_go(noctis: Call, facility: str, home: Path) -> None:
    noctis("device", "add", facility, "CT1@10.0.0.0/8")
    noctis("tls", "bind", facility, "ab" * 32, "--device", "CT1")
    noctis("tls", "bind", facility, "cd" * 32)
    noctis("device", "remove", facility, "CT1@10.0.0.0/8")
    assert len(snapshot(home).by_slug["central"].certificates) == 2  # it is still a device, from anywhere
    noctis("device", "remove", facility, "CT1")
    assert [each.fingerprint for each in snapshot(home).by_slug["central"].certificates] == ["cd" * 32]
    assert "ab" * 32 in json.dumps(noctis("event", "list", "--json").json[0])


def test_a_removed_facilitys_certificate_is_nobody_elses(noctis: Call, facility: str, home: Path) -> None:
    noctis("tls", "bind", facility, "ab" * 32)
    noctis("facility", "remove", facility)
    assert snapshot(home).foreign_certificates == ("ab" * 32,)
    noctis("facility", "restore", facility)
    assert snapshot(home).foreign_certificates == ()


def test_refusals(noctis: Call, facility: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "noctis tls make-ca" in noctis("tls", "issue", "--server", code=2).err
    assert "noctis tls make-ca" in noctis("tls", "issue", facility, code=2).err
    assert noctis("tls", "issue", code=2).err
    assert noctis("tls", "issue", "--server", "--device", "CT1", code=2).err
    assert noctis("tls", "issue", facility, "--name", "x", code=2).err
    noctis("tls", "make-ca")
    assert "neither a host name" in noctis("tls", "issue", "--server", "--name", "not a host", code=2).err
    assert "No facility found" in noctis("tls", "issue", "nobody", code=2).err
    monkeypatch.setenv("NOCTIS_TLS__CERTIFICATE", str(tmp_path / "x.pem"))
    assert "tls.certificate" in noctis("tls", "issue", "--server", code=2).err
    monkeypatch.setenv("NOCTIS_TLS__CLIENT_CA", str(tmp_path / "ca.pem"))
    assert "tls.client_ca" in noctis("tls", "make-ca", code=2).err


# -- check and status


def said(noctis: Call) -> list[tuple[str, str]]:
    """What is wrong, and what mends it, as `check` and `status` say it."""
    found = [
        (each["text"], each["fix"])
        for each in noctis("check", "--json", code=1).json
        if each["check"] == "tls" and not each["well"]
    ]
    status = noctis("status", "--json", code=1).json["tls"]
    assert [(each["sentence"], each["fix"]) for each in status if each["problem"]] == found
    text = noctis("status", code=1).out
    assert all(fix in text for _, fix in found)
    return found


def test_nothing_is_said_where_there_is_no_tls(noctis: Call, facility: str) -> None:
    assert said(noctis) == []
    assert noctis("status", "--json", code=1).json["tls"] == []


def test_tls_without_a_certificate(noctis: Call, facility: str) -> None:
    noctis("facility", "edit", facility, "--tls", "on")
    assert [fix for _, fix in said(noctis)] == ["noctis tls issue --server", "noctis tls make-ca"]


def test_keys_that_do_not_fit_or_that_others_can_read(noctis: Call, facility: str, home: Path) -> None:
    noctis("facility", "edit", facility, "--tls", "on")
    noctis("tls", "make-ca")
    tls.write(tls.server(), home / "tls", "server")
    assert said(noctis) == []
    (home / "tls" / "server.key").chmod(0o640)
    (home / "tls" / "ca.key").chmod(0o604)
    assert [fix for _, fix in said(noctis)] == [f"chmod 600 {home / 'tls' / name}" for name in ("server.key", "ca.key")]
    (home / "tls" / "ca.key").chmod(0o600)
    tls.write(tls.client("Other"), home / "tls", "server")
    (home / "tls" / "server.pem").write_bytes(tls.server().certificate_pem)
    ((text, fix),) = said(noctis)
    assert "is not the certificate's" in text
    assert fix == "noctis tls issue --server --force"
    (home / "tls" / "server.key").unlink()
    assert "does not exist" in said(noctis)[0][0]
    (home / "tls" / "server.pem").write_text("nonsense")
    assert "no PEM certificate" in said(noctis)[0][0]


@pytest.mark.parametrize(
    ("days", "begins", "word"),
    [(20, -1, "in 19 days"), (-0.5, -2, "has expired"), (45, 1, "not valid before"), (40, -1, "")],
)
def test_dates_of_every_kind(
    noctis: Call, facility: str, home: Path, tmp_path: Path, days: float, begins: float, word: str
) -> None:
    noctis("facility", "edit", facility, "--tls", "on")
    made = tls.client("Any", days=days, begins=begins)
    for folder, stem in ((home / "tls", "server"), (home / "tls" / "facilities", facility), (home / "tls", "ca")):
        tls.write(made, folder, stem)
    noctis("tls", "bind", facility, home / "tls" / "ca.pem", "--device", "CT1")
    found = said(noctis)
    if not word:
        assert found == []
        return
    assert all(word in text for text, _ in found)
    if begins > 0:
        assert len(found) == 3  # of a bound one its end is known, not its beginning
        return
    assert [fix.split("   ")[0].split(";")[0] for _, fix in found] == [
        "noctis tls issue --server --force",
        "noctis tls issue --server central --force",
        "noctis tls make-ca --force",
        "noctis tls issue central --device CT1 --force",
    ]


def test_expiry_days_is_a_setting(noctis: Call, facility: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls.write(tls.client("Any", days=40), home / "tls", "server")
    assert said(noctis) == []
    monkeypatch.setenv("NOCTIS_TLS__EXPIRY_DAYS", "60")
    assert "ends on" in said(noctis)[0][0]


def test_a_bound_certificate_of_unknown_end(noctis: Call, facility: str) -> None:
    noctis("facility", "edit", facility, "--tls", "on", "--client-certificates", "off")
    noctis("tls", "bind", facility, "ab" * 32)
    assert [fix for _, fix in said(noctis)] == ["noctis tls issue --server"]


def test_a_folder_that_cannot_be_made_is_told(noctis: Call, facility: str, tmp_path: Path) -> None:
    noctis("tls", "make-ca")
    (tmp_path / "file").write_text("")
    answer = noctis("tls", "issue", facility, "--out", tmp_path / "file" / "folder", code=2)
    assert "cannot write" in answer.err


def test_dates_of_what_is_made(noctis: Call, facility: str, home: Path) -> None:
    noctis("tls", "make-ca", "--days", 100)
    noctis("tls", "issue", facility, "--days", 30)
    noctis("tls", "issue", "--server", "--days", 400)
    found = {each["kind"]: datetime.fromisoformat(each["not_after"]) for each in noctis("tls", "list", "--json").json}
    now = datetime.now(UTC)
    assert abs((found["client"] - now) - timedelta(days=30)) < timedelta(hours=1)
    assert found["server"] == found["ca"]  # no longer than the CA itself
    assert not [name for name in os.listdir(home / "tls") if name.startswith(".")]


def test_the_onboarding_card_speaks_tls_where_the_port_does(noctis: Call, home: Path) -> None:
    noctis("facility", "add", "Central", "--device", "CT1")
    card = noctis("facility", "show", "central", "--json").json["onboarding"]
    assert (card["tls"], "tls" in card["echoscu"]) == (False, False)
    noctis("facility", "edit", "central", "--tls", "on")
    card = noctis("facility", "show", "central", "--json").json["onboarding"]
    assert card["tls"] is True
    assert f"+tls KEY.pem CERTIFICATE.pem +cf {home / 'tls' / 'ca.pem'}" in card["echoscu"]
    assert "tls" not in card["default_port"]["echoscu"]  # which is plain
    noctis("facility", "edit", "central", "--client-certificates", "off")
    assert "+tla +cf" in noctis("facility", "show", "central").out
