"""The systemd unit, by systemd's own tools, and its installation below a folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from noctis.config import load_settings
from tests.support import environment

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "noctis.service"
COMMAND = Path(sys.executable).parent / "noctis"
EXPOSURE_MAX = 2.0


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, capture_output=True, text=True, check=False, cwd=cwd, env=environment(), timeout=250
    )


def settings_of_unit() -> dict[str, str]:
    pairs = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(pairs)


def verify(folder: Path, text: str) -> str:
    """What `systemd-analyze verify` finds wrong with the unit `text`; its program is the one of these tests."""
    unit = folder / "noctis.service"
    unit.write_text(text.replace("/opt/noctis/.venv/bin/noctis", str(COMMAND)), encoding="utf-8")
    done = run("systemd-analyze", "verify", "--man=no", unit)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "noctis" in line]
    if done.returncode and not lines:
        lines = [f"exit code {done.returncode}: {done.stderr}"]
    return "\n".join(lines)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    assert verify(tmp_path, text) == ""
    assert "Unknown key" in verify(tmp_path, text.replace("WatchdogSec", "WatchDogSecs"))


def test_the_unit_is_hardened() -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for noctis\.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE_MAX


def test_the_unit_gives_time_to_drain() -> None:
    unit = settings_of_unit()
    assert float(unit["TimeoutStopSec"]) >= 2 * (load_settings().listeners.drain_seconds + 5) + 10


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("Restart", "always"),
        ("RestartSec", "3"),
        ("KillMode", "mixed"),
        ("User", "noctis"),
        ("UMask", "0077"),
        ("StateDirectory", "noctis"),
        ("StateDirectoryMode", "0700"),
        ("ExecStart", "/opt/noctis/.venv/bin/noctis --config /etc/noctis/noctis.yaml supervise"),
        ("ExecReload", "/bin/sh -c 'kill -HUP \"$MAINPID\"'"),
    ],
)
def test_what_operations_rely_on(key: str, value: str) -> None:
    assert settings_of_unit()[key] == value


# -- scripts/install-systemd


def install(*options: str) -> subprocess.CompletedProcess[str]:
    return run(ROOT / "scripts" / "install-systemd", *options, cwd=Path("/"))


def test_a_dry_run_names_everything_and_makes_nothing(tmp_path: Path) -> None:
    done = install("--dry-run", "--root", str(tmp_path / "image"))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "image").exists()
    for path in (
        "/etc/noctis/noctis.yaml",
        "/etc/systemd/system/noctis.service",
        "/etc/logrotate.d/noctis",
        "/usr/local/bin/noctis",
        "/opt/noctis/releases/",
    ):
        assert f"{tmp_path}/image{path}" in done.stdout


def test_a_dry_run_of_the_real_thing_names_user_and_service() -> None:
    done = install("--dry-run")
    assert done.returncode == 0, done.stderr
    for command in ("systemctl daemon-reload", "systemctl enable noctis.service", "systemctl restart noctis.service"):
        assert f"would run: {command}" in done.stdout


def test_an_unknown_option_is_refused() -> None:
    done = install("--rot", "x")
    assert done.returncode != 0
    assert "unknown option --rot" in done.stderr


def test_installing_twice_is_installing_once(tmp_path: Path) -> None:
    image = tmp_path / "image"
    for older in ("0.0.1-before", "0.0.0-long-ago"):
        (image / "opt/noctis/releases" / older).mkdir(parents=True)
    (image / "opt/noctis/.venv").symlink_to("releases/0.0.1-before")
    done = install("--root", str(image))
    assert done.returncode == 0, done.stderr
    assert (image / "etc/systemd/system/noctis.service").read_text() == UNIT.read_text()
    assert (image / "etc/logrotate.d/noctis").read_text() == (ROOT / "config/logrotate.d/noctis").read_text()
    settings = image / "etc/noctis/noctis.yaml"
    assert settings.stat().st_mode & 0o777 == 0o640
    assert load_settings(settings).home == Path("/var/lib/noctis")
    version = run(image / "opt/noctis/.venv/bin/noctis", "--version", cwd=tmp_path)
    assert version.returncode == 0, version.stderr
    where = run(image / "opt/noctis/.venv/bin/python", "-c", "import noctis; print(noctis.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(image))
    assert os.access(image / "usr/local/bin/noctis", os.X_OK)

    settings.write_text("home: /srv/noctis\n")
    release = (image / "opt/noctis/.venv").readlink()
    made = (image / "opt/noctis" / release).stat().st_ino
    assert install("--root", str(image)).returncode == 0
    assert settings.read_text() == "home: /srv/noctis\n"
    assert (image / "opt/noctis/.venv").readlink() == release
    assert (image / "opt/noctis" / release).stat().st_ino == made
    assert {path.name for path in (image / "opt/noctis/releases").iterdir()} == {"0.0.1-before", release.name}
