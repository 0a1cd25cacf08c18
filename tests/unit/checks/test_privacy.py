"""What group or others could read, and that looking for it is bounded."""

import os
from pathlib import Path

import pytest

from noctis.checks import privacy
from noctis.checks.privacy import readable_by_others
from noctis.config import load_settings
from noctis.home import Home


def make(tmp_path: Path, media: Path | None = None) -> Home:
    storage = {"media": str(media)} if media else {}
    made = load_settings(options={"home": str(tmp_path / "home"), "storage": storage}).paths
    before = os.umask(0o077)
    made.create()
    os.umask(before)
    return made


def private(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    return path


def test_a_home_as_it_is_made(tmp_path: Path) -> None:
    home = make(tmp_path)
    private(home.media / "central" / "1.dcm")
    (home.run / "link").symlink_to(home.media)
    assert list(readable_by_others(home)) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_files_wherever_they_lie(tmp_path: Path, mode: int) -> None:
    home = make(tmp_path)
    for place in ("noctis.db", "noctis.db-wal", "noctis.db.before-0002", "spool/central/new/1.dcm", "logs/noctis.log"):
        path = home.root / place
        private(path).chmod(mode)
        for folder in path.relative_to(home.root).parents:
            (home.root / folder).chmod(0o700)
        ((text, fix),) = readable_by_others(home)
        assert text == f"{path} can be read by others"
        top = home.root if "/" not in place else home.root / place.split("/")[0]
        assert fix == f"chmod -R go= {top}"
        path.unlink()


def test_an_archive_on_a_disk_of_its_own(tmp_path: Path) -> None:
    media = tmp_path / "disk"
    home = make(tmp_path, media)
    media.chmod(0o750)
    assert list(readable_by_others(home)) == [(f"{media} can be read by others", f"chmod 700 {media}")]
    media.chmod(0o700)
    for number in range(3):
        private(media / "central" / f"{number}.dcm").chmod(0o644)
    (media / "central").chmod(0o700)
    ((text, fix),) = readable_by_others(home)
    assert text.endswith("can be read by others, and so can 2 more of those looked at")
    assert fix == f"chmod -R go= {media}"


def test_looking_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(tmp_path)
    before = os.umask(0o077)
    for study in range(40):
        (home.media / "central" / str(study)).mkdir(parents=True)
        for number in range(40):
            (home.media / "central" / str(study) / str(number)).touch()
    os.umask(before)
    looked: list[Path] = []
    monkeypatch.setattr(privacy, "_open", lambda path: bool(looked.append(path)))
    assert list(readable_by_others(home)) == []
    assert len(looked) < 700  # of 1640


def test_what_cannot_be_looked_into(tmp_path: Path) -> None:
    home = make(tmp_path)
    home.quarantine.rmdir()
    assert list(readable_by_others(home)) == []
