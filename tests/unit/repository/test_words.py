"""Words that studies are found by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.repository.words import WORD_MAX, WORDS_MAX, fold, study_words, terms

EMPTY = dict.fromkeys(("patient_name", "patient_id", "accession_number", "study_description"), "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Doe^Jane^^Dr.", ["doe", "jane", "dr"]),
        ("Kováč^Ľubomír", ["kovac", "lubomir"]),
        ("O'Neill", ["oneill"]),
        ("O’Neill", ["oneill"]),
        ("Müller-Lüdenscheid", ["muller", "ludenscheid"]),
        ("ИВАНОВ", ["ivanov"]),
        ("山田^太郎", fold("山田") + fold("太郎")),
        ("CT\\SR", ["ct", "sr"]),
        ("*", []),
        ("", []),
        ("\0\ufffd\ud800", []),
        ("x" * 100, ["x" * WORD_MAX]),
    ],
)
def test_folding(text: str, words: list[str]) -> None:
    assert fold(text) == words


@given(st.text(max_size=400))
def test_words_are_few_short_and_plain(text: str) -> None:
    words = fold(text)
    assert len(words) <= WORDS_MAX
    assert all(word.isascii() and word.isalnum() and word == word.lower() and len(word) <= WORD_MAX for word in words)
    assert fold(" ".join(words)) == words


def test_words_of_a_study_are_marked_with_where_they_are_from() -> None:
    row = EMPTY | {
        "patient_name": "Doe^Jane",
        "patient_id": "PAT-1",
        "accession_number": "A1",
        "study_description": "X",
    }
    assert study_words(row) == " p:doe p:jane p:pat p:1 p:pat1 a:a1 d:x "
    assert study_words(EMPTY) == ""


def test_a_study_is_found_by_each_word_once() -> None:
    words = study_words(EMPTY | {"patient_name": "Ct^Ct", "study_description": "CT chest"})
    assert terms(words, ["CT", "SR", ""]) == {"ct", "chest", "sr"}
