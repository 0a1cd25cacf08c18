"""A few decoders, and who may use them: web threads wait here, a few at most, and no longer than they are waited for.

A decoder that crashes, hangs or is ended by its own limits costs the frame that it was busy with; the next one gets a
new decoder. Which bytes did that is remembered for a while, so that a page that asks again costs nothing.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

import noctis
from noctis.errors import UnavailableError
from noctis.frames.protocol import Answer, ProtocolError, Request, receive_answer, send_request

log = structlog.get_logger()

DECODERS = 2
WAITING_MAX = 12  # requests
WAIT_SECONDS = 8.0  # for a decoder
ANSWER_SECONDS = 35.0  # a decoder ends itself before
LOOK_SECONDS = 0.25  # how often one that waits looks whether somebody still wants it
FAILED_MAX = 2000  # frames
FAILED_SECONDS = 600.0
RETRY_SECONDS = 2  # what a browser is told


class BusyError(UnavailableError):
    """All decoders are busy, and enough others wait for them."""

    def __init__(self) -> None:
        super().__init__("too many frames are being asked for at once", seconds=RETRY_SECONDS)


class GivenUpError(Exception):
    """Nobody waits for the picture any more."""


class _Lost(Exception):
    """The decoder is gone; `crashed`: it did not end by itself for want of work."""

    def __init__(self, crashed: bool, how: str) -> None:
        super().__init__(how)
        self.crashed = crashed
        self.how = how


class Decoder:
    """One process, at most: started when it is needed, again when it was lost."""

    def __init__(self) -> None:
        self.key = ""  # which bytes it decoded last
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def ask(self, request: Request, descriptor: int) -> Answer:
        """Raises `_Lost`."""
        fresh = self._process is None
        try:
            return self._ask(request, descriptor)
        except _Lost as lost:
            if fresh or lost.crashed:
                raise
        return self._ask(request, descriptor)  # it had ended by itself, idle

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        if not self.runs:
            self._end()
            self._start()

    def _ask(self, request: Request, descriptor: int) -> Answer:
        sock = self._socket or self._start()
        try:
            send_request(sock, request, descriptor)
            answer = receive_answer(sock)
        except TimeoutError:
            self._end()
            raise _Lost(True, "it did not answer") from None
        except (OSError, ProtocolError):
            code = self._end()
            raise _Lost(code != 0, f"it ended with {code}") from None
        self.key = request.key
        return answer

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(Path(noctis.__file__).parents[1]),
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "noctis.frames.decoder"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,  # codecs print what they find in patients' files
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.settimeout(ANSWER_SECONDS)
        self._socket = ours
        # Whenever it ends, it is waited for at once and leaves no zombie.
        threading.Thread(target=self._process.wait, name="frames-decoder", daemon=True).start()
        return ours

    def _end(self) -> int:
        """Make sure that it is gone; its exit code."""
        process, sock = self._process, self._socket
        self._process, self._socket, self.key = None, None, ""
        if sock is not None:
            sock.close()
        if process is None:
            return 0
        try:
            return process.wait(0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def close(self) -> None:
        self._end()


class _Waiting:
    """One that waits for a decoder; `wanted` asks whether somebody still waits for it."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self.wanted = wanted
        self.given_up = False


class Pool:
    """The decoders. Safe from several threads."""

    def __init__(self, decoders: int = DECODERS) -> None:
        self._free = [Decoder() for _ in range(decoders)]
        self._changed = threading.Condition()
        self._waiting: set[_Waiting] = set()
        self._closed = False
        self._failed: OrderedDict[tuple[str, int], tuple[float, str]] = OrderedDict()

    def picture(self, request: Request, open_file: Callable[[], int], wanted: Callable[[], bool]) -> Answer:
        """The picture of a frame, or why there is none.

        Parameters
        ----------
        open_file
            Gives a descriptor of the instance's file, which is closed here.
        wanted
            Whether somebody still waits for it; asked now and then, as long as it has to wait.

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
        with self._decoder(request.key, wanted) as decoder:
            descriptor = open_file()
            try:
                return decoder.ask(request, descriptor)
            except _Lost as lost:
                log.warning("frames.decoder_lost", reason=lost.how, file=request.key[:16], frame=request.frame)
                return Answer(self._remember(request), {})
            finally:
                os.close(descriptor)

    def warm(self) -> None:
        """Somebody will soon ask for pictures: start a decoder, if there is none. Waits for nothing."""
        with self._changed:
            if any(each.runs for each in self._free) or not self._free or self._closed:
                return
            decoder = self._free.pop()
        try:
            decoder.start()
        finally:
            with self._changed:
                self._free.append(decoder)
                self._changed.notify()

    def _failure(self, request: Request) -> str | None:
        with self._changed:
            when, reason = self._failed.get((request.key, request.frame), (0.0, ""))
        return reason if reason and time.monotonic() - when < FAILED_SECONDS else None

    def _remember(self, request: Request) -> str:
        reason = "the pixel data cannot be decoded: the decoder crashed, or took too long or too much memory"
        if request.key:
            with self._changed:
                self._failed[request.key, request.frame] = (time.monotonic(), reason)
                while len(self._failed) > FAILED_MAX:
                    self._failed.popitem(last=False)
        return reason

    @contextmanager
    def _decoder(self, key: str, wanted: Callable[[], bool]) -> Iterator[Decoder]:
        decoder = self._take(key, wanted)
        try:
            yield decoder
        finally:
            with self._changed:
                closed = self._closed
                self._free.append(decoder)
                self._changed.notify()
            if closed:
                decoder.close()

    def _take(self, key: str, wanted: Callable[[], bool]) -> Decoder:
        with self._changed:
            if not self._free:
                self._wait(wanted)
            # The one that has these bytes decoded, else the one that was used last: the others may end, idle.
            found = next((each for each in self._free if key and each.key == key), self._free[-1])
            self._free.remove(found)
            return found

    def _wait(self, wanted: Callable[[], bool]) -> None:
        """Until there is a free one; the lock is held before and after."""
        deadline = time.monotonic() + WAIT_SECONDS
        if len(self._waiting) >= WAITING_MAX:
            # A browser that scrolls gives up more pictures than that before they would look by themselves.
            self._look(list(self._waiting))
        if len(self._waiting) >= WAITING_MAX or self._closed:
            raise BusyError
        waiting = _Waiting(wanted)
        self._waiting.add(waiting)
        try:
            while not self._free:
                self._changed.wait(LOOK_SECONDS)
                if not self._free and (self._closed or time.monotonic() > deadline):
                    raise BusyError
                if not self._free and not waiting.given_up:
                    self._look([waiting])
                if waiting.given_up:
                    self._changed.notify()  # what woke him may have been meant for another
                    raise GivenUpError
        finally:
            self._waiting.discard(waiting)

    def _look(self, some: list[_Waiting]) -> None:
        """Who of them is not waited for any more gives up his place; the lock is let go meanwhile."""
        self._changed.release()
        try:
            gone = [each for each in some if not each.wanted()]
        finally:
            self._changed.acquire()
        for each in gone:
            each.given_up = True
            self._waiting.discard(each)
        if gone:
            self._changed.notify_all()

    def close(self) -> None:
        """End the decoders that are free; the others end with their frames."""
        with self._changed:
            self._closed = True
            free = list(self._free)
            self._changed.notify_all()
        for decoder in free:
            with suppress(OSError):
                decoder.close()
