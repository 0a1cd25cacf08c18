from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from bench.scu import StoreMessage
from bench.studies import KINDS, MR, TINY, Template, Uids, make_files, uids


@pytest.mark.parametrize(("name", "size"), [("MR", 131_000), ("CT", 525_000), ("tiny", 6_600)])
def test_an_instance_has_the_size_that_is_documented(name: str, size: int) -> None:
    assert len(Template(KINDS[name]).data) == pytest.approx(size, rel=0.05)


def test_a_template_gives_other_instances_by_exchanging_their_uids() -> None:
    template = Template(MR)
    content = bytearray(template.data)
    of = uids(3, 7)
    template.patch(content, of)
    dataset = dcmread(BytesIO(bytes(content)), force=True)
    found = Uids(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    assert found == of
    assert len(dataset.PixelData) == 256 * 256 * 2


@pytest.mark.parametrize("max_fragment", [4090, 16378, 131066])
def test_a_message_is_the_pdus_of_one_instance(max_fragment: int) -> None:
    template = Template(MR)
    message = StoreMessage(template, max_fragment)
    of = uids(2, 5)
    message.set(258, of)
    command, data, at = b"", b"", 0
    while at < len(message.encoded):
        length = int.from_bytes(message.encoded[at + 2 : at + 6], "big")
        assert length - 6 <= max_fragment
        control, fragment = message.encoded[at + 11], bytes(message.encoded[at + 12 : at + 6 + length])
        if control & 1:
            command += fragment
        else:
            data += fragment
        at += 6 + length
        assert bool(control & 2) == (control == 3 or at == len(message.encoded))
    expected = bytearray(template.data)
    template.patch(expected, of)
    assert data == bytes(expected)
    assert command.endswith(of.instance.encode())
    assert b"\0\0\x10\1\2\0\0\0\2\1" in command  # Message ID 258


def test_files_are_whole_and_each_association_has_a_study_of_its_own(tmp_path: Path) -> None:
    lists = make_files(tmp_path, TINY, 4, 2)
    found = [[dcmread(path) for path in paths] for paths in lists]
    assert [len({each.StudyInstanceUID for each in files}) for files in found] == [1, 1]
    assert found[0][0].StudyInstanceUID != found[1][0].StudyInstanceUID
    assert len({each.SOPInstanceUID for files in found for each in files}) == 4
    assert all(each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID for files in found for each in files)
    assert make_files(tmp_path, TINY, 2, 2)[0] == lists[0][:1]
