"""Who may have one more association: of a port that several share, and by each of the limits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.facilities.recognition import Refusal, Reject
from noctis.facilities.snapshot import Facility, Snapshot
from noctis.listener.admission import Admission, Place, may_enter
from noctis.sections import ListenerSettings

A = Facility(1, "a", "A", "A", 11113)
B = Facility(2, "b", "B", "B", 11114)
SNAPSHOT = Snapshot((A, B))


@pytest.mark.parametrize(
    ("held", "facilities", "total", "reserved", "allowed"),
    [
        ({}, 2, 10, 2, True),
        ({"a": 7}, 2, 10, 2, True),  # 3 free, 2 kept for b
        ({"a": 8}, 2, 10, 2, False),  # what is left is b's
        ({"a": 8, "b": 1}, 2, 10, 2, False),  # b may have one more
        ({"a": 7, "b": 2}, 2, 10, 2, True),  # b has had its share
        ({"a": 1, "b": 8}, 2, 10, 2, True),  # within its own share
        ({"a": 1, "b": 9}, 2, 10, 2, False),  # none is free
        ({"a": 5, "gone": 5}, 2, 10, 2, False),
        ({"a": 9}, 1, 10, 2, True),  # nobody else is there
        ({"a": 9}, 2, 10, 0, True),  # nothing is kept
        ({"a": 1}, 2, 2, 5, False),  # one for each
        ({"b": 1}, 2, 2, 5, True),
        ({"a": 2}, 50, 10, 2, True),  # more facilities than associations: nothing can be kept
    ],
)
def test_a_share_is_kept_for_each(
    held: dict[str, int], facilities: int, total: int, reserved: int, allowed: bool
) -> None:
    assert may_enter("a", held, facilities, total, reserved) is allowed


@given(
    total=st.integers(1, 20),
    reserved=st.integers(0, 5),
    facilities=st.integers(1, 6),
    moves=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=80),
)
def test_a_facility_below_its_share_always_gets_in(
    total: int, reserved: int, facilities: int, moves: list[tuple[int, bool]]
) -> None:
    held: dict[str, int] = {}
    share = min(reserved, total // facilities)
    for number, comes in moves:
        slug = str(number % facilities)
        if not comes:
            held[slug] = max(0, held.get(slug, 0) - 1)
        elif may_enter(slug, held, facilities, total, reserved):
            held[slug] = held.get(slug, 0) + 1
        assert sum(held.values()) <= total
        for other in map(str, range(facilities)):
            assert held.get(other, 0) >= share or may_enter(other, held, facilities, total, reserved)


def make(tmp_path: Path, *, is_default: bool = False, **settings: int) -> Admission:
    return Admission(ListenerSettings.model_validate(settings), tmp_path / "associations", is_default=is_default)


def refused(admission: Admission, facility: Facility) -> Refusal:
    answer = admission.admit(facility, SNAPSHOT)
    assert isinstance(answer, Refusal)
    return answer


def test_a_facilitys_limit_counts_all_its_doors(tmp_path: Path) -> None:
    own = make(tmp_path, max_associations=2)
    default = make(tmp_path, max_associations=2, reserved_associations=0, is_default=True)
    first = own.admit(A, SNAPSHOT)
    assert isinstance(first, Place)
    assert isinstance(default.admit(A, SNAPSHOT), Place)
    for door in (own, default):
        answer = refused(door, A)
        assert answer.reject is Reject.LOCAL_LIMIT_EXCEEDED
        assert "'A' has 2 associations on its ports, its limit" in answer.reason
        assert "noctis facility edit a --max-associations" in answer.fix
    assert isinstance(own.admit(B, SNAPSHOT), Place)
    own.give_back(first)
    assert isinstance(default.admit(A, SNAPSHOT), Place)


def test_a_facilitys_own_number_comes_first(tmp_path: Path) -> None:
    few = Facility(**{**A.__dict__, "max_associations": 1})
    admission = make(tmp_path, max_associations=5)
    assert isinstance(admission.admit(few, SNAPSHOT), Place)
    assert "has 1 associations" in refused(admission, few).reason


def test_everything_together_has_a_limit(tmp_path: Path) -> None:
    one, another = make(tmp_path, max_associations_in_all=2), make(tmp_path, max_associations_in_all=2)
    held = one.admit(A, SNAPSHOT)
    assert isinstance(held, Place)
    assert isinstance(another.admit(B, SNAPSHOT), Place)
    answer = refused(another, B)
    assert answer.reject is Reject.TEMPORARY_CONGESTION
    assert "all listeners together have 2 associations" in answer.reason
    assert "listeners.max_associations_in_all" in answer.fix
    one.give_back(held)
    assert isinstance(another.admit(A, SNAPSHOT), Place)  # and no place of the facility was lost by the refusal


def test_the_default_port_tells_its_limit_from_what_is_kept(tmp_path: Path) -> None:
    admission = make(tmp_path, is_default=True, max_associations=3, reserved_associations=1)
    assert isinstance(admission.admit(A, SNAPSHOT), Place)
    assert isinstance(admission.admit(A, SNAPSHOT), Place)
    answer = refused(admission, A)
    assert "kept for other facilities" in answer.reason
    assert "own port 11113" in answer.fix
    place = admission.admit(B, SNAPSHOT)
    assert isinstance(place, Place)
    assert "the default port has 3 associations, its limit" in refused(admission, B).reason
    admission.give_back(place)
    assert isinstance(admission.admit(B, SNAPSHOT), Place)


def test_a_refusal_by_a_later_limit_leaves_nothing_counted(tmp_path: Path) -> None:
    admission = make(tmp_path, is_default=True, max_associations=4, reserved_associations=0, max_associations_in_all=1)
    place = admission.admit(A, SNAPSHOT)
    assert isinstance(place, Place)
    for _ in range(10):
        assert "all listeners together" in refused(admission, A).reason
    admission.give_back(place)
    assert isinstance(admission.admit(A, SNAPSHOT), Place)


def test_many_facilities_have_places_of_their_own(tmp_path: Path) -> None:
    admission = make(tmp_path, max_associations=1)
    for number in (1, 2, 1 << 16, (1 << 31) - 2):
        facility = Facility(number, f"f{number}", "F", f"F{number}", 11113)
        assert isinstance(admission.admit(facility, SNAPSHOT), Place)
        refused(admission, facility)


def test_no_file_is_no_reason_to_refuse(tmp_path: Path) -> None:
    admission = Admission(ListenerSettings(max_associations=1), tmp_path / "missing" / "associations", is_default=False)
    assert isinstance(admission.admit(A, SNAPSHOT), Place)
    refused(admission, A)
