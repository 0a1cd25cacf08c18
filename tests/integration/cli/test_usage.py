"""Usage against quota: what `facility`, `status` and `check` say of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from noctis.checks import findings
from noctis.config import load_settings
from noctis.db.engine import make_engine
from noctis.repository.queries import archived_usage
from noctis.repository.usage import Usage
from tests.integration.cli.conftest import Call
from tests.integration.cli.test_check import wrong
from tests.samples import write_study


@pytest.fixture(autouse=True)
def _a_clock_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "RELEASED", datetime(2020, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(findings, "_ntp", lambda: None)


@pytest.fixture
def filed(noctis: Call, home: Path, tmp_path: Path) -> int:
    """Two facilities, one with ten instances; their bytes."""
    noctis("facility", "add", "Central")
    noctis("facility", "add", "North")
    write_study(tmp_path / "a", 10)
    noctis("import", "central", tmp_path / "a")
    return sum(path.stat().st_size for path in home.rglob("media/**/*.dcm"))


def test_a_facility_shows_what_it_has_and_may_have(noctis: Call, filed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "10 instances, " in noctis("facility", "show", "central").out
    assert "no quota" in noctis("facility", "show", "central").out
    monkeypatch.setenv("NOCTIS_STORAGE__FACILITY_QUOTA_INSTANCES", "40")
    monkeypatch.setenv("NOCTIS_STORAGE__MAX_INSTANCE_BYTES", "5000000")
    noctis("facility", "edit", "central", "--quota-bytes", 2 * filed)
    shown = noctis("facility", "show", "central", "--json").json
    assert shown["limits"] == {"max_instance_bytes": 5000000, "quota_bytes": 2 * filed, "quota_instances": 40}
    assert shown["usage"] == {
        "instances": 10,
        "bytes": filed,
        "quota_instances": 40,
        "quota_bytes": 2 * filed,
        "instances_percent": 25.0,
        "bytes_percent": 50.0,
    }
    out = noctis("facility", "show", "central").out
    assert "10 of 40 instances (25.0 %), " in out
    assert "(50.0 %)" in out
    assert "5.0 MB" in out
    listed = {each["slug"]: each["usage"] for each in noctis("facility", "list", "--json").json}
    assert listed["central"] == shown["usage"]
    assert (listed["north"]["instances"], listed["north"]["instances_percent"]) == (0, 0.0)
    usage = noctis("status", "--json", code=1).json["usage"]
    assert usage["facilities"] == listed
    assert (usage["in_all"]["instances"], usage["in_all"]["quota_bytes"]) == (10, None)


def test_one_facility_is_summed_alone(noctis: Call, home: Path, filed: int, tmp_path: Path) -> None:
    write_study(tmp_path / "b", 2)
    noctis("import", "north", tmp_path / "b")
    ids = {each["slug"]: each["id"] for each in noctis("facility", "list", "--json").json}
    engine = make_engine(load_settings(options={"home": str(home)}), pooled=False)
    both = archived_usage(engine)
    assert both["central"] == Usage(10, filed)
    assert both["north"].instances == 2
    assert [archived_usage(engine, ids[slug]) for slug in both] == [{slug: usage} for slug, usage in both.items()]
    assert archived_usage(engine, 0) == {}
    engine.dispose()


def test_nearly_full_and_full_are_findings(noctis: Call, filed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "quota" not in wrong(noctis)
    noctis("facility", "edit", "central", "--quota-instances", 12)
    assert "quota" not in wrong(noctis)
    noctis("facility", "edit", "central", "--quota-instances", 11)
    (finding,) = wrong(noctis)["quota"]
    assert finding["text"] == "'Central' has used 90.9 % of the quota: 10 of 11 instances"
    assert "noctis facility edit central --quota-bytes" in finding["fix"]
    assert "central has used 90.9 % of its quota" in noctis("status", code=1).out
    noctis("facility", "edit", "central", "--quota-instances", "default", "--quota-bytes", filed)
    (finding,) = wrong(noctis)["quota"]
    assert finding["text"].endswith("C-STORE is answered A700")
    noctis("facility", "edit", "central", "--quota-bytes", "default")
    monkeypatch.setenv("NOCTIS_STORAGE__QUOTA_INSTANCES", "5")
    (finding,) = wrong(noctis)["quota"]
    assert finding["text"].startswith("all facilities together have used 200.0 %")
    assert "storage.quota_instances" in finding["fix"]
    monkeypatch.setenv("NOCTIS_STORAGE__QUOTA_INSTANCES", "0")
    assert "used 100.0 %" in wrong(noctis)["quota"][0]["text"]


def test_with_the_database_away_the_status_has_no_usage(
    noctis: Call, filed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOCTIS_STORAGE__QUOTA_INSTANCES", "5")
    monkeypatch.setenv("NOCTIS_DATABASE__URL", "postgresql://noctis@127.0.0.1:1/x")
    assert noctis("status", "--json", code=1).json["usage"] is None
    assert wrong(noctis).keys() >= {"database"}
