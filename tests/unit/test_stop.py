"""Signals as services have them: told to stop, woken, or left alone. Each in a process of its own."""

import signal
import subprocess
import sys

import pytest

WAITS = """
import sys
from noctis.stop import Stop

stop = Stop(wake_on_hangup=sys.argv[1] == "wakes")
print("ready", flush=True)
while not stop.received:
    stop.wait(60)
    print("woken", flush=True)
stop.close()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_wait_ends_when_it_is_told_to_stop(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS, "sleeps"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)  # is nothing to it
        process.send_signal(number)
        assert process.communicate(timeout=30)[0] in ("", "woken\n")  # it may not have waited yet
        assert process.returncode == 0


def test_a_hangup_wakes_whoever_asked_for_it_once() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS, "wakes"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "woken\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
