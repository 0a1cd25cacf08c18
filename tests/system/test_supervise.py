"""The supervisor as a whole: start, stop, reload, and what it says of itself."""

from tests.system import senders
from tests.system.conftest import Noctis


def test_a_facility_added_by_anybody_answers(noctis: Noctis) -> None:
    facility = noctis.add("Central Hospital")
    noctis.wait_listener(facility.slug)
    assert senders.echoscu(facility.port, facility.ae_title)
