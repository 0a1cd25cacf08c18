"""Data sets that pydicom writes, with any values and sequences in any encoding: the header is what pydicom reads."""

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from noctis.repository.header import _FIELDS, Header
from tests.unit.repository.header_data import read

LETTERS = st.text(
    st.characters(codec="utf-8", exclude_characters="\\\x1b=", exclude_categories=("Cc", "Cs")), max_size=12
)
LATIN = st.text(st.characters(codec="latin-1", exclude_characters="\\\x1b=", exclude_categories=("Cc",)), max_size=12)
JAPANESE = st.text(st.sampled_from("山田太郎やまだたろうABC "), max_size=8)
SETS = {
    "ISO_IR 192": LETTERS,
    "ISO_IR 100": LATIN,
    "GB18030": LETTERS,
    "\\ISO 2022 IR 87": JAPANESE,
    "": st.text("ABC xyz-", max_size=12),
}
VALUES: dict[bytes, st.SearchStrategy[Any]] = {
    b"UI": st.sampled_from(["1.2.3", "1.2.840.10008.5.1.4.1.1.2", "2.25." + "9" * 39, ""]),
    b"DA": st.sampled_from(["20240229", "", "2024.02.29"]),
    b"TM": st.sampled_from(["101112", "101112.123456", ""]),
    b"CS": st.sampled_from(["CT", "DERIVED", "", "M"]),
    b"IS": st.integers(-(2**31), 2**31 - 1).map(str),
    b"US": st.integers(0, 65535),
}


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 0) -> Dataset:
    result = Dataset()
    sets = draw(st.sampled_from(sorted(SETS)))
    result.add(DataElement(0x00080005, "CS", sets.split("\\") if "\\" in sets else sets))
    letters = SETS[sets]
    for tag in draw(st.sets(st.sampled_from(sorted(_FIELDS)))):
        field, vr = _FIELDS[tag]
        if not field:
            continue
        value = draw(VALUES.get(vr, letters))
        if vr == b"PN" and draw(st.booleans()):
            value = f"{value}^x={draw(letters)}={draw(letters)}"
        result.add(DataElement(tag, vr.decode(), value))
    for tag in draw(st.sets(st.sampled_from([0x00081140, 0x00082218, 0x00101002, 0x00400275, 0x52009230]), max_size=3)):
        items = draw(st.lists(data_sets(depth + 1), max_size=2)) if depth < 3 else []
        sequence = Sequence(items)
        sequence.is_undefined_length = draw(st.booleans())
        for each in items:
            each.is_undefined_length_sequence_item = draw(st.booleans())
        element = DataElement(tag, "SQ", sequence)
        element.is_undefined_length = sequence.is_undefined_length
        result.add(element)
    if draw(st.booleans()):
        result.add(DataElement(0x00090010, "LO", "OURS"))
        result.add(
            DataElement(0x00091001, draw(st.sampled_from(["UN", "OB", "UT"])), draw(st.sampled_from([b"", b"ab"])))
        )
    if depth == 0 and draw(st.booleans()):
        result.add(DataElement(0x7FE00010, "OW", b"\0" * draw(st.sampled_from([0, 2, 40_000]))))
    return result


def plain(value: Any) -> str:
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # on values that are odd on purpose
@settings(max_examples=120, deadline=None)
@given(
    data_set=data_sets(),
    encoding=st.sampled_from(
        [("1.2.840.10008.1.2", True, True), ("1.2.840.10008.1.2.1", False, True), ("1.2.840.10008.1.2.2", False, False)]
    ),
)
def test_the_header_is_what_pydicom_reads(data_set: Dataset, encoding: tuple[str, bool, bool]) -> None:
    syntax, implicit, little = encoding
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "UT" in (str(each.VR) for each in data_set) and not implicit:
            del data_set[0x00091001]
        write_dataset(buffer, data_set)
        buffer.seek(0)
        expected = read_dataset(buffer, implicit, little)
        fields: dict[str, Any] = {}
        for tag, (field, vr) in _FIELDS.items():
            if field:
                value = expected[tag].value if tag in expected else None
                fields[field] = value if vr == b"US" else plain(value)
    assert read(buffer.getvalue(), syntax) == Header(**fields)
