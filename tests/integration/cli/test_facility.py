"""`noctis facility` and `noctis device`: what is done, and how bad input is explained."""

import shlex
from pathlib import Path

import pytest

from noctis.errors import SupervisorError
from noctis.supervisor.control import Control
from tests.integration.cli.conftest import Call
from tests.samples import write_study


def test_add_prints_the_onboarding_card(noctis: Call) -> None:
    out = noctis("facility", "add", "Central Hospital", "--device", "CT1@10.0.0.0/8", "--phone", "123").out
    for word in ("port", "11113", "called AE title", "CENTRALHOSP", "echoscu", "storescu", "-aet CT1"):
        assert word in out


def test_json_has_what_others_build_on(noctis: Call) -> None:
    added = noctis("facility", "add", "Žilina", "--ae-title", "ZILINA", "--port", 20000, "--json").json
    assert {"id", "name", "slug", "ae_title", "port", "enabled", "listener"} <= added.keys()
    assert (added["name"], added["slug"], added["ae_title"], added["port"], added["enabled"]) == (
        "Žilina",
        "zilina",
        "ZILINA",
        20000,
        True,
    )
    assert added["onboarding"]["echoscu"].startswith("echoscu -v -aet ZILINA -aec ZILINA ")
    (listed,) = noctis("facility", "list", "--json").json
    assert {key: listed[key] for key in ("id", "slug", "port")} == {key: added[key] for key in ("id", "slug", "port")}
    assert noctis("facility", "show", "zilina", "--json").json["ae_title"] == "ZILINA"


def test_a_facilitys_life(noctis: Call) -> None:
    noctis("facility", "add", "Central")
    noctis("facility", "edit", "central", "--name", "Central East", "--workers", 2, "--conflict", "replace")
    shown = noctis("facility", "show", "central", "--json").json
    assert (shown["name"], shown["workers"], shown["conflict"]) == ("Central East", 2, "replace")
    noctis("facility", "edit", "central", "--conflict", "default", "--quarantine-max", "5")
    assert noctis("facility", "show", "central", "--json").json["quarantine_max_instances"] == 5
    noctis("facility", "disable", "central")
    assert "disabled" in noctis("facility", "list").out
    noctis("facility", "enable", "central")
    noctis("device", "add", "central", "CT1@10.0.0.0/8")
    assert "10.0.0.0/8" in noctis("device", "list").out
    noctis("device", "remove", "central", "CT1")
    assert noctis("device", "list", "central", "--json").json == []
    noctis("facility", "remove", "central")
    assert noctis("facility", "list", "--json").json == []
    assert "removed" in noctis("facility", "list", "--removed").out
    noctis("facility", "restore", "central")
    actions = [row["action"] for row in noctis("event", "list", "--json").json]
    assert actions[0] == "facility.restored"
    assert "device.added" in actions


def test_the_listeners_are_told(noctis: Call, home: Path) -> None:
    noctis("facility", "add", "Central", "--ae-title", "CENTRAL")
    assert '"ae_title":"CENTRAL"' in (home / "run" / "facilities.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["facility", "show", "centrl"], ["No facility found for 'centrl'", "did you mean central"]),
        (["facility", "add", "X", "--ae-title", "A" * 17], ["17 characters"]),
        (["facility", "add", "X", "--ae-title", "A\\B"], ["not allow", "'\\\\'"]),
        (["facility", "add", "X", "--ae-title", "CENTRAL"], ["taken by 'Central'"]),
        (["facility", "add", "X", "--ae-title", "CT1"], ["taken by a device of 'Central'"]),
        (["facility", "add", "X", "--port", "0"], ["out of range"]),
        (["facility", "add", "X", "--port", "70000"], ["out of range"]),
        (["facility", "add", "X", "--port", "20000"], ["taken by 'Central'"]),
        (["facility", "add", "X", "--port", "11112"], ["default listener"]),
        (["facility", "add", "X", "--port", "many"], ["not a valid integer"]),
        (["facility", "add", ""], ["must not be empty"]),
        (["facility", "add", "central"], ["'Central' already"]),
        (["facility", "add", "X", "--device", "CT2@nonsense"], ["network of 'CT2@nonsense' is not valid"]),
        (["facility", "add", "X", "--workers", "0"], ["workers is 0"]),
        (["facility", "edit", "central"], ["nothing to change"]),
        (["facility", "edit", "central", "--quarantine-max", "many"], ["neither a number"]),
        (["device", "add", "central", "CT9@10.0.0.0/99"], ["not valid"]),
        (["device", "remove", "central", "NONE"], ["has no device NONE", "CT1"]),
        (["facility", "test"], ["name a facility"]),
        (["study", "show", "1.2.3"], ["no study"]),
        (["study", "list", "--date", "yesterday"], ["is no date"]),
        (["quarantine", "show", "central", "x.dcm"], ["no such instance"]),
        (["faclity", "list"], ["Did you mean 'facility'"]),
        (["db", "restore", "/nowhere"], ["there is no file"]),
        (["import", "central", "/nowhere"], ["no file or folder"]),
    ],
)
def test_bad_input_is_explained(noctis: Call, arguments: list[str], words: list[str]) -> None:
    noctis("facility", "add", "Central", "--ae-title", "CENTRAL", "--port", "20000", "--device", "CT1")
    answer = noctis(*arguments, code=2)
    for word in words:
        assert word in answer.err
    assert [row["slug"] for row in noctis("facility", "list", "--json").json] == ["central"]


