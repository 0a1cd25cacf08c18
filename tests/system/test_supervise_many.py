"""Two hundred facilities: they all come up, and what they cost."""

import pytest

from bench.scu import Association
from bench.studies import TINY
from tests.support import wait_for
from tests.system.conftest import MakeNoctis, Noctis

FACILITIES = 200
PSS_MAX = 900e6  # bytes, all processes
PSS_MAX_ON_DEMAND = 130e6  # without pages and notifier


def with_facilities(noctis: Noctis) -> dict[int, str]:
    """Port → AE title of everybody, added before the first start."""
    noctis.cli("db", "upgrade")
    rows = [(f"Facility {n}", f"facility-{n}", f"F{n:03}", noctis.port + 1 + n) for n in range(FACILITIES)]
    for row in rows:
        noctis.sql("INSERT INTO facility (name, slug, ae_title, port) VALUES (?, ?, ?, ?)", *row)
    return {port: title for _, _, title, port in rows}


def echo(port: int, title: str) -> bool:
    association = Association("127.0.0.1", port, title, TINY)
    try:
        association.open()
    except OSError:
        return False
    try:
        answered = association.echo() == 0
        association.close()
    finally:
        association.sock.close()
    return answered


def total_pss(noctis: Noctis) -> int:
    return sum(process.memory_full_info().pss for process in noctis.processes())


@pytest.mark.parametrize(("on_demand", "most"), [(False, PSS_MAX), (True, PSS_MAX_ON_DEMAND)])
def test_two_hundred_facilities(make_noctis: MakeNoctis, on_demand: bool, most: float) -> None:
    noctis = make_noctis(ports=FACILITIES + 2, listeners={"on_demand": on_demand})
    titles = with_facilities(noctis)
    noctis.start()
    listeners = noctis.control_status()["listeners"]
    assert len(listeners) == FACILITIES + 1
    assert {each["state"] for each in listeners} == {"idle" if on_demand else "running"}
    if on_demand:
        assert len(noctis.processes()) == 4
    ready = total_pss(noctis)
    assert ready < most
    silent = dict(titles)
    if on_demand:
        silent = dict(list(titles.items())[:10])

    def all_answered() -> bool:
        for port, title in list(silent.items()):
            if echo(port, title):
                del silent[port]
        return not silent

    wait_for(all_answered, what="every facility to answer")
    answered = total_pss(noctis)
    print(f"{len(titles)} facilities: {ready / 1e6:.0f} MB when ready, {answered / 1e6:.0f} MB after their first echo")
    assert noctis.stop() == 0
    assert noctis.processes() == []
