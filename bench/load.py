"""A load generator that costs little CPU: instances are encoded once and replayed with their UIDs exchanged.

python -m bench.load PORT CALLED_AE --kind MR --instances 200 --associations 4
"""

import argparse
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from bench.studies import KINDS, TRANSFER_SYNTAX, Kind, encode, make_dataset, make_uid

RELEASE_RQ = b"\5\0\0\0\0\4\0\0\0\0"
ECHO_CONTEXT, STORE_CONTEXT = 1, 3


def associate_rq(called: str, calling: str, sop_class: str) -> bytes:
    """An A-ASSOCIATE-RQ for Verification and one storage class."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = 131072
    implementation.implementation_class_uid = "1.2.3.4"
    request.user_information = [maximum, implementation]
    contexts = [build_context(Verification), build_context(sop_class, TRANSFER_SYNTAX)]
    for number, context in zip((ECHO_CONTEXT, STORE_CONTEXT), contexts, strict=True):
        context.context_id = number
    request.presentation_context_definition_list = contexts
    encoded: bytes = A_ASSOCIATE_RQ(request).encode()
    return encoded


def _command(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _even(value: bytes) -> bytes:
    return value + b"\0" if len(value) & 1 else value


def _pdu(fragment: bytes | memoryview, context: int, control: int) -> bytes:
    head = struct.pack(">BBLLBB", 4, 0, len(fragment) + 6, len(fragment) + 2, context, control)
    return head + bytes(fragment)


@dataclass
class Association:
    """One association as SCU, on a blocking socket with Nagle off."""

    host: str
    port: int
    called: str
    kind: Kind
    calling: str = "BENCH"
    max_fragment: int = field(init=False, default=16376)

    def open(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), timeout=120)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(associate_rq(self.called, self.calling, self.kind.sop_class_uid))
        kind, content = self.read()
        if kind != 2:
            raise ConnectionError(f"the association was not accepted: PDU type {kind}")
        at = content.find(b"\x51\0\0\4")
        if at >= 0:
            offered = int.from_bytes(content[at + 4 : at + 8], "big") or 131072
            self.max_fragment = min(offered, 131072) - 6

    def read(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        return head[0], self._exactly(int.from_bytes(head[2:6], "big"))

    def _exactly(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            piece = self.sock.recv(count - len(got))
            if not piece:
                raise ConnectionError("the receiver closed the connection")
            got += piece
        return bytes(got)

    def store(self, message_id: int, instance_uid: str, data: bytes) -> int:
        """One C-STORE; the status answered."""
        command = _command(
            (0x0002, _even(self.kind.sop_class_uid.encode())),
            (0x0100, b"\1\0"),
            (0x0110, struct.pack("<H", message_id & 0xFFFF)),
            (0x0700, b"\0\0"),
            (0x0800, b"\1\0"),
            (0x1000, _even(instance_uid.encode())),
        )
        view, step = memoryview(data), self.max_fragment
        pieces = [_pdu(command, STORE_CONTEXT, 3)]
        for start in range(0, len(view), step):
            pieces.append(_pdu(view[start : start + step], STORE_CONTEXT, 2 if start + step >= len(view) else 0))
            if len(pieces) >= 16:
                self.sock.sendall(b"".join(pieces))
                pieces = []
        self.sock.sendall(b"".join(pieces))
        return self.status()

    def echo(self) -> int:
        command = _command((2, b"1.2.840.10008.1.1\0"), (0x100, b"\x30\0"), (0x110, b"\1\0"), (0x800, b"\1\1"))
        self.sock.sendall(_pdu(command, ECHO_CONTEXT, 3))
        return self.status()

    def status(self) -> int:
        kind, content = self.read()
        if kind != 4:
            raise ConnectionError(f"no answer but PDU type {kind}")
        at = 6
        while at + 10 <= len(content):
            _, element, length = struct.unpack_from("<HHI", content, at)
            if element == 0x900:
                return int.from_bytes(content[at + 8 : at + 10], "little")
            at += 8 + length
        raise ConnectionError("an answer without a status")

    def close(self) -> None:
        self.sock.sendall(RELEASE_RQ)
        self.read()
        self.sock.close()


class Template:
    """One encoded instance; `patched` gives it with other UIDs, without encoding it again."""

    def __init__(self, kind: Kind) -> None:
        self._marks = [make_uid(n, "2.25").encode() for n in (1, 2, 3)]
        study, series, instance = (mark.decode() for mark in self._marks)
        self._data = encode(make_dataset(kind, study, series, instance, 1))
        self._places = [self._data.index(mark) for mark in self._marks]
        self._scratch = bytearray(self._data)

    def patched(self, study: str, series: str, instance: str) -> bytes:
        for place, uid in zip(self._places, (study, series, instance), strict=True):
            self._scratch[place : place + len(uid)] = uid.encode()
        return bytes(self._scratch)


@dataclass
class Result:
    """What one run measured."""

    instances: int = 0
    bytes: int = 0
    failures: int = 0
    seconds: float = 0.0
    answer_ms: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, float]:
        times = sorted(self.answer_ms) or [0.0]
        return {
            "instances": self.instances,
            "bytes": self.bytes,
            "failures": self.failures,
            "seconds": round(self.seconds, 4),
            "instances_per_second": round(self.instances / self.seconds, 1),
            "mb_per_second": round(self.bytes / self.seconds / 1e6, 1),
            "p50_ms": round(times[len(times) // 2], 2),
            "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
        }


def run(
    port: int,
    called: str,
    kind: Kind,
    *,
    instances: int,
    associations: int,
    per_instance: bool = False,
    host: str = "127.0.0.1",
    seed: int = 0,
) -> Result:
    """Send `instances` in all over `associations` at once; one study per association.

    Parameters
    ----------
    per_instance
        Open a new association for every instance.
    seed
        Another seed gives other UIDs.
    """
    result, lock = Result(), threading.Lock()
    share = instances // associations
    ready = threading.Barrier(associations + 1)
    failed: list[BaseException] = []

    def worker(number: int) -> None:
        template = Template(kind)
        base = (seed * 1000 + number) * 1_000_000
        study, series = make_uid(base + 1), make_uid(base + 2)
        association = Association(host, port, called, kind)
        times, sent, bad = [], 0, 0
        ready.wait()
        try:
            if not per_instance:
                association.open()
            for index in range(share):
                uid = make_uid(base + 10 + index)
                data = template.patched(study, series, uid)
                begun = time.perf_counter()
                if per_instance:
                    association.open()
                bad += association.store(index + 1, uid, data) != 0
                if per_instance:
                    association.close()
                times.append((time.perf_counter() - begun) * 1000)
                sent += len(data)
            if not per_instance:
                association.close()
        except BaseException as error:
            failed.append(error)
            raise
        with lock:
            result.instances += share
            result.bytes += sent
            result.failures += bad
            result.answer_ms += times

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(associations)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    result.seconds = time.perf_counter() - begun
    if failed:
        raise failed[0]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("called")
    parser.add_argument("--kind", choices=sorted(KINDS), default="MR")
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--per-instance", action="store_true")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    result = run(
        options.port,
        options.called,
        KINDS[options.kind],
        instances=options.instances,
        associations=options.associations,
        per_instance=options.per_instance,
        seed=options.seed,
    )
    print(json.dumps(result.as_json()))


if __name__ == "__main__":
    main()
