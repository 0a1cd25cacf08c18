"""HTTP/1.1 as uvicorn has it, for peers that mean no good: what one connection may take is bounded in time as well.

uvicorn waits for a request without end. Here a request has to be there whole `REQUEST_SECONDS` after its connection
was made or its first byte came, and somebody who takes an answer must go on taking it. How many connections there are
at once is `crowd`'s.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from noctis.web.crowd import Crowd, Guest

REQUEST_SECONDS = 20.0
BODY_SECONDS = 60.0  # more for a body that comes; it is small: see `guard.BODY_MAX`
STALLED_SECONDS = 60.0  # somebody takes nothing of an answer
KEEP_ALIVE_SECONDS = 15  # pages ask every second or two
CONNECTIONS_MAX = 512
HEAD_MAX = 32 << 10  # bytes of a request before its body


class Protocol(H11Protocol):
    """One connection."""

    _guest: Guest | None = None
    _waits: float | None = None  # for how long, whatever it is that is waited for
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, crowd: Crowd, **options: Any) -> None:
        super().__init__(*args, **options)
        self._crowd = crowd

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._guest = self._crowd.guest(transport.get_extra_info("socket").fileno())
        if self._guest is not None:
            self._guest.peer = self
        self._wait(REQUEST_SECONDS)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is done for this connection: see `crowd.Peer`."""
        answering = self.cycle is not None and not self.cycle.response_complete
        return not answering or self._stalled is not None or self.conn.their_state is h11.SEND_BODY

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait({h11.IDLE: REQUEST_SECONDS, h11.SEND_BODY: BODY_SECONDS}.get(self.conn.their_state))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._guest is not None:
            self._crowd.rest(self._guest)
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]  # of the next request, sent too early
        if self.conn.their_state is not h11.SEND_BODY:
            self._wait(REQUEST_SECONDS if begun else None)

    def _wait(self, seconds: float | None) -> None:
        """Give up when what is waited for is not there in time; the same wait goes on, None ends it."""
        if seconds == self._waits:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits = seconds
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._stalled or self.loop.call_later(STALLED_SECONDS, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait(None)
        self._taken()

    def _taken(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
