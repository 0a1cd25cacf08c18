"""Fifty facilities are added while images flow to another: all answer, the stream loses nothing, its process stays."""

from tests.support import wait_for
from tests.system import senders
from tests.system.conftest import MakeNoctis
from tests.system.senders import StubbornSender


def test_fifty_added_in_a_loop(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(ports=60).start()
    facility = noctis.json("facility", "add", "Central")
    pid = noctis.wait_listener("central")["pid"]
    load = StubbornSender(facility["port"], facility["ae_title"], 1)
    load.start()
    wait_for(lambda: load.acknowledged, what="the stream")
    added = [noctis.add(f"Facility {number}") for number in range(50)]
    silent = {record.slug: record for record in added}

    def all_answer() -> bool:
        for slug, record in list(silent.items()):
            if senders.echoscu(record.port, record.ae_title):
                del silent[slug]
        return not silent

    wait_for(all_answer, seconds=60, what="all fifty to answer an echo")
    by_command = noctis.json("facility", "add", "Last of all")
    assert by_command["listener"] == "running"
    print(f"`facility add` under load waited {by_command['listener_ms']} ms for its listener")
    acknowledged = load.stop()
    assert (load.refused, load.broken) == ([], 0)
    assert noctis.listener("central")["pid"] == pid
    wait_for(
        lambda: noctis.sql("SELECT count(*) FROM instance") == [(len(acknowledged),)], what="everything to be indexed"
    )
