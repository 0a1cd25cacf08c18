"""Why a TLS handshake failed, in plain words, and what mends it. OpenSSL's own word for it goes into the log."""

import ssl
from typing import NamedTuple


class Words(NamedTuple):
    reason: str
    fix: str


SHOW_ONE = "noctis tls issue FACILITY   makes a key and a certificate for the sender"
ASK_FOR_NONE = "noctis facility edit FACILITY --client-certificates off"
TRUST = "give the sender the CA's certificate, ca.pem, as a trusted one; see: noctis tls list"

_VERIFY = {  # X509_V_ERR_…
    9: Words("the client certificate is not valid yet", "set the clocks, of the sender and of this machine, right"),
    10: Words("the client certificate has expired", SHOW_ONE),
    18: Words(
        "the client certificate is a self-signed one that is not among the trusted ones",
        f"{SHOW_ONE}; or add its certificate to tls.client_ca",
    ),
    26: Words(
        "the client certificate is not made for TLS clients (extended key usage clientAuth)",
        SHOW_ONE,
    ),
}
_UNKNOWN_CA = Words(
    "the client certificate is signed by an unknown CA",
    f"{SHOW_ONE}; or add its CA's certificate to tls.client_ca",
)
_OLD = Words(
    "the sender offers an old version of TLS alone; 1.2 or later is needed",
    "switch TLS 1.2 or 1.3 on at the sender",
)
_NOT_TLS = Words("what came to this TLS port is neither TLS nor DICOM", "point the sender of it elsewhere")
_DISTRUST = Words("the sender does not accept the server's certificate", TRUST)
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Words(
        "the sender shows no client certificate, and one is required",
        f"{SHOW_ONE}; or ask for none: {ASK_FOR_NONE}",
    ),
    "UNSUPPORTED_PROTOCOL": _OLD,
    "VERSION_TOO_LOW": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "NO_SHARED_CIPHER": Words(
        "the sender offers no cipher suite that is allowed (forward secrecy with AES-GCM or ChaCha20)",
        "choose the BCP 195 TLS profile at the sender; see: docs/tls.md",
    ),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": Words(
        "the sender cannot check a server certificate of this kind of key",
        "give the server a certificate with an RSA key: noctis tls issue --server --force",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": _DISTRUST,
    "SSLV3_ALERT_BAD_CERTIFICATE": _DISTRUST,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _DISTRUST,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _DISTRUST,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": Words(
        "the sender says that the server's certificate has expired",
        "noctis tls list; noctis tls issue --server --force",
    ),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": Words("the sender broke the TLS handshake off", "look at the sender's own log"),
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
}


def explain(error: ssl.SSLError, slug: str | None) -> Words:
    """What a failed handshake of a caller means, at the port of a facility or (None) at the default one."""
    words = _explain(error)
    if slug is None:
        return Words(words.reason, words.fix.replace(ASK_FOR_NONE, "tls.client_certificates: off"))
    return Words(words.reason, words.fix.replace("FACILITY", slug))


def _explain(error: ssl.SSLError) -> Words:
    if isinstance(error, ssl.SSLCertVerificationError):
        found = _VERIFY.get(error.verify_code)
        if found is not None:
            return found
        if error.verify_code in (2, 19, 20, 21, 24):
            return _UNKNOWN_CA
        return Words(f"the client certificate is not valid: {error.verify_message}", SHOW_ONE)
    reason = error.reason or ""
    if reason in _REASONS:
        return _REASONS[reason]
    words = reason.replace("_", " ").lower() or "no reason was given"
    return Words(f"the TLS handshake failed: {words}", "look at the sender's own log; see: docs/tls.md")


def plain_at_tls(slug: str | None) -> Words:
    """Of a plain DICOM caller at a TLS port of the facility, or (None) at the default one."""
    plain = f"noctis facility edit {slug} --tls off" if slug else "tls.enabled: false"
    return Words(
        "a plain DICOM connection at a TLS port",
        f"switch TLS on at the sender (docs/tls.md); or let the port be plain: {plain}",
    )


def tls_at_plain(slug: str | None) -> Words:
    """Of a TLS caller at a port without TLS."""
    secured = f"noctis facility edit {slug} --tls on" if slug else "tls.enabled: true"
    return Words(
        "a TLS connection at a port without TLS",
        f"switch TLS off at the sender; or let the port speak TLS (docs/tls.md): {secured}",
    )


TIMED_OUT = Words(
    "a TLS handshake was begun and not finished in time",
    "look at the network between; raise listeners.association_request_seconds",
)
ENDED = Words("the sender closed the connection inside the TLS handshake", f"look at the sender's own log; {TRUST}")
