"""`noctis backup` and `noctis restore` as an operator calls them."""

from pathlib import Path

import pytest
import yaml

from tests.integration.cli.conftest import Call
from tests.postgres import PostgresServer
from tests.samples import write_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "backups"
    path.mkdir()
    return path


@pytest.fixture
def filled(noctis: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three instances of one facility."""
    monkeypatch.setattr("noctis.priority.lower", lambda: None)  # of the tests' own process
    noctis("facility", "add", "Central")
    write_study(tmp_path / "study", 3)
    noctis("import", "central", tmp_path / "study")
    (home / "noctis.yaml").write_text("# ours\nserver:\n  port: 11299\nstorage:\n  media: null\n")
    return home


def test_there_and_back(noctis: Call, filled: Path, folder: Path, tmp_path: Path) -> None:
    assert noctis("backup", tmp_path / "none", code=2).err.count("fix: ") == 1
    out = noctis("backup", folder).out
    assert "3 instances (3 copied" in out
    again = noctis("backup", folder, "--keep", "1", "--json").json
    assert (again["copied"], again["unchanged"], len(again["pruned"])) == (0, 3, 1)
    assert (
        "not empty" in noctis("restore", folder, code=2).err + noctis("--home", folder, "restore", folder, code=1).err
    )
    new = tmp_path / "new"
    answer = noctis("--home", new, "restore", folder)
    assert "3 instances, 0 in the spool, 0 in quarantine" in answer.out
    assert "archive verify finds nothing wrong" in answer.out
    assert f"check: home was {filled}, is {new}" in answer.out
    assert (new / "noctis.yaml").read_text() == (filled / "noctis.yaml").read_text()
    assert noctis("--home", new, "config", "show", "--json").json["settings"]["server"]["port"] == 11299
    assert [row["slug"] for row in noctis("--home", new, "facility", "list", "--json").json] == ["central"]
    assert noctis("--home", new, "archive", "verify").code == 0


def test_damage_is_told_by_both(noctis: Call, filled: Path, folder: Path, tmp_path: Path) -> None:
    (first, *_) = sorted((filled / "media").rglob("*.dcm"))
    first.unlink()
    answer = noctis("backup", folder, code=1)
    assert f"missing archive/{first.relative_to(filled / 'media' / 'dicom_files')}" in answer.err
    assert "3 instances (2 copied" in answer.out
    answer = noctis("--home", tmp_path / "new", "restore", folder, code=1)
    assert "2 instances" in answer.out
    assert "missing archive/central" in answer.err
    assert "finds nothing else" in answer.out


@pytest.mark.usefixtures("filled")
def test_into_postgresql(noctis: Call, folder: Path, tmp_path: Path, postgres: PostgresServer) -> None:
    noctis("backup", folder)
    name = postgres.create()
    new, url = tmp_path / "new", postgres.url(name)
    answer = noctis("--home", new, "restore", folder, "--database-url", url)
    assert "archive verify finds nothing wrong" in answer.out
    written = yaml.safe_load((new / "noctis.yaml").read_text())
    assert written["database"]["url"] == url
    assert written["server"]["port"] == 11299
    assert (new / "noctis.yaml.from-backup").read_text().startswith("# ours")
    assert not (new / "noctis.db").exists()
    assert len(noctis("--home", new, "study", "list", "--json").json) == 1
    assert noctis("--home", new, "backup", folder, "--json").json["instances"] == 3
    postgres.drop(name)
