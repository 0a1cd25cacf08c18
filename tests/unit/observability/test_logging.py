"""The log file: rotated away, forked, and never another file's."""

import io
import json
import os
from pathlib import Path

import pytest
import structlog
from pydicom.config import WARN
from pydicom.dataelem import DataElement

from noctis.home import Home
from noctis.observability.logging import LOG_FILE, configure
from noctis.sections import LoggingSettings


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logging is set up to write there too."""
    monkeypatch.setattr("sys.stdout", io.StringIO())
    home = Home(tmp_path, tmp_path / "media")
    home.logs.mkdir()
    configure(LoggingSettings(file=True), home=home)
    return home.logs / LOG_FILE


def events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_that_was_moved_is_opened_anew(log_file: Path) -> None:
    log = structlog.get_logger()
    log.info("first")
    moved = log_file.rename(log_file.with_suffix(".1"))
    log.info("second")
    assert (events(moved), events(log_file)) == (["first"], ["second"])
    assert log_file.stat().st_mode & 0o777 == 0o600


def test_a_child_that_closed_what_it_inherited_writes_to_no_other_file(log_file: Path, tmp_path: Path) -> None:
    """Its descriptor's number may be an image's by then."""
    structlog.get_logger().info("of the parent")
    image = tmp_path / "image.dcm"
    child = os.fork()
    if child == 0:
        try:
            os.closerange(3, 256)
            opened = [os.open(image, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(3, 256)]
            structlog.get_logger().info("of the child", opened=len(opened))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert image.read_bytes() == b""
    assert events(log_file) == ["of the parent", "of the child"]


def test_a_file_that_cannot_be_written_stops_nothing(log_file: Path) -> None:
    log = structlog.get_logger()
    log_file.parent.rmdir()
    log.info("lost")
    log_file.parent.mkdir()
    log.info("back")
    assert events(log_file) == ["back"]


def test_what_is_unprintable_is_escaped(log_file: Path) -> None:
    structlog.get_logger().info("said", title="a\nb \x1b[2J \x9b \u202e é")
    (line,) = log_file.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["title"] == r"a\nb \x1b[2J \x9b \u202e é"


@pytest.mark.usefixtures("log_file")
def test_pydicom_s_warnings_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """They have the value in them that they warn of."""
    DataElement(0x00080018, "UI", "Doe^Jane", validation_mode=WARN)
    assert "Jane" not in capsys.readouterr().err


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_traceback_tells_no_values(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be a password, a token, a patient's."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)
    configure(LoggingSettings.model_validate({"format": format}))

    def fail(given: str) -> None:
        raise RuntimeError("a fault")

    try:
        fail("Zyx" + "wvut")
    except RuntimeError as error:
        structlog.get_logger().error("web.fault", exc_info=error)
    assert "a fault" in written.getvalue()
    assert "Traceback" in written.getvalue()
    assert "Zyxwvut" not in written.getvalue()
