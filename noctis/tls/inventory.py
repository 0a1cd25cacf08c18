"""Every certificate that there is, and what is wrong with it. For commands alone.

Takes the settings and the facilities; reads files, changes none. Each problem has the command that mends it.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from noctis.config import Settings
from noctis.facilities.records import CertificateRecord
from noctis.facilities.snapshot import Facility
from noctis.tls import policy


class Unreadable(Exception):
    """A file has no certificate that can be read; the message says why."""


@dataclass(frozen=True)
class Entry:
    """One certificate."""

    kind: str  # server | facility | ca | client | web
    facility: str | None
    device: str
    subject: str
    fingerprint: str
    not_before: datetime | None
    not_after: datetime | None
    path: str | None
    problem: str = ""  # "": it is sound
    fix: str = ""
    stops: bool = False  # the problem keeps callers out now

    @property
    def title(self) -> str:
        """How a sentence about it begins."""
        if self.kind == "client":
            device = f" (of {self.device})" if self.device else ""
            return f"the client certificate {self.subject or self.fingerprint[:16]} of '{self.facility}'{device}"
        names = {
            "server": "the server certificate",
            "ca": "the CA certificate",
            "web": "the certificate of the pages",
        }
        return f"{names.get(self.kind, f'the server certificate of {self.facility!r}')} {self.path}"

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        for name in ("not_before", "not_after"):
            when = document[name]
            document[name] = when.isoformat() if when else None
        return document


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, in order.

    Raises
    ------
    Unreadable
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except ValueError:
        raise Unreadable("it is no PEM certificate") from None


def fingerprint_of(certificate: x509.Certificate) -> str:
    """As the database and the listeners have it."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def entries(settings: Settings, facilities: Sequence[Facility], bound: Iterable[CertificateRecord]) -> list[Entry]:
    """Everything that is there, and what TLS wants and is not there."""
    return [*_servers(settings, facilities), *_cas(settings, facilities), *_clients(settings, bound)]


def of_pages(settings: Settings) -> Entry | None:
    """The pages' own (`web.certificate`). None: there is none, or it cannot be read; they do not start with it then."""
    path = settings.web.certificate
    if path is None:
        return None
    try:
        found = read_certificates(path)[0]
    except (Unreadable, IndexError):
        return None
    problem, fix, _ = _dates(
        settings, None, found.not_valid_after_utc, f"have a new one signed, and put it into {path}"
    )
    return _entry("web", None, found, path, problem, fix, False)


def _servers(settings: Settings, facilities: Sequence[Facility]) -> Iterable[Entry]:
    live = [each for each in facilities if each.enabled]
    with_own = {each.slug: policy.facility_files(settings, each.slug) for each in live}
    with_own = {slug: files for slug, files in with_own.items() if files[0].exists()}
    served = [each for each in live if policy.is_on(settings, each) and each.slug not in with_own]
    certificate, key = policy.server_files(settings)
    wanted = policy.is_on(settings, None) or bool(served)
    if wanted or certificate.exists():
        yield from _server(settings, None, certificate, key, wanted)
    for each in live:
        if each.slug in with_own:
            yield from _server(settings, each.slug, *with_own[each.slug], policy.is_on(settings, each))


def _server(settings: Settings, slug: str | None, certificate: Path, key: Path, used: bool) -> Iterable[Entry]:
    kind = "server" if slug is None else "facility"
    issue = f"noctis tls issue --server{f' {slug}' if slug else ''}"
    again = f"{issue} --force"
    if slug is None and settings.tls.certificate is not None:
        issue = again = f"have a new certificate signed, and put it into {certificate}"
    try:
        found = read_certificates(certificate)[0]
    except Unreadable as error:
        missing = not certificate.exists()
        text = "TLS is on, but it does not exist" if missing else f"it cannot be read: {error}"
        yield Entry(kind, slug, "", "", "", None, None, str(certificate), text, issue if missing else again, stops=used)
        return
    problem, fix, stops = _dates(settings, found.not_valid_before_utc, found.not_valid_after_utc, again)
    if not stops and (wrong := _key_problem(found, key, again)):
        problem, fix, stops = wrong
    yield _entry(kind, slug, found, certificate, problem, fix, used and stops)


