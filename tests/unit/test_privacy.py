"""The search for patients in what is written finds them."""

import os
from pathlib import Path

import pytest

from tests import privacy
from tests.samples import make_instance


@pytest.fixture(autouse=True)
def _a_patient() -> None:
    make_instance(study="1.2", series="1.2.1", name="Quennell^Isolde", patient_id="PAT-88123")


@pytest.mark.parametrize(
    "text",
    ["name=Quennell^Isolde", "the id PAT-88123 is", '{"name":"Quennell"}', "born 19700203", "Isolde"],
)
def test_a_patient_is_found(text: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="tells of a patient"):
        privacy.look(f"2026-01-01 info\n{text}\n", "a line")


@pytest.mark.parametrize("text", ["", "port 11112", "sop_instance_uid=1.2.19700203.5", "PAT-881234", "Quennells"])
def test_nothing_else_is(text: str) -> None:
    privacy.look(text, "a line")


def test_a_patient_called_as_a_facility_is_turned_away_at_once() -> None:
    with pytest.raises(ValueError, match="North"):
        make_instance(study="1.2", series="1.2.1", name="North^Own", patient_id="PAT-88124")


def test_files_for_people_are_searched_and_images_are_not(tmp_path: Path) -> None:
    for name in ("home/spool/central/new", "home/run/journal"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/spool/central/new/1.dcm").write_text("Quennell^Isolde")
    privacy.look_at_files(tmp_path)
    journal = tmp_path / "home/run/journal/central.jsonl"
    journal.write_text('{"reason": "Quennell^Isolde"}')
    with pytest.raises(pytest.fail.Exception, match=r"central\.jsonl tells of a patient"):
        privacy.look_at_files(tmp_path)
    journal.unlink()


def test_titles_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "_sent", {Path("/proc/self/comm").read_text().strip().split(":")[0]})
    monkeypatch.setattr(privacy, "_pattern", None)
    with pytest.raises(pytest.fail.Exception, match="the title of process"):
        privacy.look_at_processes([os.getpid()])
