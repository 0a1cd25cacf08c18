"""What an association and a DIMSE service say to each other.

The association receives; a service decides. For each request the service makes an `Operation`, is given the data set
in pieces as they come over the wire, and says at the end how it is to be answered. It never sees a socket.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from noctis.facilities.snapshot import Facility
from noctis.listener.commands import Command, Status
from noctis.observability.words import FailureKind
from noctis.repository.filemeta import Origin


class Request(NamedTuple):
    """One DIMSE request, with who makes it and on which presentation context."""

    facility: Facility
    origin: Origin
    command: Command
    abstract_syntax: str
    transfer_syntax: str


class Answer(NamedTuple):
    """How a request is answered."""

    status: int
    comment: str = ""  # Error Comment (0000,0902), at most 64 characters, no patient's data
    stored: int = 0  # bytes of the file, where an instance was stored
    after: Callable[[], None] | None = None  # what can wait until it was sent; never raises
    failure: FailureKind | None = None  # for the count by reason

    @property
    def succeeded(self) -> bool:
        return self.status == Status.SUCCESS


class Operation(Protocol):
    """One request being served. After `finish` or `abandon` it is over."""

    def write(self, fragment: memoryview) -> None:
        """A piece of the data set; must not be kept after the call. Never raises."""

    def finish(self) -> Answer:
        """The request is whole: do what it asks. Never raises."""

    def abandon(self) -> None:
        """The peer vanished or broke the protocol: leave nothing behind. Never raises."""


class Service(Protocol):
    """One DIMSE service."""

    def begin(self, request: Request) -> Operation: ...

    def close(self) -> None:
        """No association is left: give back what is held."""


class Refused:
    """An operation that is answered with one status whatever its data set holds."""

    def __init__(self, status: Status, comment: str, failure: FailureKind = FailureKind.COMMAND) -> None:
        self._answer = Answer(status, comment, failure=failure)

    def write(self, fragment: memoryview) -> None:
        """Nothing is kept."""

    def finish(self) -> Answer:
        return self._answer

    def abandon(self) -> None:
        """There is nothing to leave behind."""
