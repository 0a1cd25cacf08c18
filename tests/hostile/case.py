"""A case: its name, what is sent, and what must be seen; played against a target, which is looked at afterwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.hostile import wire
from tests.hostile.peer import ACCEPT, Expectation, Peer
from tests.hostile.target import Target

Send = bytes | Callable[[Peer], None]


@dataclass(frozen=True)
class Case:
    """One way to be hostile.

    Parameters
    ----------
    name
        Of the test, and on the page.
    what
        What is sent, for the page.
    send
        Bytes, or who sends them.
    expect
        What the sender must see.
    associated
        An association stands before `send`; its contexts are `wire.PROPOSED`.
    stored, quarantined
        Instances that must be in the spool, and in quarantine, afterwards.
    says
        Words for the page besides the expectation's.
    """

    name: str
    what: str
    send: Send
    expect: Expectation
    associated: bool = True
    stored: int = 0
    quarantined: int = 0
    says: str = ""

    @property
    def does(self) -> str:
        """What Noctis does, for the page."""
        kept = "; kept in quarantine" if self.quarantined else "; stored" if self.stored else ""
        return (self.says or self.expect.says) + kept


def play(case: Case, target: Target) -> None:
    """Play the case, and look at the target before and after."""
    before = target.look()
    with Peer(target.port) as peer:
        if case.associated:
            kind, content = peer.associate()
            assert kind == ACCEPT, f"no association: {kind} {content.hex()}"
        if isinstance(case.send, bytes):
            peer.send(case.send)
        else:
            case.send(peer)
        case.expect(peer)
    target.check(before, stored=case.stored, quarantined=case.quarantined)


def each(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """One test a case."""
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), f"two cases of one name: {sorted(names)}"
    return pytest.mark.parametrize("case", cases, ids=names)


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def contexts_of(count: int, *, step: int = 2) -> list[bytes]:
    """Contexts with IDs from 1 on, the first one Verification's, the others CT images'."""
    return [
        wire.context((1 + step * at) & 0xFF, wire.CT if at else wire.VERIFICATION, [wire.IMPLICIT])
        for at in range(count)
    ]
