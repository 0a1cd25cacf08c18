"""Structured reports and waveforms, out of pydicom's samples and made here."""

from pathlib import Path

import pydicom.data
import pytest
from pydicom.dataset import Dataset

from noctis.repository.elements import read_elements, read_open
from noctis.repository.report import ITEMS_MAX, TEXT_MAX, Item, Report, report
from noctis.repository.waveforms import waveforms
from tests.samples import make_instance

ROOT = Path(pydicom.data.__file__).parent / "test_files"


def read(path: Path) -> Report:
    with path.open("rb") as file:
        found = report(read_open(file.fileno(), long=TEXT_MAX).elements)
    assert found is not None
    return found


def code(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def content(kind: str, name: str = "", **attributes: object) -> Dataset:
    made = Dataset()
    made.ValueType, made.RelationshipType = kind, "CONTAINS"
    if name:
        made.ConceptNameCodeSequence = [code("1", "DCM", name)]
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def written(tmp_path: Path, *items: Dataset, **attributes: object) -> Path:
    made = make_instance(study="1.2.3", series="1.2.3.1", modality="SR", pixels=b"")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    made.ValueType = "CONTAINER"
    made.ConceptNameCodeSequence = [code("18748-4", "LN", "Imaging Report")]
    made.ContentSequence = list(items)
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    path = tmp_path / "x.dcm"
    made.save_as(path)
    return path


def one(tmp_path: Path, item: Dataset) -> Item:
    return read(written(tmp_path, item)).root.items[0]


def test_a_sample_with_every_kind_of_item() -> None:
    found = read(ROOT / "test-SR.dcm")
    assert (found.completed, found.verified, found.left_out) == ("COMPLETE", "VERIFIED", 0)
    assert found.verifiers[0] == ("Riesmeier^Jörg", "OFFIS e.V.", "2001-02-13 18:47:46")
    root = found.root
    assert (root.number, root.kind, root.name, root.name_code) == ("1", "CONTAINER", "Diagnosis", "1111, TEST")
    uid, section, text, composite, image, *_ = root.items
    assert (uid.kind, uid.relation, uid.value) == ("UIDREF", "HAS OBS CONTEXT", "1.2.3.4.5")
    assert [each.number for each in section.items] == ["1.2.1", "1.2.2", "1.2.3", "1.2.4"]
    assert (section.items[1].value, section.items[1].value_code) == ("3 Length Unit", "cm, 99_OFFIS_DCMTK")
    assert section.items[0].items[0].value == "Sample Code 1"
    assert [each.value for each in text.items[1:3]] == ["circle 0, 0, 255, 255", "segment 1.000000, 2.500000 seconds"]
    assert text.items[2].items[0].other == "1.3.2"
    assert [each.value for each in composite.items] == ["2000-12-06", "12:00:00", "2000-12-06 12:00:00"]
    assert (image.instance, image.value) == ("1.2.3.4.5.0", "CT Image, frames 5, 2")
    assert found.instances == {"9.8.7.6", "1.2.3.4.5", "1.2.3.4.0.1", "1.2.3.4.5.0"}


@pytest.mark.parametrize(
    ("number", "unit", "expected"),
    [
        ("12.5", ("mm", "UCUM", "millimeter"), "12.5 mm"),
        ("3", ("1", "UCUM", "no units"), "3"),
        ("0.5", ("{ratio}", "UCUM", "ratio"), "0.5 ratio"),
        ("2", ("99", "99X", "Furlong"), "2 Furlong"),
    ],
)
def test_a_number_has_its_unit(number: str, unit: tuple[str, str, str], expected: str, tmp_path: Path) -> None:
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = number, [code(*unit)]
    assert one(tmp_path, content("NUM", "Length", MeasuredValueSequence=[measured])).value == expected


def test_a_number_that_could_not_be_measured_says_why(tmp_path: Path) -> None:
    why = [code("114006", "DCM", "Measurement failure")]
    item = content("NUM", "Length", MeasuredValueSequence=[], NumericValueQualifierCodeSequence=why)
    assert one(tmp_path, item).value == "Measurement failure"


def test_a_long_text_is_there_whole_and_all_of_them_are_bounded(tmp_path: Path) -> None:
    words = "word " * 4000
    found = read(written(tmp_path, content("TEXT", "Findings", TextValue=words)))
    assert found.root.items[0].value == words.strip()
    most = "x" * (TEXT_MAX // 4)
    found = read(written(tmp_path, *(content("TEXT", "Findings", TextValue=most) for _ in range(8))))
    shown = sum(len(each.value) for each in found.root.items)
    assert TEXT_MAX - 10_000 < shown < TEXT_MAX + 10_000
    assert found.root.items[-1].value.endswith(" …")


def test_more_items_than_are_shown_are_counted(tmp_path: Path) -> None:
    many = [content("TEXT") for _ in range(ITEMS_MAX + 10)]
    found = read(written(tmp_path, *many))
    assert (len(found.root.items), found.left_out) == (ITEMS_MAX - 1, 11)


def test_an_item_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    item = content("TEXT", "Findings", TextValue="all is well")
    del item.ValueType
    assert one(tmp_path, item).value == "all is well"


def test_what_is_no_report_is_none() -> None:
    assert report(read_elements(ROOT / "CT_small.dcm").elements) is None


def test_waveforms_in_numbers() -> None:
    rhythm, median = waveforms(read_elements(ROOT / "waveform_ecg.dcm").elements)
    assert (rhythm.label, rhythm.channels, rhythm.samples, rhythm.seconds) == ("RHYTHM", 12, 10000, 10.0)
    assert (median.label, median.seconds) == ("MEDIAN BEAT", 1.2)
    assert rhythm.names[:2] == ("Lead I (Einthoven)", "Lead II")
    assert waveforms(read_elements(ROOT / "CT_small.dcm").elements) == []


def test_waveforms_that_say_nonsense(tmp_path: Path) -> None:
    item, other = Dataset(), Dataset()
    other.MultiplexGroupLabel = "nothing"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples, item.SamplingFrequency = 65535, 1, "0"
    path = written(tmp_path, WaveformSequence=[item, other, Dataset()])
    first, second = waveforms(read_elements(path).elements)
    assert (first.channels, first.seconds, first.names) == (65535, 0.0, ())
    assert (second.channels, second.samples) == (0, 0)
