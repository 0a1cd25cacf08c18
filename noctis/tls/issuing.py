"""Keys and certificates made here: a CA, senders' certificates, servers' certificates. For commands alone.

Keys are RSA of 3072 bits: the cipher suites that PS3.15 demands of every device for TLS 1.2 are RSA's, so a device
that has no others cannot use a certificate with an elliptic-curve key; 3072 bits are as strong as AES-128 (RFC 9325
§4.5 wants 2048 at least). Promises that a key is in a file that its owner alone can read, that a file is whole or not
there, and that none is overwritten unless that was asked for.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from noctis.errors import ConflictError, UsageError
from noctis.files import write_whole
from noctis.home import owner_of
from noctis.tls.inventory import Unreadable, fingerprint_of, read_certificates

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

KEY_BITS = 3072
CA_DAYS = 3650
DAYS = 730  # of a sender's and a server's certificate
CLOCK_SKEW = timedelta(minutes=10)  # how far a device's clock may be behind
COMMON_NAME_MAX = 64  # characters, RFC 5280 ub-common-name


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.certificate)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def pkcs12(self, name: str, password: str, ca: x509.Certificate | None) -> bytes:
        """Key, certificate and CA in one file, behind a password."""
        return pkcs12.serialize_key_and_certificates(
            name.encode(),
            self.key,
            self.certificate,
            [ca] if ca is not None else None,
            serialization.BestAvailableEncryption(password.encode()),
        )


def make_ca(name: str, days: int = CA_DAYS) -> Issued:
    """A CA that signs senders' and servers' certificates, and no other CA's."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    subject = _subject(name)
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(subject, subject, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)


def issue_client(ca: Issued, name: str, days: int = DAYS) -> Issued:
    """A sender's certificate. `name` is for people: what binds it to a facility is its fingerprint."""
    return _issue(ca, name, days, ExtendedKeyUsageOID.CLIENT_AUTH)


def issue_server(ca: Issued, names: Sequence[str], days: int = DAYS) -> Issued:
    """A server's certificate for these host names and addresses, the first of which is its common name."""
    alternative = x509.SubjectAlternativeName([_general_name(each) for each in names])
    return _issue(ca, names[0], days, ExtendedKeyUsageOID.SERVER_AUTH, alternative)


def issue_to_ourselves(days: float = 1.0) -> Issued:
    """A client certificate that is signed by itself: whoever is to take it must know it. It can sign no other."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject("Noctis, this machine's own commands")
    builder = (
        _builder(subject, subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)


def load_ca(certificate: Path, key: Path) -> Issued:
    """The CA that `make_ca` made.

    Raises
    ------
    UsageError
        There is none, or it cannot be used.
    """
    if not key.exists():
        raise UsageError(
            f"there is no CA here: {key} does not exist",
            fix="noctis tls make-ca   (or have the certificate signed by the CA that you use, and: noctis tls bind)",
        )
    try:
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        found = read_certificates(certificate)
    except (ValueError, TypeError, OSError, Unreadable) as error:
        raise UsageError(f"the CA in {certificate} and {key} cannot be used: {error}") from error
    for each in found:
        if isinstance(loaded, Key) and each.public_key() == loaded.public_key():
            return Issued(each, loaded)
    raise UsageError(f"the key {key} is of no certificate in {certificate}")


def default_names(advertised: str | None, bind: str) -> list[str]:
    """What this machine is called: its advertised and own names, and the addresses that senders may use."""
    names = [advertised, socket.getfqdn(), socket.gethostname()]
    if not ipaddress.ip_address(bind).is_unspecified:
        names.append(bind)
    else:
        names += _addresses()
    names += ["localhost", "127.0.0.1"]
    return list(dict.fromkeys(name for name in names if name and _is_host(name)))


def _addresses() -> list[str]:
    """The address of this machine that reaches the network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737
            return [sock.getsockname()[0]]
        except OSError:
            return []


def names_of(path: Path) -> list[str]:
    """The names in the certificate that is there, which its successor keeps; [] where there is none."""
    try:
        found = read_certificates(path)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (Unreadable, x509.ExtensionNotFound, ValueError):
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def check_host(name: str) -> str:
    """A host name or address as it may stand in a certificate.

    Raises
    ------
    UsageError
        It is none.
    """
    if not _is_host(name):
        raise UsageError(f"{name!r} is neither a host name nor an address", fix="for example --name pacs.example.org")
    return name


def _is_host(name: str) -> bool:
    try:
        _general_name(name)
    except ValueError:
        return False
    return 0 < len(name) <= 253 and name.isascii() and " " not in name


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _issue(
    ca: Issued, name: str, days: int, purpose: x509.ObjectIdentifier, alternative: x509.ExtensionType | None = None
) -> Issued:
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    builder = (
        _builder(_subject(name), ca.certificate.subject, key, days, ca.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()),
            critical=False,
        )
    )
    if alternative is not None:
        builder = builder.add_extension(alternative, critical=False)
    return Issued(builder.sign(ca.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, days: float, latest: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(end if latest is None else min(end, latest))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:COMMON_NAME_MAX])])


def _usage(**given: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


# -- files


def refuse_existing(paths: Iterable[Path], *, force: bool) -> None:
    """Nothing that is there is overwritten unless `force`.

    Raises
    ------
    ConflictError
        One of them is there.
    """
    there = [path for path in paths if path.exists()]
    if there and not force:
        raise ConflictError(
            f"{there[0]} is there already (of {owner_of(there[0])})", fix="say --force to make a new one in its place"
        )


def save(made: Issued, certificate: Path, key: Path) -> None:
    """Both files. Between the two the old pair does not fit: listeners go on with what they have read.

    Raises
    ------
    UsageError
        One cannot be written.
    """
    write_private(key, made.key_pem)
    write_private(certificate, made.certificate_pem)


def write_private(path: Path, content: bytes) -> None:
    """A whole file, readable for its owner alone, in place of one that is there.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, content)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", fix="name another folder, or check its owner"
        ) from error