def _key_problem(certificate: x509.Certificate, key: Path, again: str) -> tuple[str, str, bool] | None:
    try:
        mode = key.stat().st_mode
        # Whether it is the certificate's is looked at below; to look for its primes takes 0.1 s, and `status --watch`
        # reads it every second.
        loaded = serialization.load_pem_private_key(key.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    except FileNotFoundError:
        return f"its key {key} does not exist", again, True
    except OSError as error:
        return f"its key {key} cannot be read: {error.strerror}", f"chmod 600 {key}, as the home's owner", True
    except (ValueError, TypeError):
        return f"its key {key} is no PEM key, or has a password", again, True
    if loaded.public_key() != certificate.public_key():
        return f"the key {key} is not the certificate's", again, True
    if mode & 0o077:
        return f"its key {key} can be read by others", f"chmod 600 {key}", False
    return None


def _cas(settings: Settings, facilities: Sequence[Facility]) -> Iterable[Entry]:
    path, key = policy.ca_file(settings), policy.ca_key_file(settings)
    wanted = any(
        found is not None and found.asks
        for found in (policy.policy_of(settings, each) for each in (None, *facilities) if each is None or each.enabled)
    )
    if not path.exists() and not wanted:
        return
    ours = settings.tls.client_ca is None and key.exists()
    again = "noctis tls make-ca --force   (then new certificates for everybody)"
    again = again if ours else f"have a new one from those who run the CA, and put it into {path}"
    try:
        found = read_certificates(path)
    except Unreadable as error:
        missing = not path.exists()
        text = "client certificates are asked for, but it does not exist" if missing else f"it cannot be read: {error}"
        yield Entry("ca", None, "", "", "", None, None, str(path), text, "noctis tls make-ca", stops=wanted)
        return
    for each in found:
        problem, fix, stops = _dates(settings, each.not_valid_before_utc, each.not_valid_after_utc, again)
        if not problem and ours and key.stat().st_mode & 0o077:
            problem, fix = f"its key {key} can be read by others", f"chmod 600 {key}"
        yield _entry("ca", None, each, path, problem, fix, wanted and stops)


def _clients(settings: Settings, bound: Iterable[CertificateRecord]) -> Iterable[Entry]:
    for each in bound:
        device = f" --device {shlex.quote(each.device)}" if each.device else ""
        fix = f"noctis tls issue {each.facility}{device} --force; then: noctis tls unbind {each.fingerprint[:16]}"
        problem, fix, _ = _dates(settings, None, each.not_after, fix)
        yield Entry(
            "client",
            each.facility,
            each.device,
            each.subject,
            each.fingerprint,
            None,
            each.not_after,
            None,
            problem,
            fix,
        )


def _entry(
    kind: str, slug: str | None, found: x509.Certificate, path: Path, problem: str, fix: str, stops: bool
) -> Entry:
    return Entry(
        kind,
        slug,
        "",
        found.subject.rfc4514_string(),
        fingerprint_of(found),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        str(path),
        problem,
        fix,
        stops,
    )


def _dates(
    settings: Settings, not_before: datetime | None, not_after: datetime | None, fix: str
) -> tuple[str, str, bool]:
    """What is wrong with the dates, what mends it, and whether the certificate is of no use now."""
    now = datetime.now(UTC)
    if not_before is not None and now < not_before:
        return f"it is not valid before {not_before:%Y-%m-%d %H:%M} UTC", "timedatectl set-ntp true", True
    if not_after is not None and now > not_after:
        return f"it has expired on {not_after:%Y-%m-%d}", fix, True
    if not_after is not None and now > not_after - timedelta(days=settings.tls.expiry_days):
        return f"it ends on {not_after:%Y-%m-%d}, in {(not_after - now).days} days", fix, False
    return "", "", False
