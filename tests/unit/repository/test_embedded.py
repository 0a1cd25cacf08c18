"""What instances wrap, found by its place in the file."""

import os
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from noctis.repository.elements import read_open
from noctis.repository.embedded import PDF, Embedded, embedded
from tests.samples import make_instance

PDF_CLASS, CDA_CLASS, STL_CLASS = (f"1.2.840.10008.5.1.4.1.1.104.{each}" for each in (1, 2, 3))
H264 = "1.2.840.10008.1.2.4.102"


def document(data: bytes, sop_class: str = PDF_CLASS, length: int | None = None) -> FileDataset:
    made = make_instance(study="1.2.3", series="1.2.3.1", modality="DOC", pixels=b"")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    made.MIMETypeOfEncapsulatedDocument = "text/html"  # nobody believes it
    made.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    if length is not None:
        made.EncapsulatedDocumentLength = length
    return made


def video(data: bytes, syntax: str = H264, pieces: int = 1) -> FileDataset:
    made = make_instance(study="1.2.3", series="1.2.3.1", modality="ES", pixels=b"")
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.PixelData = encapsulate([data], fragments_per_frame=pieces)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


def found(made: FileDataset, tmp_path: Path) -> tuple[Embedded | None, bytes]:
    path = tmp_path / "x.dcm"
    made.save_as(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        listing = read_open(descriptor)
        wrapped = embedded(descriptor, listing.elements, str(made.SOPClassUID), str(made.file_meta.TransferSyntaxUID))
        data = b"".join(os.pread(descriptor, length, at) for at, length in wrapped.parts) if wrapped else b""
    finally:
        os.close(descriptor)
    return wrapped, data


@pytest.mark.parametrize(
    ("data", "sop_class", "suffix"),
    [
        (b"%PDF-1.7 odd", PDF_CLASS, "pdf"),
        (b"\r\n%PDF-1.7 even", PDF_CLASS, "pdf"),
        (b"%PDF-1.4", "1.2.3.4", "pdf"),
        (b"<script>alert(1)</script>", PDF_CLASS, "bin"),
        (b"<ClinicalDocument/>", CDA_CLASS, "xml"),
        (b"solid x", STL_CLASS, "stl"),
        (b"MZ", "1.2.3.4", "bin"),
    ],
)
def test_a_document_is_what_it_is(data: bytes, sop_class: str, suffix: str, tmp_path: Path) -> None:
    wrapped, bytes_ = found(document(data, sop_class), tmp_path)
    assert wrapped is not None
    assert (wrapped.suffix, wrapped.opens, bytes_) == (suffix, suffix == "pdf", data)
    assert (wrapped.media_type == PDF) == (suffix == "pdf")


def test_a_document_ends_where_its_length_says(tmp_path: Path) -> None:
    assert found(document(b"%PDF-1.7 x\0", length=11), tmp_path)[1] == b"%PDF-1.7 x\0"
    assert found(document(b"%PDF-1.7 xx", length=11), tmp_path)[1] == b"%PDF-1.7 xx"
    for nonsense in (0, 5, 4_000_000_000):
        assert found(document(b"%PDF-1.7 xx", length=nonsense), tmp_path)[1] == b"%PDF-1.7 xx"


def test_a_document_that_is_cut_off_or_deflated_is_none(tmp_path: Path) -> None:
    made = document(b"%PDF-1.7" + b"x" * 5000)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert found(made, tmp_path)[0] is None
    path = tmp_path / "y.dcm"
    document(b"%PDF-1.7" + b"x" * 5000).save_as(path)
    os.truncate(path, path.stat().st_size - 100)
    descriptor = os.open(path, os.O_RDONLY)
    assert embedded(descriptor, read_open(descriptor).elements, PDF_CLASS, "1.2.840.10008.1.2.1") is None
    os.close(descriptor)


@pytest.mark.parametrize(
    ("data", "syntax", "suffix"),
    [
        (b"\0\0\0\1\x67" * 100, H264, "h264"),
        (b"\0\0\0\1\x67" * 100, "1.2.840.10008.1.2.4.103.1", "h264"),
        (b"\0\0\0\1\x40" * 100, "1.2.840.10008.1.2.4.107", "h265"),
        (b"\0\0\1\xb3" * 100, "1.2.840.10008.1.2.4.100", "mpg"),
        (b"\0\0\0\x18ftypmp42" + bytes(500), H264, "mp4"),
        ((b"\x47" + bytes(187)) * 4, "1.2.840.10008.1.2.4.101", "ts"),
    ],
)
def test_a_video_is_its_stream(data: bytes, syntax: str, suffix: str, tmp_path: Path) -> None:
    for pieces in (1, 3):
        wrapped, bytes_ = found(video(data, syntax, pieces), tmp_path)
        assert wrapped is not None
        assert (wrapped.suffix, wrapped.opens, len(wrapped.parts)) == (suffix, suffix == "mp4", pieces)
        assert bytes_.rstrip(b"\0") == data.rstrip(b"\0")


def test_frames_of_images_are_no_video(tmp_path: Path) -> None:
    assert found(video(b"\xff\xd8", "1.2.840.10008.1.2.4.50"), tmp_path)[0] is None


def test_fragments_that_are_broken_are_none(tmp_path: Path) -> None:
    made = video(b"\0\0\0\1\x67" * 100)
    path = tmp_path / "z.dcm"
    made.save_as(path)
    data = path.read_bytes()
    for cut in (9, 100, len(data) - data.index(b"\xfe\xff\x00\xe0") - 4):
        path.write_bytes(data[:-cut])
        descriptor = os.open(path, os.O_RDONLY)
        assert embedded(descriptor, read_open(descriptor).elements, "1.2", H264) is None, cut
        os.close(descriptor)
