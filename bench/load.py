"""A load generator that costs little CPU: one process for each association, whole instances replayed with one call.

python -m bench.load PORT CALLED_AE --kind MR --instances 200 --associations 4

An instance is encoded once, as the PDUs that go over the wire; for each one that is sent only its UIDs are exchanged
where they stand. Prints one line of JSON.
"""

import argparse
import json
import ssl
import time
from collections.abc import Callable
from typing import Any

from bench.forked import run_forked
from bench.scu import Association, StoreMessage
from bench.studies import KINDS, Kind, Template, uids


def run(
    port: int,
    called: str,
    kind: Kind,
    *,
    instances: int,
    associations: int,
    per_instance: bool = False,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> dict[str, float]:
    """Send `instances` in all over `associations` at once, one study for each; what was measured.

    `per_instance` opens a new association for every instance. Forks: call it where there is one thread.

    Raises
    ------
    RuntimeError
        The receiver did not take everything.
    """
    probe = Association(host, port, called, kind, tls=tls)
    probe.open()
    probe.close()
    template = Template(kind)
    size = len(template.data)
    message = StoreMessage(template, probe.max_fragment)
    template.data = b""
    share = instances // associations

    def worker(number: int) -> Callable[[], dict[str, Any]]:
        def work() -> dict[str, Any]:
            association = Association(host, port, called, kind, tls=tls)
            times: list[float] = []
            failures: list[str] = []
            if not per_instance:
                association.open()
            for index in range(share):
                message.set(index + 1, uids(number, index))
                if per_instance:
                    association.open()
                begun = time.perf_counter()
                status = association.store(message)
                if status != 0:
                    failures.append(f"{status:04X}")
                times.append((time.perf_counter() - begun) * 1000)
                if per_instance:
                    association.close()
            if not per_instance:
                association.close()
            return {"times": times, "failures": failures}

        return work

    seconds, results = run_forked([worker(number) for number in range(associations)])
    failures = [status for result in results for status in result["failures"]]
    if failures:
        raise RuntimeError(f"{len(failures)} instances were not taken, with status {', '.join(sorted(set(failures)))}")
    times = sorted(each for result in results for each in result["times"])
    sent = share * associations
    return {
        "instances": sent,
        "bytes": sent * size,
        "seconds": round(seconds, 4),
        "instances_per_second": round(sent / seconds, 1),
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
        "cpu_seconds": round(sum(result["cpu_seconds"] for result in results), 3),
    }


def tls_context(key: str, certificate: str, ca: str) -> ssl.SSLContext:
    """A sender's, which shows its certificate and trusts that CA, whatever the receiver is called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(ca)
    context.load_cert_chain(certificate, key)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("called")
    parser.add_argument("--kind", choices=sorted(KINDS), default="MR")
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--per-instance", action="store_true", help="a new association for every instance")
    parser.add_argument("--tls", nargs=3, metavar=("KEY", "CERT", "CA"), help="over TLS, with this certificate")
    options = parser.parse_args()
    result = run(
        options.port,
        options.called,
        KINDS[options.kind],
        instances=options.instances,
        associations=options.associations,
        per_instance=options.per_instance,
        tls=tls_context(*options.tls) if options.tls else None,
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
