"""Every file that comes with pydicom, as it is and mutilated: the header is what pydicom reads."""

import random
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.multival import MultiValue

from noctis.repository.header import _FIELDS, HeaderError, read_header
from tests.unit.repository.header_data import in_memory, read

DATA = Path(pydicom.__file__).parent / "data"
TRUNCATED = {"MR_truncated.dcm": "(7FE0,0010)", "rtplan_truncated.dcm": "(300A,00B0)"}
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]


def _open(path: Path) -> tuple[bytes, str, pydicom.Dataset] | None:
    """The data set's bytes, its transfer syntax, and what pydicom reads; None for what is no DICOM file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, TypeError):
            return None
        with path.open("rb") as file:
            read_preamble(file, False)
            syntax = str(_read_file_meta_info(file).get("TransferSyntaxUID", ""))
            return file.read(), syntax, expected


def _files() -> dict[str, Path]:
    return {str(path.relative_to(DATA)): path for path in sorted(DATA.rglob("*")) if path.is_file()}


FILES = _files()


def plain(value: Any) -> str:
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_header_is_what_pydicom_reads(name: str) -> None:
    opened = _open(FILES[name])
    if opened is None:
        return
    data, syntax, expected = opened
    if FILES[name].name in TRUNCATED:
        with pytest.raises(HeaderError) as refusal:
            read(data, syntax)
        assert str(refusal.value) == f"the data set ends inside element {TRUNCATED[FILES[name].name]}"
        return
    header = read(data, syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag, (field, vr) in _FIELDS.items():
            if not field:
                continue
            value = expected[tag].value if tag in expected else None
            got = getattr(header, field)
            assert got == (value if vr == b"US" else plain(value)), field


def test_the_corpus_is_there() -> None:
    assert sum(_open(path) is not None for path in FILES.values()) > 150


SOME = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "nested_priv_SQ.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",
    "UN_sequence.dcm",
]


@pytest.fixture(scope="module")
def some() -> list[tuple[bytes, str]]:
    opened = [_open(DATA / "test_files" / name) for name in SOME]
    return [(entry[0][:20_000], entry[1]) for entry in opened if entry is not None]


@settings(max_examples=400, deadline=None)
@given(which=st.integers(0, len(SOME) - 1), seed=st.integers(0, 2**32), syntax=st.sampled_from(["", *SYNTAXES]))
def test_a_mutilated_file_gives_a_header_or_a_refusal(
    some: list[tuple[bytes, str]], which: int, seed: int, syntax: str
) -> None:
    chance = random.Random(seed)
    original, declared = some[which]
    data = bytearray(original)
    for _ in range(chance.randrange(12)):
        at = chance.randrange(min(len(data), chance.choice([200, 2000, len(data)])))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 4] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\0\xe0", b"\xff\xff\0\0"]
                )
            case 2:
                del data[at : at + chance.randrange(40)]
            case _:
                data[at:at] = data[at : at + chance.randrange(200)]
        if not data:
            data = bytearray(b"\0")
    del data[chance.randrange(len(data)) + 1 if chance.random() < 0.3 else len(data) :]
    _holds(bytes(data), syntax or declared)


@settings(max_examples=200, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=400),
        st.lists(
            st.sampled_from(
                [
                    b"\x08\0\x18\0UI\x04\x001.2\0",
                    b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff",
                    b"\x09\0\x10\x10UN\0\0\xff\xff\xff\xff",
                    b"\x09\0\x10\x10OB\0\0\xff\xff\xff\xff",
                    b"\x09\0\x10\x10\xff\xff\xff\xff",
                    b"\xfe\xff\0\xe0\xff\xff\xff\xff",
                    b"\xfe\xff\0\xe0\x08\0\0\0",
                    b"\xfe\xff\x0d\xe0\0\0\0\0",
                    b"\xfe\xff\xdd\xe0\0\0\0\0",
                    b"\x08\0\x05\0CS\x06\0\\ISO_I",
                    b"\x10\0\x10\0PN\x04\0A\0\xff\\",
                    b"\x28\0\x10\0US\x02\0\0\1",
                    b"\x28\0\x11\0??\x02\0\0\1",
                    b"\xe0\x7f\x10\0OW\0\0\2\0\0\0xx",
                ]
            ),
            max_size=30,
        ).map(b"".join),
    ),
    syntax=st.sampled_from(SYNTAXES),
)
def test_garbage_gives_a_header_or_a_refusal(data: bytes, syntax: str) -> None:
    _holds(data, syntax)


def _holds(data: bytes, syntax: str) -> None:
    with in_memory(data) as descriptor:
        try:
            header = read_header(descriptor, 0, syntax)
        except HeaderError:
            return
    for field, _ in _FIELDS.values():
        value = getattr(header, field) if field else ""
        if isinstance(value, str):
            assert "\0" not in value
            value.encode("utf-8")
    assert set(header.flags) <= {"charset", "syntax", "uid", "vr"}
