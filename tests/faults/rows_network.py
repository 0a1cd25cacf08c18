"""The network between sender and receiver is cut and healed."""

import time

from bench.studies import MG
from tests.faults import means
from tests.faults.ground import Ground, row
from tests.faults.network import RECEIVER_ADDRESS
from tests.support import wait_for
from tests.system.associations import in_flight

PDU_SECONDS = 3.0  # the listener's patience inside a PDU, and between two
CUT_SECONDS = 1.0


@row("network-cut", "the network is cut in the middle of an instance, for longer than anybody waits", means.networks)
def network_cut(ground: Ground) -> None:
    noctis = ground.make(
        server={"bind": RECEIVER_ADDRESS},
        listeners={"pdu_seconds": PDU_SECONDS, "idle_association_seconds": PDU_SECONDS},
        storage={"slot_bytes": 0},
    )
    cable = ground.lay_cable()
    noctis.prefix = ("ip", "netns", "exec", cable.receiver)
    ground.start("Central")
    senders = ground.send("central", 2, MG, wait_seconds=5)
    for _ in range(3 if ground.long else 1):
        before = len(noctis.events("instance.incomplete"))
        for _ in range(20):  # it may just have been whole
            wait_for(lambda: in_flight(noctis.home, "central"), seconds=60, what="an instance in flight")
            cable.cut()
            wait_for(lambda: not noctis.listener("central")["live_associations"], seconds=60, what="it to give up")
            if len(noctis.events("instance.incomplete")) > before:
                break
            cable.heal()
            ground.more(senders, 1)
        assert len(noctis.events("instance.incomplete")) > before
        assert not in_flight(noctis.home, "central"), "the partial file stays"
        cable.heal()
        ground.heal()
        ground.more(senders, 1)
    assert all(sender.broken for sender in senders)


@row("network-flicker", "the network is cut for a second in the middle of an instance", means.networks)
def network_flicker(ground: Ground) -> None:
    noctis = ground.make(server={"bind": RECEIVER_ADDRESS})
    cable = ground.lay_cable()
    noctis.prefix = ("ip", "netns", "exec", cable.receiver)
    ground.start("Central")
    senders = ground.send("central", 2, MG)
    for _ in range(10 if ground.long else 2):
        wait_for(lambda: in_flight(noctis.home, "central"), seconds=60, what="an instance in flight")
        cable.cut()
        begun = time.monotonic()
        wait_for(lambda: time.monotonic() - begun > CUT_SECONDS, what="a second")  # noqa: B023 - called at once
        cable.heal()
        ground.heal()
        ground.more(senders, 1)
    assert not any(sender.statuses or sender.broken for sender in senders)
