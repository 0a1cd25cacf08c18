"""The physical limit: bytes from a socket into a file, synced, renamed, its folder synced. No DICOM, no index."""

import os
import socket
import threading
import time
from pathlib import Path

from bench.studies import Kind, encode, make_dataset, make_uid


def measure(kind: Kind, scratch: Path, *, instances: int = 400) -> dict[str, float]:
    """Instances per second with 1 and 4 connections, each answered by one byte when it is durable."""
    data = encode(make_dataset(kind, make_uid(1), make_uid(2), make_uid(3), 1))
    return {f"n={count}": round(_run(data, scratch, instances, count), 1) for count in (1, 4)}


def _run(data: bytes, scratch: Path, instances: int, connections: int) -> float:
    folder = scratch / f"raw-{time.time_ns()}"
    (folder / "tmp").mkdir(parents=True)
    (folder / "new").mkdir()
    server = socket.create_server(("127.0.0.1", 0), backlog=connections)

    def receive(sock: socket.socket, number: int) -> None:
        new = os.open(folder / "new", os.O_RDONLY | os.O_DIRECTORY)
        buffer = memoryview(bytearray(1 << 17))
        for index in range(instances // connections):
            path = folder / "tmp" / f"{number}-{index}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            left = len(data)
            while left:
                count = sock.recv_into(buffer[: min(left, len(buffer))])
                os.write(descriptor, buffer[:count])
                left -= count
            os.fsync(descriptor)
            os.close(descriptor)
            os.rename(path, folder / "new" / path.name)
            os.fsync(new)
            sock.sendall(b"k")
        os.close(new)
        sock.close()

    def send() -> None:
        with socket.create_connection(server.getsockname()) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(instances // connections):
                sock.sendall(data)
                sock.recv(1)

    senders = [threading.Thread(target=send) for _ in range(connections)]
    begun = time.perf_counter()
    for thread in senders:
        thread.start()
    receiving = [threading.Thread(target=receive, args=(server.accept()[0], number)) for number in range(connections)]
    for thread in receiving:
        thread.start()
    for thread in senders + receiving:
        thread.join()
    server.close()
    return instances / (time.perf_counter() - begun)
