"""A decoder from outside: the process that it is, started when it is needed, and again when it was lost."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import noctis
from noctis.frames.protocol import Answer, ProtocolError, Request, receive_answer, send_request

ANSWER_SECONDS = 35.0  # a decoder ends itself before


class LostError(Exception):
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
        """Raises `LostError`."""
        fresh = self._process is None
        try:
            return self._ask(request, descriptor)
        except LostError as lost:
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
            raise LostError(True, "it did not answer") from None
        except (OSError, ProtocolError):
            code = self._end()
            raise LostError(code != 0, f"it ended with {code}") from None
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
