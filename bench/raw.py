"""The physical limit: bytes from a socket into a file, synced, renamed, its folder synced. No DICOM, no index.

python -m bench.raw FOLDER --kind MR --instances 400 --associations 4

For each connection one process sends and another receives: create, receive and write, fsync, rename, fsync of the
folder, one byte as the answer. The bytes are those of the data sets that the load generator sends. Prints one line of
JSON; its CPU seconds are the receiving side's.
"""

import argparse
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.forked import run_forked
from bench.studies import KINDS, Kind, Template


def run(folder: Path, kind: Kind, *, instances: int, associations: int) -> dict[str, float]:
    """Copy `instances` in all over `associations` connections; what was measured. Forks."""
    folder = Path(tempfile.mkdtemp(prefix="raw-", dir=folder))
    data = Template(kind).data
    for name in ("tmp", "new"):
        (folder / name).mkdir()
    share = instances // associations
    server = socket.create_server(("127.0.0.1", 0), backlog=associations)

    def receiver(number: int) -> Callable[[], dict[str, Any]]:
        def work() -> dict[str, Any]:
            _receive(server.accept()[0], folder, number, share, len(data))
            return {}

        return work

    def send() -> dict[str, Any]:
        times = []
        with socket.create_connection(server.getsockname()) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(share):
                begun = time.perf_counter()
                sock.sendall(data)
                if sock.recv(1) != b"k":
                    raise ConnectionError("the copy ended early")
                times.append((time.perf_counter() - begun) * 1000)
        return {"times": times}

    seconds, results = run_forked([receiver(number) for number in range(associations)] + [send] * associations)
    server.close()
    times = sorted(each for result in results for each in result.get("times", ()))
    sent = share * associations
    return {
        "instances": sent,
        "bytes": sent * len(data),
        "seconds": round(seconds, 4),
        "instances_per_second": round(sent / seconds, 1),
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
        "cpu_seconds": round(sum(result["cpu_seconds"] for result in results if "times" not in result), 3),
    }


def _receive(sock: socket.socket, folder: Path, number: int, count: int, size: int) -> None:
    new = os.open(folder / "new", os.O_RDONLY | os.O_DIRECTORY)
    buffer = memoryview(bytearray(1 << 17))
    for index in range(count):
        name = f"{number}-{index}"
        descriptor = os.open(folder / "tmp" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        left = size
        while left:
            got = sock.recv_into(buffer, min(left, len(buffer)))
            if not got:
                raise ConnectionError("the sender closed the connection")
            os.write(descriptor, buffer[:got])
            left -= got
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(folder / "tmp" / name, folder / "new" / name)
        os.fsync(new)
        sock.sendall(b"k")
    os.close(new)
    sock.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=sorted(KINDS), default="MR")
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--associations", type=int, default=1)
    options = parser.parse_args()
    kind = KINDS[options.kind]
    print(json.dumps(run(options.folder, kind, instances=options.instances, associations=options.associations)))


if __name__ == "__main__":
    main()
