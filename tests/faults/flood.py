"""One process of a flood: `python -m tests.faults.flood PORT CALLED NUMBER`, until it is killed.

Sixteen associations: large instances, instances whose UIDs are not the command's, and associations that are broken off
in the middle of one. Its own work is done at the lowest priority: elsewhere senders have machines of their own, and
what is looked for is what the listener that is flooded takes from the others.
"""

import contextlib
import os
import sys
import threading

from bench.scu import Association, StoreMessage
from bench.studies import CT, MG, TINY, Kind, Template, Uids, make_uid

ASSOCIATIONS = 16


def send(port: int, called: str, seed: int, kind: Kind, way: str) -> None:
    number = seed * 1_000_000
    template = Template(kind)
    while True:
        association = Association("127.0.0.1", port, called, kind)
        with contextlib.suppress(OSError):
            association.open()
            message = StoreMessage(template, association.max_fragment)
            for _ in range(20):
                number += 1
                message.set(number, Uids(make_uid(seed), make_uid(seed + 1), make_uid(number)))
                if way == "bad":
                    message.encoded[-1] ^= number & 0xFF  # another content, so that each is kept
                    at = message.encoded.rindex(make_uid(number).encode())
                    message.encoded[at : at + 6] = b"2.25.2"
                elif way == "broken-off":
                    association.sock.sendall(memoryview(message.encoded)[: len(message.encoded) // 2])
                    break
                association.store(message)
            association.sock.close()


def main() -> None:
    os.nice(19)
    port, called, number = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ways = [(CT, "good"), (MG, "good"), (TINY, "bad"), (CT, "broken-off")]
    for index in range(ASSOCIATIONS):
        kind, way = ways[index % len(ways)]
        threading.Thread(
            target=send, args=(port, called, 700 + number * ASSOCIATIONS + index, kind, way), daemon=True
        ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