def test_what_needs_a_supervisor_says_how_to_start_one(noctis: Call) -> None:
    noctis("facility", "add", "Central")
    for arguments in (["reload"], ["supervisorctl", "status"]):
        answer = noctis(*arguments, code=1)
        assert "no supervisor runs" in answer.err
        assert "noctis supervise" in answer.err
    status = noctis("status", "--json", code=1).json
    assert status["supervisor"]["running"] is False
    assert status["spool"] == {"pending": 0, "oldest_seconds": None, "bytes": 0}
    assert status["database"]["reachable"]
    assert "no supervisor runs" in noctis("status", code=1).out


def test_an_echo_that_nobody_answers(noctis: Call) -> None:
    noctis("facility", "add", "Central", "--port", "20001")
    assert "nobody answers" in noctis("facility", "test", "central", code=1).out


def test_the_lines_to_try_can_be_pasted(noctis: Call) -> None:
    added = noctis("facility", "add", "Central", "--ae-title", "MY $TITLE", "--device", "CT 1", "--json").json
    card = added["onboarding"]
    words = shlex.split(card["echoscu"])
    assert words == ["echoscu", "-v", "-aet", "CT 1", "-aec", "MY $TITLE", card["host"], str(added["port"])]
    assert shlex.split(card["storescu"])[-1] == "FOLDER"
    assert card["calling_ae_titles"] == ["MY $TITLE", "CT 1"]
    assert card["default_port"]["called_ae_title"] == "NOCTIS_SERVER"


def test_edit_switches_a_facility_off_and_on(noctis: Call) -> None:
    noctis("facility", "add", "Central")
    assert noctis("facility", "edit", "central", "--disabled", "--json").json["enabled"] is False
    assert "is disabled" in noctis("facility", "test", "central", code=2).err
    assert "is disabled" in noctis("listen", "central", code=2).err
    assert noctis("facility", "edit", "central", "--enabled", "--json").json["enabled"] is True


def test_one_with_studies_is_removed_only_when_told(noctis: Call, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    write_study(tmp_path / "a", 1)
    noctis("import", "central", tmp_path / "a")
    answer = noctis("facility", "remove", "central", code=2)
    assert "'Central' has 1 study" in answer.err
    assert "--keep-studies" in answer.err
    noctis("facility", "remove", "central", "--keep-studies")
    assert len(noctis("study", "list", "--json").json) == 1


def test_a_supervisor_that_ends_meanwhile_is_no_failure(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: object) -> None:
        raise SupervisorError("no supervisor runs")

    monkeypatch.setattr(Control, "is_running", lambda self: True)
    monkeypatch.setattr(Control, "status", gone)
    monkeypatch.setattr(Control, "reconcile", gone)
    answer = noctis("facility", "add", "Central", "--json")
    assert answer.json["listener"] is None
    assert "it will follow by itself" in answer.err
    monkeypatch.setattr(Control, "reconcile", lambda self: {})
    assert noctis("facility", "add", "North", "--json").json["listener"] is None
