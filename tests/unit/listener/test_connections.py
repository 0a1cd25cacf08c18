"""Which connection goes when too many have no association."""

from typing import Any

from noctis.listener.connections import Connections
from noctis.repository.filemeta import Origin


class Connection:
    def __init__(self, address: str) -> None:
        self.origin = Origin(address=address)
        self.displaced = False
        self.is_waiting = True

    def waits(self) -> bool:
        return self.is_waiting


def connect(connections: Connections, address: str, *, patient: bool = True) -> tuple[Any, Any]:
    made: Any = Connection(address)
    victim = connections.displace(patient=patient) if connections.is_full else None
    connections.add(made)
    return made, victim


def test_the_oldest_of_the_address_with_the_most_goes() -> None:
    connections = Connections(4)
    made = [connect(connections, address) for address in ("a", "b", "b", "c")]
    assert [victim for _, victim in made] == [None] * 4
    _, victim = connect(connections, "d")
    assert victim is made[1][0]
    assert victim.displaced


def test_the_newcomer_itself_never_goes() -> None:
    connections = Connections(1)
    first, _ = connect(connections, "a")
    second, victim = connect(connections, "b")
    assert victim is first
    third, victim = connect(connections, "a")
    assert victim is second
    assert not third.displaced


def test_one_that_waits_for_us_stays_while_there_is_patience() -> None:
    connections = Connections(2)
    busy, _ = connect(connections, "a")
    idle, _ = connect(connections, "a")
    busy.is_waiting = False
    assert connect(connections, "a")[1] is idle
    for each in connections.all():
        each.is_waiting = False  # type: ignore[attr-defined]
    assert connections.is_full
    assert connections.displace(patient=True) is None
    assert connections.displace(patient=False) is busy


def test_an_association_is_never_displaced() -> None:
    connections = Connections(1)
    first, _ = connect(connections, "a")
    assert connections.associate(first)
    assert connect(connections, "a")[1] is None
    assert len(connections) == 2


def test_one_that_was_displaced_cannot_become_an_association() -> None:
    connections = Connections(1)
    first, _ = connect(connections, "a")
    connect(connections, "a")
    assert not connections.associate(first)


def test_each_newcomer_displaces_another_one_even_before_the_first_has_ended() -> None:
    connections = Connections(2)
    made = [connect(connections, "a") for _ in range(5)]
    assert [victim for _, victim in made[2:]] == [each for each, _ in made[:3]]
    for each, _ in made:
        connections.remove(each)
    assert len(connections) == 0
    assert connections.all() == []
