"""Certificates for tests: a CA, its servers' and senders', and wrong ones. Made once for each process; keys are EC."""

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from noctis.tls.inventory import fingerprint_of
from noctis.tls.issuing import Issued

CA = "Test CA"


@dataclass(frozen=True)
class Files:
    """A certificate and its key on disk."""

    certificate: Path
    key: Path
    fingerprint: str


@cache
def authority(name: str) -> Issued:
    return _make(name, None, ca=True)


@cache
def server(name: str = "localhost", ca: str = CA) -> Issued:
    return _make(name, authority(ca), purpose=ExtendedKeyUsageOID.SERVER_AUTH)


@cache
def client(name: str = "Sender", ca: str = CA, *, days: float = 100, begins: float = -1) -> Issued:
    return _make(name, authority(ca), purpose=ExtendedKeyUsageOID.CLIENT_AUTH, days=days, begins=begins)


def signed_by(signer: Issued, name: str) -> Issued:
    """A client certificate that `signer` signed, whether it may or not."""
    return _make(name, signer, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)


def write(issued: Issued, folder: Path, stem: str) -> Files:
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    certificate.write_bytes(issued.certificate_pem)
    key.write_bytes(issued.key_pem)
    key.chmod(0o600)
    return Files(certificate, key, fingerprint_of(issued.certificate))


def shake_hands(client: ssl.SSLObject, sock: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
    """The whole handshake of a client that was made with `wrap_bio`; all that it says has been sent then."""
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            received = sock.recv(65536)
            assert received, "the connection was closed inside the handshake"
            incoming.write(received)
    sock.sendall(outgoing.read())


def _make(
    name: str,
    signer: Issued | None,
    *,
    ca: bool = False,
    purpose: x509.ObjectIdentifier | None = None,
    days: float = 100,
    begins: float = -1,
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    return Issued(builder.sign(signer.key if signer else key, hashes.SHA256()), key)
