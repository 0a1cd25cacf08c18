"""The decoder, a program of its own: python -m noctis.frames.decoder, with the socket as its standard input.

Takes requests (`protocol`) until the other side hangs up or nothing came for `IDLE_SECONDS`. Bounds itself before it
loads anything that decodes: memory, processor time of each frame, no file can be written, no core is left. What a
hostile file does to it costs this process and a placeholder, nothing else. Receiving goes first.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from noctis import priority
from noctis.frames.protocol import Answer, ProtocolError, Request, receive_request

MEMORY_MAX = 1 << 30  # bytes of address space
CPU_SECONDS = 10  # of one frame
WALL_SECONDS = 30  # of one frame: a low priority may have to wait
IDLE_SECONDS = 120.0  # without a request
FILES_MAX = 64


def bound() -> None:
    """Limits that hold for good."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))


@contextlib.contextmanager
def bounded_time() -> Iterator[None]:
    """The kernel ends this process when a frame takes too long, whatever the codec is busy with."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if hard < 0 else min(seconds, hard), hard))
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def serve(sock: socket.socket) -> None:
    """Answer until there is nobody to answer."""
    from noctis.frames.picture import Frames, prepare

    prepare()
    frames = Frames()
    priority.behind()  # now that all is loaded, which somebody waits for
    while True:
        try:
            got = receive_request(sock)
        except (TimeoutError, ProtocolError):
            return
        if got is None:
            return
        request, descriptor = got
        with bounded_time():
            answer = _answer(frames, request, descriptor)
        sock.sendall(answer)


def _answer(frames: Any, request: Request, descriptor: int) -> bytes:
    from noctis.frames.picture import NoPictureError

    try:
        with os.fdopen(descriptor, "rb") as file:
            info, body = frames.picture(file, request)
        return Answer("", info, body).encode()
    except NoPictureError as error:
        reason = str(error)
    except MemoryError:
        frames.forget()
        reason = "the frame is too large to be shown here"
    except Exception as error:  # noqa: BLE001 - whatever a codec, pydicom or JSON finds in a stranger's file
        reason = f"the pixel data cannot be decoded ({type(error).__name__})"
    return Answer(reason, {}).encode()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    bound()
    sock = socket.socket(fileno=os.dup(0))
    sock.settimeout(IDLE_SECONDS)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(sock)


if __name__ == "__main__":
    main()
    sys.exit(0)
