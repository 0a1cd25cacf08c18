import pytest

from bench.plan import RAW, Form, Sender, Step, plan
from bench.run import _wanted
from bench.studies import CT, MR


@pytest.mark.parametrize("form", list(Form))
def test_every_row_is_named_once_and_divides_among_its_associations(form: Form) -> None:
    steps = [step for group in plan(form) for step in group]
    assert len({step.label for step in steps}) == len(steps)
    assert all(step.instances >= step.associations and step.instances % step.associations == 0 for step in steps)


@pytest.mark.parametrize("form", list(Form))
def test_a_group_has_one_sender_and_kind_and_noctis_leads_it(form: Form) -> None:
    for group in plan(form):
        assert len({(step.sender, step.kind.name, step.associations) for step in group}) == 1
        assert group[0].receiver == "noctis"


def test_the_raw_copy_is_the_neighbour_of_the_rows_that_it_is_compared_with() -> None:
    for kind in (MR, CT):
        group = next(
            group
            for group in plan(Form.FULL)
            if (group[0].sender, group[0].kind, group[0].associations) == (Sender.LOAD, kind, 4)
        )
        assert [step.receiver for step in group][:2] == ["noctis", RAW]


def test_the_full_form_has_every_receiver_sender_and_number_of_associations() -> None:
    labels = {step.label for group in plan(Form.FULL) for step in group}
    for receiver in ("noctis", "noctis-fast", "orthanc", "storescp", "pynetdicom"):
        for sender in ("storescu", "storescu-nodelay", "load"):
            for kind in ("MR", "CT", "tiny"):
                assert {f"{receiver} {sender} {kind} {n}" for n in (1, 4, 16)} <= labels
        assert f"{receiver} load MG 1" in labels
        assert f"{receiver} load cine 1" in labels
        assert f"{receiver} load-per-instance MR 4" in labels


@pytest.mark.parametrize(
    ("text", "wanted"), [(" MR 1 ", False), (" MR 16 ", True), ("noctis load", True), ("noctis ", True), ("CT", False)]
)
def test_rows_are_chosen_by_a_part_of_their_name(text: str, wanted: bool) -> None:
    step = Step("noctis", Sender.LOAD, MR, 16, 16)
    assert _wanted(step.label, [text]) is wanted
    assert _wanted(step.label, None)
    assert _wanted(step.label, ["nothing", text]) is wanted
