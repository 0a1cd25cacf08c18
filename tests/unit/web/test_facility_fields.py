"""What is typed into a facility's form, and what it means."""

from datetime import UTC, datetime
from typing import Any

import pytest

from noctis.errors import UsageError
from noctis.facilities.records import FacilityRecord
from noctis.web import facility_fields as fields

NOTHING = dict.fromkeys(FacilityRecord.__dataclass_fields__)


def record(**values: Any) -> FacilityRecord:
    known = {"id": 1, "name": "Central", "slug": "central", "ae_title": "CENTRAL", "port": 11113, "enabled": True}
    known |= {"workers": 1, "created_at": datetime.now(UTC), "devices": ()}
    return FacilityRecord(**(NOTHING | known | values))


def test_only_what_differs_is_a_change() -> None:
    typed = fields.shown(record(quota_bytes=500)) | {"port": "11200", "conflict": "replace", "quota_bytes": ""}
    form = fields.read(typed, record(quota_bytes=500))
    assert form.changes == {"port": 11200, "conflict": "replace", "quota_bytes": None}
    assert form.problems == {}
    assert fields.read(fields.shown(record()), record()).changes == {}


def test_every_field_says_for_itself_what_is_wrong() -> None:
    form = fields.read({"port": "eleven", "workers": "1.5", "max_associations": "-1", "quota_bytes": "much"}, record())
    assert set(form.problems) == {"port", "workers", "max_associations", "quota_bytes"}
    assert form.changes == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("1.5 GB", 1_500_000_000), ("2TiB", 2 << 40), ("10 kb", 10_000), ("0.001 kB", 1)],
)
def test_sizes(text: str, size: int) -> None:
    assert fields.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1.5.2", "-5", "1e3", "5 parsecs", "٣", "9" * 50])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        fields.parse_bytes(text)


def test_the_stamp_is_another_one_when_any_value_is() -> None:
    assert fields.stamp(record()) == fields.stamp(record())
    assert fields.stamp(record()) != fields.stamp(record(phone="1"))
