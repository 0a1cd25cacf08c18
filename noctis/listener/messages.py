"""DIMSE messages out of P-DATA-TF PDUs (PS3.8 §9.3.5, annex E; PS3.7 §6.3).

Takes the content of one PDU at a time; gives its PDVs, checked: each lies inside its PDU, on an accepted context, in an
order that makes a message (all of the command, then all of the data set, on one context). Command fragments are
gathered here, at most 64 KiB; data set fragments are handed on as they are and never kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

from noctis.listener import commands
from noctis.listener.commands import COMMAND_SET_MAX, Command
from noctis.listener.pdu import AbortReason, ProtocolError


class Pdv(NamedTuple):
    """One presentation data value."""

    context_id: int
    is_command: bool
    is_last: bool
    fragment: memoryview  # of the PDU: valid until the next one is read


class MessageReader:
    """The state between two PDUs: how far the message in hand has come."""

    def __init__(self, contexts: frozenset[int]) -> None:
        self.encoded: bytes | bytearray = b""  # the last command set as it came, for what pynetdicom shall read
        self._contexts = contexts
        self._command = bytearray()
        self._data_context: int | None = None  # a data set is expected, or coming, on this context
        self._command_context: int | None = None
        self.has_begun = False  # the PDV given last is a message's first

    def read(self, content: memoryview) -> Iterator[Pdv]:
        """The PDVs of one PDU.

        Raises
        ------
        ProtocolError
            A length, context or order that PS3.8 does not allow.
        """
        at, end = 0, len(content)
        if end == 0:
            raise ProtocolError("a P-DATA-TF PDU without a PDV")
        while at < end:
            if end - at < 6:
                raise ProtocolError(f"{end - at} bytes behind the last PDV of a PDU")
            length = int.from_bytes(content[at : at + 4], "big")
            if length < 2:
                raise ProtocolError(f"a PDV of {length} bytes: too short for its own head")
            if length > end - at - 4:
                raise ProtocolError("a PDV that goes past its PDU")
            context_id, control = content[at + 4], content[at + 5]
            if context_id not in self._contexts:
                raise ProtocolError(f"a PDV on context {context_id}, which was not accepted")
            pdv = Pdv(context_id, bool(control & 1), bool(control & 2), content[at + 6 : at + 4 + length])
            self._check_order(pdv)
            yield pdv
            at += 4 + length

    def _check_order(self, pdv: Pdv) -> None:
        if pdv.is_command:
            if self._data_context is not None:
                raise ProtocolError("a command inside a data set", AbortReason.UNEXPECTED_PARAMETER)
            if self._command_context not in (None, pdv.context_id):
                raise ProtocolError("a command set over two contexts", AbortReason.UNEXPECTED_PARAMETER)
            if len(self._command) + len(pdv.fragment) > COMMAND_SET_MAX:
                raise ProtocolError(f"a command set of more than {COMMAND_SET_MAX} bytes")
            self.has_begun = self._command_context is None
            self._command_context = pdv.context_id
            self._command += pdv.fragment
        elif self._data_context != pdv.context_id:
            raise ProtocolError("data without a command that announced it", AbortReason.UNEXPECTED_PARAMETER)
        elif pdv.is_last:
            self._data_context = None

    def command(self) -> Command:
        """The command set that has just become whole."""
        self.encoded, self._command, self._command_context = self._command, bytearray(), None
        return commands.decode(self.encoded)

    def peek(self) -> Command:
        """The same, which stays."""
        return commands.decode(self._command)

    def expect_data(self, context_id: int, has_data_set: bool) -> None:
        """Whether a data set follows the command."""
        self._data_context = context_id if has_data_set else None
