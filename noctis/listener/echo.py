"""C-ECHO (PS3.7 §9.3.5): always success; that the caller was recognised was decided with the association."""

from noctis.listener.commands import Status
from noctis.listener.operations import Refused, Request


class EchoService:
    def begin(self, request: Request) -> Refused:
        return Refused(Status.SUCCESS, "")

    def close(self) -> None:
        """Nothing is held."""
