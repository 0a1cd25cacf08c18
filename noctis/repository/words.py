"""The words that a study is found by: its patient's name and ID, accession number, description and modalities.

Every word is lower-case ASCII letters and digits, transliterated (`Kováč` and `kovac` are one word, and so are 山田 and
what it is written as). A study has its words twice: as rows of `study_term`, to find the few studies that have a rare
one, and in one text of its own row (`Study.words`), to test it without looking elsewhere. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from anyascii import anyascii

WORD_MAX = 32  # characters of a word; the rest of a longer one does not count, neither stored nor asked for
WORDS_MAX = 12  # of one attribute
_WORD = re.compile(r"[a-z0-9]+")
_APART = str.maketrans("", "", "'`")  # O'Neill is one word

# What an attribute's words are marked with in `Study.words`.
PATIENT, ACCESSION, DESCRIPTION = "p", "a", "d"
_MARKED = (
    ("patient_name", PATIENT),
    ("patient_id", PATIENT),
    ("accession_number", ACCESSION),
    ("study_description", DESCRIPTION),
)
_NUMBERS = frozenset({"patient_id", "accession_number"})


def fold(text: str) -> list[str]:
    """The words of a text, in order, at most `WORDS_MAX`."""
    plain = text if text.isascii() else anyascii(text)
    found = _WORD.findall(plain.translate(_APART).lower())
    return [word[:WORD_MAX] for word in found[:WORDS_MAX]]


def study_words(row: Mapping[str, Any]) -> str:
    """`Study.words` of a study's attributes: ` p:doe p:jane p:4711 a:a1 d:chest `; a space at both ends."""
    found: dict[str, None] = {}
    for name, mark in _MARKED:
        words = fold(row[name])
        if name in _NUMBERS and len(words) > 1:
            words.append("".join(words)[:WORD_MAX])  # 12-345 is found as 12345 too
        found |= dict.fromkeys(f"{mark}:{word}" for word in words)
    return f" {' '.join(found)} " if found else ""


def terms(words: str, modalities: Iterable[str] = ()) -> set[str]:
    """The rows of `study_term` for a study with these words and modalities."""
    found = {word[2:] for word in words.split()}
    for modality in modalities:
        found.update(fold(modality))
    return found
