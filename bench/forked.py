"""Work that is done by several processes at once: forked when all is prepared, begun at one moment."""

import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

Work = Callable[[], dict[str, Any]]


class WorkError(RuntimeError):
    """One of them failed; the message is its exception's."""


def run_forked(works: Sequence[Work]) -> tuple[float, list[dict[str, Any]]]:
    """Run each in a process of its own.

    Returns
    -------
    The seconds from the common beginning to the end of the last, and what each returned (JSON), with the CPU seconds
    that it took as `cpu_seconds`.
    """
    gc.collect()
    gc.freeze()  # a collection in a child would copy what is shared
    start_read, start_write = os.pipe()
    readers: list[int] = []
    children: list[int] = []
    for work in works:
        result_read, result_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(start_write)
            os.close(result_read)
            _child(work, start_read, result_write)
        os.close(result_write)
        readers.append(result_read)
        children.append(child)
    os.close(start_read)
    begun = time.monotonic()
    os.close(start_write)
    answers = [_read_all(reader) for reader in readers]
    for child in children:
        os.waitpid(child, 0)
    gc.unfreeze()
    results = []
    for answer in answers:
        result = json.loads(answer or '{"error": "it ended without an answer"}')
        if "error" in result:
            raise WorkError(result["error"])
        results.append(result)
    return max(result.pop("ended") for result in results) - begun, results


def _child(work: Work, start: int, answer: int) -> None:
    """Never returns."""
    try:
        gc.disable()
        os.read(start, 1)
        cpu = time.process_time()
        try:
            result = work()
            result |= {"ended": time.monotonic(), "cpu_seconds": time.process_time() - cpu}
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            result = {"error": f"{type(error).__name__}: {error}"}
        with os.fdopen(answer, "wb") as file:
            file.write(json.dumps(result).encode())
    finally:
        os._exit(0)


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
