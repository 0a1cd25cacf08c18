"""What a peer calls itself, in a log for people: no line of its own, no colours; and a flood of refusals."""

import re

from noctis.repository.journal import take
from tests.hostile import wire
from tests.hostile.peer import ACCEPT, Peer, Rejected, goes_on, statuses
from tests.hostile.target import RENDERER_COLOURS, Target
from tests.hostile.test_uids import SHAPES

SETTINGS = {"logging": {"format": "console"}}
REFUSALS = 500


def test_titles_and_uids_of_escapes(target: Target) -> None:
    before = target.look()
    with Peer(target.port) as peer:
        assert peer.associate(calling=b"\x1b[2J\nforged\x9b")[0] == ACCEPT
        for _, _, value in SHAPES:
            peer.send(wire.store(wire.data_set(instance=value), instance=value))
            statuses(peer, 0)
        goes_on(peer)
    target.check(before, stored=len(SHAPES))
    written = target.log_since(before.log_at)
    assert rb"\x1b[2J" in written, "what was escaped is not there at all"
    lines = RENDERER_COLOURS.sub(b"", written).decode("utf-8").splitlines()
    assert len([line for line in lines if "instance.stored" in line]) == len(SHAPES)
    assert not [line for line in lines if not re.match(r"20\d\d-", line)], "a line that is not the listener's"
    assert all(line.isprintable() for line in lines)


def test_a_flood_of_refusals(target: Target) -> None:
    before = target.look()
    for number in range(REFUSALS):
        with Peer(target.port) as peer:
            peer.send(wire.associate_rq(called=b"NOBODY", calling=f"\x1b[31m{number}".encode()))
            Rejected(1, 1, 7)(peer)
    target.check(before)
    refusals = [
        line for _, lines in take(target.home / "run" / "journal") for line in lines if line["kind"] == "refusal"
    ]
    assert len(refusals) == REFUSALS
    assert all(line["calling"].isprintable() for line in refusals)
