"""Whose patients were sent, and whether anything that the test run wrote tells of them.

Every sample that a test makes is noted here. After each test its logs are searched, captured output and files, and so
are journals, status files and the reasons beside quarantined files; what commands say on stderr, and all of `noctis
status` and `noctis check`, is searched when it is said (`look`). Archive, spool and database hold patients' data by
their nature and are not looked at.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

KEYWORDS = ("PatientName", "PatientID", "PatientBirthDate")
SHORTEST = 5  # characters: a shorter value is found in anything
SHORTEST_NUMBER = 7  # digits: a shorter one may be a port, a pid or a count
NAMES_OF_FACILITIES = frozenset({"Central", "Newer", "North", "Other", "South"})  # which stand in what is written
WRITTEN = ("*.log", "*/logs/*", "*/run/*", "*/run/journal/*", "*/quarantine/*/*.json")  # below a test's folder

_sent: set[str] = set()
_pattern: re.Pattern[str] | None = None


def sent(dataset: Dataset) -> None:
    """Note whose data this is."""
    sent_values(str(dataset.get(keyword, "")) for keyword in KEYWORDS)


def sent_values(values: Iterable[str]) -> None:
    """The same for values alone: a name and its components, an ID, a birth date.

    What could be a word of any text (letters alone, and no component of a name) is not noted: some collections of
    samples call their patients so. ValueError for a patient called as the tests call their facilities: every later
    test in the same process would find it.
    """
    global _pattern
    for value in values:
        words = [value, *(word for word in re.split(r"[\^=\\]", value) if "^" in value and word.istitle())]
        new = {word.strip() for word in words if _is_telling(word.strip(), of=value)}
        if taken := new & NAMES_OF_FACILITIES:
            raise ValueError(f"a patient of a test is called as facilities of tests are: {', '.join(taken)}")
        if not new <= _sent:
            _sent.update(new)
            _pattern = None


def _is_telling(word: str, *, of: str) -> bool:
    if word.isdigit():
        return len(word) >= SHORTEST_NUMBER
    return len(word) >= SHORTEST and not (word == of and word.isalpha())


def found_in(text: str) -> str | None:
    """The first of the noted values that stands in `text` as a word of its own."""
    global _pattern
    if not _sent:
        return None
    if _pattern is None:
        words = "|".join(re.escape(word) for word in sorted(_sent, key=len, reverse=True))
        _pattern = re.compile(rf"(?<![\w.])(?:{words})(?![\w.])")
    hit = _pattern.search(text)
    return hit[0] if hit else None


def look(text: str, where: str) -> None:
    """Fail the test if `text` tells of a patient."""
    hit = found_in(text)
    if hit is not None:
        line = next((line for line in text.splitlines() if found_in(line)), "")
        pytest.fail(f"{where} tells of a patient ({hit!r}): {line[:300]}", pytrace=False)


def look_at_files(folder: Path) -> None:
    """`look` at whatever was written below a test's folder for people and programs to read."""
    for pattern in WRITTEN:
        for path in folder.glob(pattern):
            if path.is_file():
                look(path.read_text(encoding="utf-8", errors="replace"), path.name)


def look_at_processes(pids: Iterable[int]) -> None:
    """`look` at the titles of processes."""
    for pid in pids:
        for name in ("comm", "cmdline"):
            try:
                title = Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:  # it has ended
                continue
            look(title, f"the title of process {pid}")
