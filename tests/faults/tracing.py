"""System calls that fail or are slow, in processes that run: by strace, attached and detached again."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import wait_for


@contextmanager
def injected(pids: Sequence[int], calls: str, what: str) -> Iterator[None]:
    """While the block runs, `calls` (names, comma-separated) of these processes meet `what`.

    `what` is strace's: `error=EIO`, `error=EIO:when=3..9`, `delay_exit=200000` (microseconds). Every system call of a
    traced process is stopped for a moment, so it is slower too.
    """
    command = ["strace", "--quiet=all", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}"]
    for pid in pids:
        command += ["-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: tracer.poll() is not None or all(map(_is_traced, pids)), what="strace to be attached")
        assert tracer.poll() is None, tracer.communicate()[1].decode()
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # detaches
        try:
            tracer.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.communicate()


def _is_traced(pid: int) -> bool:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return all("\nTracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads)
    except FileNotFoundError:
        return False
