"""The command line in this process, on a home of its own, without a supervisor."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from noctis.cli import run
from noctis.home import UMASK
from tests import privacy


@dataclass(frozen=True)
class Answer:
    """What a call gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Answer]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "home"
    monkeypatch.setenv("NOCTIS_HOME", str(path))
    monkeypatch.setenv("NOCTIS_STORAGE__RESERVE_BYTES", "0")
    before = os.umask(UMASK)  # as the command's own process has it
    yield path
    os.umask(before)


@pytest.fixture
def noctis(home: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call `noctis …`."""

    def call(*arguments: str | Path | int, code: int | None = 0) -> Answer:
        found = run([str(word) for word in arguments])
        captured = capsys.readouterr()
        answer = Answer(found, captured.out, captured.err)
        assert "Traceback" not in answer.out + answer.err
        privacy.look(answer.err, "stderr")
        if {"status", "check"} & {str(word) for word in arguments}:
            privacy.look(answer.out, f"noctis {arguments[0]}")
        if code is not None:
            assert answer.code == code, answer
        return answer

    return call
