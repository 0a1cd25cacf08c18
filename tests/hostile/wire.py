"""PDUs, DIMSE messages and data sets written by hand, so that every length, order and value can be wrong.

Each function takes what is to be said and gives bytes; nothing is checked. `length=` says another length than the true
one. Sources: PS3.8 §9.3 and annex D (PDUs and items), PS3.7 §6.3, §D.3.3, §E.1 (commands), PS3.5 §7 (data sets).
"""

import struct
from typing import Any

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

RELEASE_RQ = b"\x05\0\0\0\0\x04\0\0\0\0"
RELEASE_RP = b"\x06\0\0\0\0\x04\0\0\0\0"
ABORT = b"\x07\0\0\0\0\x04\0\0\0\0"
ASSOCIATE_RJ = b"\x03\0\0\0\0\x04\0\1\1\1"

# Context IDs that `associate_rq` proposes: (id, abstract syntax, transfer syntaxes).
ECHO, STORE, STORE_BIG, STORE_DEFLATED, STORE_IMPLICIT = 1, 3, 5, 7, 9
PROPOSED = (
    (ECHO, VERIFICATION, (IMPLICIT,)),
    (STORE, CT, (EXPLICIT,)),
    (STORE_BIG, CT, (BIG_ENDIAN,)),
    (STORE_DEFLATED, CT, (DEFLATED,)),
    (STORE_IMPLICIT, CT, (IMPLICIT,)),
)


def latin(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


# -- PDUs


def pdu(kind: int, content: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content) if length is None else length) + content


def item(kind: int, content: bytes = b"", *, length: int | None = None) -> bytes:
    """An item or sub-item of an A-ASSOCIATE PDU."""
    return struct.pack(">BBH", kind, 0, len(content) if length is None else length) + content


def context(number: int, abstract: str | bytes, transfers: Any, *, kind: int = 0x20) -> bytes:
    content = item(0x30, latin(abstract)) + b"".join(item(0x40, latin(each)) for each in transfers)
    return item(kind, bytes((number, 0, 0, 0)) + content)


MAXIMUM = 16382  # bytes of a PDU that the requestor takes
MAXIMUM_LENGTH = item(0x51, struct.pack(">I", MAXIMUM))
IMPLEMENTATION = item(0x52, b"1.2.3.4") + item(0x55, b"HOSTILE")


def user_information(*sub_items: bytes, length: int | None = None) -> bytes:
    return item(0x50, b"".join(sub_items), length=length)


USER_INFORMATION = user_information(MAXIMUM_LENGTH, IMPLEMENTATION)


def associate_rq(
    *,
    called: bytes = b"CENTRAL",
    calling: bytes = b"SCU",
    contexts: Any = PROPOSED,
    user: bytes = USER_INFORMATION,
    version: int = 1,
    application: bytes | None = None,
    extra: bytes = b"",
    length: int | None = None,
) -> bytes:
    """`contexts` are tuples for `context`, or bytes."""
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    if application is None:
        application = item(0x10, APPLICATION_CONTEXT.encode())
    proposed = b"".join(each if isinstance(each, bytes) else context(*each) for each in contexts)
    content = struct.pack(">HH", version, 0) + titles + bytes(32) + application + proposed + user + extra
    return pdu(1, content, length=length)


def user_identity(
    kind: int, primary: bytes, secondary: bytes = b"", *, lengths: tuple[int, int] | None = None
) -> bytes:
    first, second = lengths or (len(primary), len(secondary))
    return item(0x58, struct.pack(">BBH", kind, 1, first) + primary + struct.pack(">H", second) + secondary)


def role(uid: bytes, scu: int, scp: int, *, length: int | None = None) -> bytes:
    return item(0x54, struct.pack(">H", len(uid) if length is None else length) + uid + bytes((scu, scp)))


def extended(uid: bytes, information: bytes, *, length: int | None = None) -> bytes:
    return item(0x56, struct.pack(">H", len(uid) if length is None else length) + uid + information)


def pdv(
    fragment: bytes = b"", number: int = STORE, *, command: bool = False, last: bool = True, length: int | None = None
) -> bytes:
    control = command | last << 1
    return struct.pack(">IBB", len(fragment) + 2 if length is None else length, number, control) + fragment


def p_data(*pdvs: bytes, length: int | None = None) -> bytes:
    return pdu(4, b"".join(pdvs), length=length)


# -- commands


def command_element(number: int, value: bytes, *, length: int | None = None, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value) if length is None else length) + value


def even(value: bytes, padding: bytes = b"\0") -> bytes:
    return value + padding if len(value) & 1 else value


def us(value: int) -> bytes:
    return struct.pack("<H", value)


