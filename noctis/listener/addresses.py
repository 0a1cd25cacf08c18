"""A peer's address, as pynetdicom wants it and as it is shown."""

from typing import Any

from pynetdicom.transport import AddressInformation


def address_information(address: tuple[Any, ...]) -> AddressInformation:
    """pynetdicom's own way asks getaddrinfo, which loads 2 MB of name services into every process."""
    made = AddressInformation.__new__(AddressInformation)
    made._addr, made.port = address[0], address[1]
    made.flowinfo, made.scope_id = (address[2], address[3]) if len(address) == 4 else (0, 0)
    return made


def plain(address: str) -> str:
    """An IPv4 peer of an IPv6 socket in its own form."""
    return address.removeprefix("::ffff:") if "." in address else address
