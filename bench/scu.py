"""A C-STORE and C-ECHO SCU that costs little CPU: whole messages are prepared, patched and sent with one call."""

import socket
import ssl
import struct
from dataclasses import dataclass, field

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from bench.studies import TRANSFER_SYNTAX, UID_LENGTH, Kind, Template, Uids

RELEASE_RQ = b"\5\0\0\0\0\4\0\0\0\0"
ECHO_CONTEXT, STORE_CONTEXT = 1, 3
MAX_PDU = 131072  # bytes; what is sent is never longer, whatever the receiver allows
WAIT_SECONDS = 120
PDU_HEAD = 12  # bytes before a fragment: of the PDU and of its one PDV


def associate_rq(called: str, calling: str, sop_class: str) -> bytes:
    """An A-ASSOCIATE-RQ for Verification and one storage class."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = MAX_PDU
    implementation.implementation_class_uid = "1.2.3.4"
    request.user_information = [maximum, implementation]
    contexts = [build_context(Verification), build_context(sop_class, TRANSFER_SYNTAX)]
    for number, context in zip((ECHO_CONTEXT, STORE_CONTEXT), contexts, strict=True):
        context.context_id = number
    request.presentation_context_definition_list = contexts
    encoded: bytes = A_ASSOCIATE_RQ(request).encode()
    return encoded


def _command(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _even(value: bytes) -> bytes:
    return value + b"\0" if len(value) & 1 else value


def _head(length: int, context: int, control: int) -> bytes:
    return struct.pack(">BBLLBB", 4, 0, length + 6, length + 2, context, control)


_ECHO = _command((2, b"1.2.840.10008.1.1\0"), (0x100, b"\x30\0"), (0x110, b"\1\0"), (0x800, b"\1\1"))
ECHO_RQ = _head(len(_ECHO), ECHO_CONTEXT, 3) + _ECHO


class StoreMessage:
    """The PDUs of a whole C-STORE request, joined; `set` makes it another instance's."""

    def __init__(self, template: Template, max_fragment: int) -> None:
        self._template = template
        self._marked = Uids("", "", "")
        command = _command(
            (0x0002, _even(template.kind.sop_class_uid.encode())),
            (0x0100, b"\1\0"),
            (0x0110, b"\0\0"),
            (0x0700, b"\0\0"),
            (0x0800, b"\1\0"),
            (0x1000, b"0" * UID_LENGTH),
        )
        view = memoryview(template.data)
        pieces: list[bytes | memoryview] = [_head(len(command), STORE_CONTEXT, 3), command]
        for start in range(0, len(view), max_fragment):
            fragment = view[start : start + max_fragment]
            last = start + len(fragment) == len(view)
            pieces += (_head(len(fragment), STORE_CONTEXT, 2 if last else 0), fragment)
        if max(template.places) + UID_LENGTH > max_fragment:
            raise ValueError(f"the UIDs do not all lie in the first {max_fragment} bytes")
        self.encoded = bytearray().join(pieces)
        self._message_id = self.encoded.index(b"\0\0\x10\1\2\0\0\0") + 8
        self._command_uid = PDU_HEAD + len(command) - UID_LENGTH
        self._data = 2 * PDU_HEAD + len(command)

    def set(self, message_id: int, of: Uids) -> None:
        struct.pack_into("<H", self.encoded, self._message_id, message_id & 0xFFFF)
        self.encoded[self._command_uid : self._command_uid + UID_LENGTH] = of.instance.encode()
        self._template.patch(self.encoded, of, self._data)


@dataclass
class Association:
    """One association as SCU, on a blocking socket with Nagle off."""

    host: str
    port: int
    called: str
    kind: Kind
    calling: str = "BENCH"
    tls: ssl.SSLContext | None = None
    wait_seconds: int = WAIT_SECONDS  # for a connection, and for each answer
    max_fragment: int = field(init=False, default=16376)  # what the receiver allows, without a PDV's head

    def __post_init__(self) -> None:
        self._request = associate_rq(self.called, self.calling, self.kind.sop_class_uid)

    def open(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), timeout=self.wait_seconds)
        self.sock.settimeout(None)  # the kernel's own timeouts cost no system call
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", self.wait_seconds, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.tls is not None:
                self.sock = self.tls.wrap_socket(self.sock)
            self.sock.sendall(self._request)
            answer = self._read()
            if answer[0] != 2:
                raise ConnectionError(f"the association was not accepted: PDU type {answer[0]}")
        except OSError:
            self.sock.close()
            raise
        at = answer.find(b"\x51\0\0\4")
        if at >= 0:
            offered = int.from_bytes(answer[at + 4 : at + 8], "big") or MAX_PDU
            self.max_fragment = min(offered, MAX_PDU) - 6

    def _read(self) -> bytes:
        """One whole PDU. Nothing else can have come: we ask one thing at a time."""
        got = self.sock.recv(4096)
        while len(got) < 6 or len(got) < 6 + int.from_bytes(got[2:6], "big"):
            piece = self.sock.recv(4096)
            if not piece:
                raise ConnectionError("the receiver closed the connection")
            got += piece
        return got

    def store(self, message: StoreMessage) -> int:
        """One C-STORE; the status answered."""
        self.sock.sendall(message.encoded)
        return self.status()

    def echo(self) -> int:
        self.sock.sendall(ECHO_RQ)
        return self.status()

    def status(self) -> int:
        """The status of the answer that comes next."""
        answer = self._read()
        if answer[0] != 4:
            raise ConnectionError(f"no answer but PDU type {answer[0]}")
        at = PDU_HEAD
        while at + 10 <= len(answer):
            _, element, length = struct.unpack_from("<HHI", answer, at)
            if element == 0x900:
                return int.from_bytes(answer[at + 8 : at + 10], "little")
            at += 8 + length
        raise ConnectionError("an answer without a status")

    def close(self) -> None:
        """Release, and wait for the answer."""
        try:
            self.sock.sendall(RELEASE_RQ)
            self._read()
        finally:
            self.sock.close()
