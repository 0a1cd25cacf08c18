"""Webhooks: one POST for each notification, signed; done when the receiver answers with 2xx.

No redirect is followed. Nothing of the answer is read but its status line and headers, and the whole of it, from the
name's resolution on, has `ATTEMPT_SECONDS`. The address that was looked at is the one that is connected to. No proxy is
used.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from noctis import __version__
from noctis.errors import ConfigError, NoctisError
from noctis.notify import signing
from noctis.notify.messages import payload
from noctis.notify.outbox import Due, Tried

ATTEMPT_SECONDS = 30.0
CONNECT_SECONDS = 10.0
RETRY_AFTER_MAX = 3600.0
# Where clouds have their machines' credentials and settings.
METADATA = tuple(map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")))
NAT64 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))  # RFC 6052, RFC 8215
AWAY = (408, 425, 429)  # of 4xx: not this message's fault


@dataclass(frozen=True)
class Signed:
    """A delivery and what it is signed with."""

    delivery: Due
    secret: str


class RefusedAddressError(NoctisError):
    """A webhook does not go there."""


class Webhooks:
    """Sends webhooks. All of it runs in one event loop."""

    def __init__(self, source: str, ca: Path | None, *, link_local: bool) -> None:
        self._source = source
        self._link_local = link_local
        self._tls = client_context(ca)

    async def send(self, batch: Sequence[Signed]) -> list[Tried]:
        """Try deliveries of one address in their order, until one finds it away."""
        tried: list[Tried] = []
        limits = httpx2.Limits(max_connections=1, keepalive_expiry=ATTEMPT_SECONDS)
        timeout = httpx2.Timeout(ATTEMPT_SECONDS, connect=CONNECT_SECONDS)
        async with httpx2.AsyncClient(
            verify=self._tls, follow_redirects=False, trust_env=False, timeout=timeout, limits=limits
        ) as client:
            for each in batch:
                tried.append(await self._try(client, each))
                if tried[-1].away:
                    break
        return tried

    async def _try(self, client: httpx2.AsyncClient, signed: Signed) -> Tried:
        delivery = signed.delivery
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                return await self._post(client, signed)
        except TimeoutError:
            return Tried(delivery, f"no answer within {ATTEMPT_SECONDS:.0f} s", away=True)
        except httpx2.TimeoutException as error:
            return Tried(delivery, f"no answer in time ({type(error).__name__})", away=True)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Tried(delivery, _reason(error), away=True)
        except NoctisError as error:
            return Tried(delivery, error.message, away=True)

    async def _post(self, client: httpx2.AsyncClient, signed: Signed) -> Tried:
        delivery = signed.delivery
        url = httpx2.URL(delivery.address)
        body = payload(delivery, self._source)
        headers = {
            "host": url.netloc.decode("ascii"),
            "content-type": "application/json",
            "user-agent": f"Noctis/{__version__}",
            **signing.headers(signed.secret, delivery.uid, int(time.time()), body),
        }
        address = await self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
        async with client.stream(
            "POST",
            url.copy_with(host=address, fragment=None),
            content=body,
            headers=headers,
            extensions={"sni_hostname": url.host},
        ) as answer:
            return outcome(delivery, answer.status_code, answer.headers.get("retry-after"))

    async def _resolve(self, host: str, port: int) -> str:
        """An address of the host that may be connected to."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]).partition("%")[0] for each in found]
        for address in addresses:
            if not self._link_local and is_link_local(address):
                raise RefusedAddressError("webhooks do not go to link-local addresses (notifications.link_local)")
        for address in addresses[:-1]:
            if await _connects(address, port):
                return address
        return addresses[-1]


async def _connects(address: str, port: int) -> bool:
    """Whether a host of several addresses answers at this one."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS / 2):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def outcome(delivery: Due, status: int, retry_after: str | None) -> Tried:
    """What an answer means."""
    if 200 <= status < 300:
        return Tried(delivery)
    text = f"answered {status}"
    if 300 <= status < 400:
        text += ", a redirect, which is not followed"
    seconds = None
    if retry_after and retry_after.isascii() and retry_after.isdigit():
        seconds = min(float(retry_after[:6]), RETRY_AFTER_MAX)
    away = status >= 500 or status in AWAY
    return Tried(delivery, text, away=away, retry_after=seconds if away else None, refused=status == 410)


def is_link_local(address: str) -> bool:
    """Whether an address is one where clouds have their machines' credentials."""
    return any(each.is_link_local or each in METADATA for each in _meant(ipaddress.ip_address(address)))


def _meant(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """An address, and the IPv4 one that a gateway may make of it."""
    yield ip
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            yield ip.ipv4_mapped
        if ip.sixtofour is not None:
            yield ip.sixtofour
        if ip.teredo is not None:
            yield ip.teredo[1]
        if any(ip in each for each in NAT64) or not int(ip) >> 32:
            yield ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)


def client_context(ca: Path | None) -> ssl.SSLContext:
    """TLS towards a server whose certificate must be signed by one of these, or by one that the system trusts.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:
        raise ConfigError(f"the certificates in {ca} cannot be used: {error}", fix="a PEM file") from error


def _reason(error: BaseException) -> str:
    """Why it failed, without the address in it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, ConnectionRefusedError):
            return "nobody listens there (connection refused)"
        if isinstance(cause, ConnectionResetError):
            return "the connection was reset"
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