STORE_ELEMENTS: dict[int, bytes] = {
    0x0002: even(CT.encode()),
    0x0100: us(0x0001),
    0x0110: us(1),
    0x0700: us(0),
    0x0800: us(0),
    0x1000: even(b"1.2.826.0.1.7"),
}
ECHO_ELEMENTS: dict[int, bytes] = {
    0x0002: even(VERIFICATION.encode()),
    0x0100: us(0x0030),
    0x0110: us(1),
    0x0800: us(0x0101),
}


def command(elements: dict[int, bytes | None], *, group_length: int | None = None, tail: bytes = b"") -> bytes:
    """A command set; an element that is None is left out."""
    body = b"".join(command_element(number, value) for number, value in elements.items() if value is not None) + tail
    return command_element(0, struct.pack("<I", len(body) if group_length is None else group_length)) + body


def store_command(changes: dict[int, bytes | None] | None = None, **options: Any) -> bytes:
    return command(dict(sorted((STORE_ELEMENTS | (changes or {})).items())), **options)


def echo_command(changes: dict[int, bytes | None] | None = None, **options: Any) -> bytes:
    return command(dict(sorted((ECHO_ELEMENTS | (changes or {})).items())), **options)


def request(encoded: bytes, number: int = STORE) -> bytes:
    """A command set as one PDU."""
    return p_data(pdv(encoded, number, command=True))


def echo(message_id: int = 1) -> bytes:
    return request(echo_command({0x0110: us(message_id)}), ECHO)


def store(
    data: bytes | None = None,
    *,
    number: int = STORE,
    changes: dict[int, bytes | None] | None = None,
    instance: str | bytes = "1.2.826.0.1.7",
) -> bytes:
    """A whole C-STORE: the command in one PDU, the data set in PDUs of 16 KiB."""
    changes = {0x1000: even(latin(instance)), **(changes or {})}
    data = data_set(instance=instance) if data is None else data
    pieces = [data[at : at + 16376] for at in range(0, len(data), 16376)] or [b""]
    sent = [p_data(pdv(piece, number, last=at == len(pieces) - 1)) for at, piece in enumerate(pieces)]
    return request(store_command(changes), number) + b"".join(sent)


# -- data sets

LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
UNDEFINED = 0xFFFFFFFF
DELIMITER, SEQUENCE_END = b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"  # of undefined length

# The after-check looks for these in the log, which must have none of them.
PATIENT_NAME, PATIENT_ID, BIRTH_DATE = b"Zaphodbeeblebrox^Trillian", b"HH-4242-SECRET", b"19110911"
PATIENT_DATA = (b"Zaphodbeeblebrox", b"Trillian", PATIENT_ID, BIRTH_DATE)


def element(
    tag: int, vr: str, value: bytes | str = b"", *, length: int | None = None, order: str = "<", pad: bool = True
) -> bytes:
    """An element with an explicit VR; `pad=False` leaves an odd length odd."""
    value = latin(value)
    if pad:
        value = even(value, b"\0" if vr in ("UI", "OB", "UN") else b" ")
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin-1")
    if vr in LONG_VRS:
        return head + struct.pack(order + "HI", 0, size) + value
    return head + struct.pack(order + "H", size & 0xFFFF) + value


def implicit_element(tag: int, value: bytes | str = b"", *, length: int | None = None) -> bytes:
    value = even(latin(value))
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def elements(
    *,
    sop_class: str | bytes = CT,
    instance: str | bytes = "1.2.826.0.1.7",
    study: str | bytes = "1.2.826.0.1.8",
    series: str | bytes = "1.2.826.0.1.9",
    patient_id: str | bytes = PATIENT_ID,
) -> list[tuple[int, str, bytes]]:
    """A small image's elements: tag, VR, value."""
    return [
        (0x00080016, "UI", latin(sop_class)),
        (0x00080018, "UI", latin(instance)),
        (0x00080060, "CS", b"CT"),
        (0x00100010, "PN", PATIENT_NAME),
        (0x00100020, "LO", latin(patient_id)),
        (0x00100030, "DA", BIRTH_DATE),
        (0x0020000D, "UI", latin(study)),
        (0x0020000E, "UI", latin(series)),
        (0x00200013, "IS", b"1"),
        (0x00280010, "US", us(4)),
        (0x00280011, "US", us(4)),
        (0x7FE00010, "OW", bytes(32)),
    ]


def data_set(*, before: bytes = b"", after: bytes = b"", order: str = "<", **values: Any) -> bytes:
    """An Explicit VR data set, between what stands `before` and `after` it."""
    encoded = [element(tag, vr, value, order=order) for tag, vr, value in elements(**values)]
    return before + b"".join(encoded) + after


def implicit_data_set(**values: Any) -> bytes:
    return b"".join(implicit_element(tag, value) for tag, _, value in elements(**values))


def with_element(encoded: bytes, behind: int = 0x00080060) -> bytes:
    """The small image with `encoded` put behind the element whose tag is `behind`."""
    pieces = [(tag, element(tag, vr, value)) for tag, vr, value in elements()]
    return b"".join(piece + (encoded if tag == behind else b"") for tag, piece in pieces)
