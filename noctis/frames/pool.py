"""A few decoders for whoever asks; what one of them could not bear is remembered for a while.

A decoder that crashes, hangs or is ended by its own limits costs the frame that it was busy with; the next one gets a
new decoder. Which bytes did that is remembered, so that a page that asks again costs nothing.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog

from noctis.frames.decoding import Decoder, LostError
from noctis.frames.protocol import Answer, Request
from noctis.frames.turns import Turns

log = structlog.get_logger()

DECODERS = 2
FAILED_MAX = 2000  # frames
FAILED_SECONDS = 600.0


class Pool:
    """The decoders. Safe from several threads."""

    def __init__(self, decoders: int = DECODERS) -> None:
        self._turns = Turns(Decoder() for _ in range(decoders))
        self._lock = threading.Lock()
        self._failed: OrderedDict[tuple[str, int], tuple[float, str]] = OrderedDict()

    def picture(self, slug: str, request: Request, open_file: Callable[[], int], wanted: Callable[[], bool]) -> Answer:
        """The picture of a frame, or why there is none.

        Parameters
        ----------
        slug
            Of the facility that it belongs to.
        open_file
            Gives a descriptor of the instance's file, which is closed here.
        wanted
            Whether somebody still waits for it; asked now and then, as long as it has to wait, by any thread.

        Raises
        ------
        BusyError
            There is no decoder for it now.
        GivenUpError
            It is not wanted any more.
        """
        failed = self._failure(request)
        if failed is not None:
            return Answer(failed, {})
        with self._turns.turn(slug, request.key, wanted) as decoder:
            descriptor = open_file()
            try:
                return decoder.ask(request, descriptor)
            except LostError as lost:
                log.warning("frames.decoder_lost", reason=lost.how, file=request.key[:16], frame=request.frame)
                return Answer(self._remember(request), {})
            finally:
                os.close(descriptor)

    def warm(self) -> None:
        """Somebody will soon ask for pictures: start a decoder, if there is none. Waits for nothing."""
        self._turns.warm()

    def close(self) -> None:
        """End the decoders that are free; the others end with their frames."""
        self._turns.close()

    def _failure(self, request: Request) -> str | None:
        with self._lock:
            when, reason = self._failed.get((request.key, request.frame), (0.0, ""))
        return reason if reason and time.monotonic() - when < FAILED_SECONDS else None

    def _remember(self, request: Request) -> str:
        reason = "the pixel data cannot be decoded: the decoder crashed, or took too long or too much memory"
        if request.key:
            with self._lock:
                self._failed[request.key, request.frame] = (time.monotonic(), reason)
                while len(self._failed) > FAILED_MAX:
                    self._failed.popitem(last=False)
        return reason
