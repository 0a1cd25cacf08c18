"""The TLS context of a port, made anew when one of its files has changed (RFC 9325, PS3.15 B.12).

Takes the policy that holds at the moment. Promises one `stat` of each file for a handshake, a context that is never
weaker than the policy says, and that files which cannot be used leave the last good context in force: said once in
the log and on the scoreboard. Refuses, with the command that mends it, where there never was a good one.
"""

import contextlib
import hashlib
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from noctis.errors import NoctisError
from noctis.tls.policy import Policy

log = structlog.get_logger()

# TLS 1.2: ephemeral elliptic-curve keys and AEAD, nothing else (RFC 9325 §4.2). TLS 1.3 has only such suites.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
SESSIONS_MAX = 1000  # of TLS 1.2 that OpenSSL keeps in memory: 20,000 otherwise, which Python cannot change

Stamp = tuple[tuple[int, int, int] | None, ...]


class TlsUnavailable(NoctisError):
    """There is no certificate to serve with, or none to check callers by."""


@dataclass(frozen=True)
class Serving:
    """A context, and what it was made by."""

    context: ssl.SSLContext
    policy: Policy
    own_fingerprint: str  # of the client certificate of this machine's own commands; "": there is none


class Contexts:
    """One listener's. Safe from several threads."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report  # the scoreboard's last error
        self._lock = threading.Lock()
        self._seen: tuple[Policy, Stamp] | None = None
        self._good: Serving | None = None
        self._problem: TlsUnavailable | None = None

    def current(self, policy: Policy) -> Serving:
        """What serves the next handshake.

        Raises
        ------
        TlsUnavailable
            Nothing does: every caller is refused.
        """
        with self._lock:
            seen = (policy, _stamps(policy))
            if seen != self._seen or self._is_full():
                self._seen = seen
                self._renew(policy)
            if self._good is not None:
                return self._good
            assert self._problem is not None
            raise self._problem

    def _renew(self, policy: Policy) -> None:
        before = self._good
        try:
            self._good, self._problem = make(policy), None
        except TlsUnavailable as problem:
            self._problem = problem
            if before is not None and _asks_alike(before.policy, policy):
                kept = f"{problem.message}; the certificate that was read before stays in force"
            else:
                kept, self._good = problem.message, None
            self._report(kept)
            log.error("tls.unusable", reason=kept, fix=problem.fix)
        else:
            if before is not None:
                log.info("tls.reread", certificate=str(policy.certificate))

    def _is_full(self) -> bool:
        return self._good is not None and self._good.context.session_stats()["number"] > SESSIONS_MAX


def make(policy: Policy) -> Serving:
    """A server's context: TLS 1.2 or later, no compression, no renegotiation, no tickets.

    Raises
    ------
    TlsUnavailable
        A file is missing or cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHERS))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A sender may resume a TLS 1.2 session of this process, for two hours: its certificate is known by it all the same.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(policy.certificate, policy.private_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise _server_problem(policy, error) from error
    own = ""
    if policy.asks:
        _trust(context, policy)
        own = _trust_ourselves(context, policy.own_client)
    return Serving(context, policy, own)


def _trust(context: ssl.SSLContext, policy: Policy) -> None:
    required = policy.client_certificates == "required"
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # Whoever is named in the file may sign, an intermediate too whose own signer is not in it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cafile=policy.client_ca)
    except (OSError, ValueError) as error:
        fix = f"put the PEM certificates of those who sign client certificates into {policy.client_ca}"
        if isinstance(error, FileNotFoundError):
            text = f"TLS is on, but nobody's client certificates can be checked: there is no {policy.client_ca}"
            fix = f"noctis tls make-ca   (or {fix})"
        else:
            text = f"the certificates of {policy.client_ca} cannot be read: {_words(error)}"
        raise TlsUnavailable(text, fix=fix) from error


def _trust_ourselves(context: ssl.SSLContext, path: Path) -> str:
    """The fingerprint of the client certificate of this machine's own commands, which is taken besides."""
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text("ascii")
        pem = text[text.index("-----BEGIN CERTIFICATE") :]
        der = ssl.PEM_cert_to_DER_cert(pem)
        context.load_verify_locations(cadata=pem)
        return hashlib.sha256(der).hexdigest()
    return ""


def _server_problem(policy: Policy, error: Exception) -> TlsUnavailable:
    if isinstance(error, FileNotFoundError):
        missing = next((each for each in policy.files()[:2] if not each.exists()), policy.certificate)
        return TlsUnavailable(f"TLS is on, but there is no server certificate: {missing} is missing", fix=policy.issue)
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        text = f"the key {policy.private_key} is not that of the certificate {policy.certificate}"
        return TlsUnavailable(text, fix=f"{policy.issue} --force   (or put the right key there)")
    return TlsUnavailable(
        f"the server certificate {policy.certificate} or its key {policy.private_key} cannot be used: {_words(error)}",
        fix=f"{policy.issue} --force   (or put a PEM certificate and its key, without a password, there)",
    )


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no PEM that can be read ({error.reason})" if error.reason else "no PEM, or with a password"
    return getattr(error, "strerror", None) or str(error)


def _asks_alike(before: Policy, now: Policy) -> bool:
    """Whether what was read before asks as much of a caller as the policy of now."""
    return (before.client_certificates, before.client_ca) == (now.client_certificates, now.client_ca)


def _stamps(policy: Policy) -> Stamp:
    return tuple(map(_stamp, policy.files()))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
