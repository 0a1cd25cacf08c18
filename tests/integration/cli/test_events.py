"""What commands leave behind: queries without what was typed of patients, and what operators did."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from noctis.cli import events
from tests.integration.cli.conftest import Call
from tests.samples import make_instance, write_study


def left(home: Path) -> list[dict[str, Any]]:
    """What waits in the journals, in order."""
    lines = []
    for path in (home / "run" / "journal").glob("*.jsonl"):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
        path.unlink()
    return sorted(lines, key=lambda line: str(line["at"]))


def actions(home: Path) -> list[str]:
    return [line["action"] for line in left(home)]


def test_queries(noctis: Call, home: Path, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    noctis("import", "central", *write_study(tmp_path / "a", 1, study="1.2.3", patient_id="4711"))
    left(home)
    noctis("study", "list", "--facility", "central", "--patient", "4711", "--accession", "A1", "--modality", "CT")
    (query,) = left(home)
    assert query["action"] == "query.studies"
    assert query["slug"] == "central"
    assert query["actor"]
    asked = query["detail"]
    assert asked == {"fields": ["accession", "limit", "modality", "patient"], "limit": 50, "modality": "CT"}
    noctis("study", "show", "1.2.3")
    noctis("study", "show", "Doe^Jane", code=2)
    noctis("series", "list", "1.2.3")
    noctis("instance", "list", "--study", "1.2.3")
    noctis("quarantine", "list")
    noctis("quarantine", "show", "central", "none.dcm", code=2)
    found = left(home)
    assert [line["action"] for line in found] == [
        "query.study",
        "query.study",
        "query.series",
        "query.instances",
        "query.quarantine",
        "query.quarantined",
    ]
    assert found[0]["detail"]["study_instance_uid"] == "1.2.3"
    assert found[1]["detail"] == {"fields": ["study_instance_uid"]}  # whatever was typed there by mistake
    assert "none.dcm" not in json.dumps(found)


def test_what_an_operator_did(noctis: Call, home: Path, tmp_path: Path) -> None:
    noctis("db", "upgrade")
    (upgraded,) = noctis("event", "list", "--json").json  # written with the schema itself
    assert (upgraded["action"], upgraded["detail"]["before"]) == ("database.upgraded", None)
    left(home)
    noctis("facility", "add", "Central")
    folder = tmp_path / "Doe^Jane"
    noctis("import", "central", write_study(folder, 2)[0].parent)
    (imported,) = left(home)
    assert (imported["action"], imported["slug"], imported["detail"]["imported"]) == ("import.done", "central", 2)
    assert "Doe" not in json.dumps(imported)
    noctis("archive", "verify")
    noctis("archive", "reindex")
    noctis("db", "backup", tmp_path / "copy")
    noctis("db", "restore", tmp_path / "copy")
    found = left(home)
    expected = ["archive.verified", "archive.reindexed", "database.backed_up", "database.restored"]
    assert [line["action"] for line in found] == expected
    verified = found[0]["detail"]
    assert (verified["files"], verified["rows"], verified["findings"]) == (2, 2, {})
    assert noctis("db", "rebuild").out.endswith("2 instances are indexed anew from 2 files.\n")
    (rebuilt,) = left(home)
    assert (rebuilt["action"], rebuilt["detail"]) == (
        "database.rebuilt",
        {"files": 2, "rows": 2, "sound": True, "findings": {}},
    )
    shutil.copytree(home / "media" / "dicom_files" / "central", home / "media" / "dicom_files" / "unknown")
    out = noctis("db", "rebuild", code=1).out
    assert "1 unknown-facility" in out
    assert left(home)[0]["detail"]["findings"] == {"unknown-facility": 1}


def test_the_quarantine_tells_of_the_study(noctis: Call, home: Path, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    for number in range(2):
        dataset = make_instance(study="1.2.3", series="1.2.3.1", sop_instance="1.2.3.1.1", pixels=bytes([number]) * 512)
        dataset.save_as(tmp_path / f"{number}.dcm")
        noctis("import", "central", tmp_path / f"{number}.dcm")
    name = noctis("quarantine", "list", "--json").json[0]["name"]
    noctis("quarantine", "discard", "central", name, "--yes")
    (event,) = noctis("event", "list", "--action", "quarantine.disc", "--json").json
    assert event["detail"]["study_instance_uid"] == "1.2.3"
    assert noctis("event", "list", "--action", "quarantine.x", "--json").json == []
    assert noctis("event", "list", "--action", "%", "--json").json == []


def test_a_name_that_is_no_text(noctis: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert events._clean({"a": ["\udce4", 1, "x\0"], "b": None}) == {"a": ["?", 1, "x\ufffd"], "b": None}


def test_an_event_that_cannot_be_written(noctis: Call, home: Path, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    journal = home / "run" / "journal" / f"{events.JOURNAL}.jsonl"
    journal.unlink(missing_ok=True)
    journal.mkdir()
    answer = noctis("study", "list")
    assert answer.err == ""
    answer = noctis("db", "backup", tmp_path / "copy")
    assert "the event database.backed_up could not be written" in answer.err
