"""The items of an A-ASSOCIATE-RQ (PS3.8 §9.3.2, annex D; PS3.7 §D.3.3), made such that pynetdicom reads them.

Takes the bytes behind the AE titles; gives those of an equal request that is sound. Framing that is broken (an item or
sub-item past its end, a context without a sound ID, two different ones of one ID) is refused with `ProtocolError`.
What is framed well and says nothing that can be understood (unknown items, a UID that is none, a length that is not the
one it must have, what may stand once and stands again) is left out: real devices send such, and it does no harm.
"""

import struct
from collections.abc import Callable, Iterator

from noctis.listener.pdu import ProtocolError
from noctis.repository.names import is_uid

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
APPLICATION_CONTEXT_ITEM = struct.pack(">BBH", 0x10, 0, len(APPLICATION_CONTEXT)) + APPLICATION_CONTEXT.encode()
CONTEXT_RQ, USER_INFORMATION = 0x20, 0x50  # item types
_VERSION_NAME_MAX = 16  # characters


def mended(items: bytes) -> bytes:
    """The same items, without what cannot be understood.

    Raises
    ------
    ProtocolError
        The framing is broken.
    """
    contexts: dict[int, bytes] = {}
    kept = [APPLICATION_CONTEXT_ITEM]
    user_information = b""
    for kind, item in split(items, "the PDU"):
        if kind == CONTEXT_RQ:
            _check_context(item, contexts)
            kept.append(item)
        elif kind == USER_INFORMATION and not user_information:
            user_information = _user_information(item)
    return b"".join((*kept, user_information))


def uid_of(value: bytes) -> str | None:
    """The UID that a value is, perhaps padded; None if it is none."""
    text = value.rstrip(b"\0 ").decode("latin-1")
    return text if is_uid(text) else None


def split(items: bytes, around: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes (with their four of head) of each item."""
    at, end = 0, len(items)
    while at < end:
        if end - at < 4:
            raise ProtocolError(f"{end - at} bytes behind the last item of {around}")
        kind, _, length = struct.unpack_from(">BBH", items, at)
        after = at + 4 + length
        if after > end:
            raise ProtocolError(f"an item of type 0x{kind:02x} that goes past {around}")
        yield kind, items[at:after]
        at = after


def _check_context(item: bytes, contexts: dict[int, bytes]) -> None:
    if len(item) < 8:
        raise ProtocolError("a presentation context item without an ID")
    number = item[4]
    if not number & 1:
        raise ProtocolError(f"a presentation context with ID {number}; IDs are odd")
    if contexts.setdefault(number, item) != item:
        raise ProtocolError(f"two different presentation contexts with ID {number}")


def _user_information(item: bytes) -> bytes:
    seen: set[tuple[int, bytes]] = set()
    kept = []
    for kind, sub_item in split(item[4:], "the user information"):
        sound = _SUB_ITEMS.get(kind)
        value = sub_item[4:]
        if sound is None or not sound(value):
            continue
        key = (kind, _field(value, 0)[0] if kind in _BY_SOP_CLASS else b"")
        if key not in seen:
            seen.add(key)
            kept.append(sub_item)
    content = b"".join(kept)
    return struct.pack(">BBH", USER_INFORMATION, 0, len(content)) + content


def _field(value: bytes, at: int) -> tuple[bytes, int]:
    """The field that begins with its own length of two bytes, and where it ends: past the value, if that lies."""
    end = at + 2 + int.from_bytes(value[at : at + 2], "big")
    return value[at + 2 : end], end


def _is_implementation_uid(value: bytes) -> bool:
    return uid_of(value) is not None


def _is_version_name(value: bytes) -> bool:
    return 0 < len(value) <= _VERSION_NAME_MAX and all(0x20 <= byte < 0x7F for byte in value)


def _is_role(value: bytes) -> bool:
    uid, end = _field(value, 0)
    return len(value) == end + 2 and uid_of(uid) is not None and value[end] <= 1 and value[end + 1] <= 1


def _is_extended(value: bytes) -> bool:
    uid, end = _field(value, 0)
    return len(value) > end and uid_of(uid) is not None


def _is_common_extended(value: bytes) -> bool:
    uid, end = _field(value, 0)
    service, end = _field(value, end)
    related, end = _field(value, end)
    if len(value) < end or uid_of(uid) is None or uid_of(service) is None:
        return False
    at = 0
    while at < len(related):
        uid, at = _field(related, at)
        if uid_of(uid) is None or at > len(related):
            return False
    return True


def _is_user_identity(value: bytes) -> bool:
    if len(value) < 6 or not 1 <= value[0] <= 5 or value[1] > 1:
        return False
    _, end = _field(value, 2)
    _, end = _field(value, end)
    return end == len(value)


def _has_four_bytes(value: bytes) -> bool:
    return len(value) == 4


_SUB_ITEMS: dict[int, Callable[[bytes], bool]] = {
    0x51: _has_four_bytes,  # maximum length
    0x52: _is_implementation_uid,
    0x53: _has_four_bytes,  # asynchronous operations window
    0x54: _is_role,
    0x55: _is_version_name,
    0x56: _is_extended,
    0x57: _is_common_extended,
    0x58: _is_user_identity,
}
_BY_SOP_CLASS = frozenset((0x54, 0x56, 0x57))  # one for each SOP class; of the others one
