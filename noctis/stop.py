"""How a service's process is told to stop, and how it waits meanwhile."""

import contextlib
import os
import select
import signal


class Stop:
    """SIGTERM and SIGINT as a flag, and as something that `select` can wait for. The handlers do next to nothing.

    Parameters
    ----------
    wake_on_hangup
        SIGHUP ends a wait and nothing else; otherwise it does nothing.
    """

    def __init__(self, *, wake_on_hangup: bool = False) -> None:
        self.received = False
        self._wake, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, _nothing if wake_on_hangup else signal.SIG_IGN)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.received = True

    def wait(self, seconds: float, *descriptors: int) -> None:
        """Until a signal, or one of `descriptors` is readable, or for so long."""
        if not self.received and seconds > 0:
            with contextlib.suppress(InterruptedError):
                if self._wake in select.select([self._wake, *descriptors], [], [], seconds)[0]:
                    os.read(self._wake, 4096)

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._write)


def _nothing(_number: int, _frame: object) -> None:
    pass
