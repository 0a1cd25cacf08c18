"""Real decoders: what a hostile file does to one of them costs a picture; nobody waits for ever, nothing piles up."""

import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pydicom.data
import pytest
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from noctis.frames import decoding
from noctis.frames.pool import Pool
from noctis.frames.protocol import Answer, Request
from tests.samples import make_instance
from tests.support import wait_for

CT = Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm"


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(1)
    yield made
    made.close()


def ask(pool: Pool, path: Path = CT, **wanted: object) -> Answer:
    return pool.picture("central", Request(1, **wanted), lambda: os.open(path, os.O_RDONLY), lambda: True)  # type: ignore[arg-type]


def decoders() -> list[psutil.Process]:
    return [
        each
        for each in psutil.Process().children()
        if each.status() != psutil.STATUS_ZOMBIE and "noctis.frames.decoder" in each.cmdline()
    ]


def test_a_picture_comes_from_a_process_behind_all_others(pool: Pool) -> None:
    answer = ask(pool)
    assert (answer.reason, answer.body[:4], answer.info["rows"]) == ("", b"\x89PNG", 128)
    (decoder,) = decoders()
    assert decoder.nice() == 10
    assert decoder.rlimit(psutil.RLIMIT_AS) == (1 << 30, 1 << 30)
    assert "NOCTIS_" not in "".join(decoder.environ())
    pool.close()
    wait_for(lambda: not decoders(), what="the end of the decoder")


def test_it_is_warm_before_it_is_asked(pool: Pool) -> None:
    pool.warm()
    wait_for(decoders, what="a decoder")
    pool.warm()
    assert ask(pool).reason == ""
    assert len(decoders()) == 1


def test_what_no_answer_can_say_costs_a_picture_alone(pool: Pool, tmp_path: Path) -> None:
    """Numbers that overflow: JSON has no infinity."""
    made = pydicom.dcmread(CT)
    made.RescaleSlope, made.RescaleIntercept = "1e308", "1e308"
    made.save_as(tmp_path / "huge.dcm")
    ask(pool)
    before = decoders()
    ask(pool, tmp_path / "huge.dcm")
    assert ask(pool).reason == ""
    assert decoders() == before


def test_one_that_is_killed_costs_its_frame_and_the_next_gets_another(pool: Pool) -> None:
    ask(pool)
    (first,) = decoders()
    first.kill()
    assert "crashed" in ask(pool, key="bytes").reason
    assert decoders() == []  # what crashed one is not given to another
    assert "crashed" in ask(pool, key="bytes").reason
    assert decoders() == []
    assert ask(pool, key="others").reason == ""


def test_one_that_hangs_is_ended(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "ANSWER_SECONDS", 1.0)
    pool.warm()
    (decoder,) = wait_for(decoders, what="a decoder")
    decoder.send_signal(signal.SIGSTOP)
    assert "took too long" in ask(pool).reason
    wait_for(lambda: not decoder.is_running() or decoder.status() == psutil.STATUS_ZOMBIE, what="its end")
    monkeypatch.setattr(decoding, "ANSWER_SECONDS", 35.0)
    assert ask(pool).reason == ""


def test_one_that_ended_for_want_of_work_is_not_missed(pool: Pool) -> None:
    ask(pool)
    (decoder,) = decoders()
    sock = pool._turns._free[0]._socket
    assert sock is not None
    sock.shutdown(1)  # as if nothing had come for a while
    wait_for(lambda: not decoders(), what="its end")
    assert ask(pool).reason == ""
    assert decoder not in decoders()


def _huge() -> FileDataset:
    made = make_instance(study="1.2.3", series="1.2.3.1")
    made.Rows = made.Columns = 65535
    return made


def test_a_frame_beyond_all_memory(pool: Pool, tmp_path: Path) -> None:
    """Four gigabytes of pixels, in a few kilobytes of run lengths."""
    made = _huge()
    made.file_meta.TransferSyntaxUID = RLELossless
    segment = struct.pack("<16I", 2, 64, 64 + 4096, *[0] * 13) + bytes((129, 0)) * 4096
    made.PixelData = encapsulate([segment])
    path = tmp_path / "x.dcm"
    made.save_as(path)
    assert ask(pool, path).reason != ""
    assert ask(pool).reason == ""


def test_a_deflated_bomb(pool: Pool, tmp_path: Path) -> None:
    made = _huge()
    del made.PixelData
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    path = tmp_path / "x.dcm"
    made.save_as(path)
    plain = path.read_bytes()
    start = 144 + int.from_bytes(plain[140:144], "little")
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = plain[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    head = head[:140] + (int.from_bytes(head[140:144], "little") + 2).to_bytes(4, "little") + head[144:]
    head = head.replace(b"UI\x14\x001.2.840.10008.1.2.1.99", b"UI\x16\x001.2.840.10008.1.2.1.99")
    with path.open("wb") as file:
        file.write(head + machine.compress(plain[start:] + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 0xF0000000)))
        for _ in range(1500):
            file.write(machine.compress(bytes(1 << 20)))
        file.write(machine.flush())
    assert path.stat().st_size < 4 << 20
    assert ask(pool, path).reason != ""
    assert ask(pool).reason == ""


def test_files_of_chance(pool: Pool, tmp_path: Path) -> None:
    import random

    chance = random.Random(3)
    path = tmp_path / "x.dcm"
    for name in ("SC_rgb_jpeg_gdcm", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_RLE"):
        content = CT.with_name(f"{name}.dcm").read_bytes()
        for _ in range(15):
            spoilt = bytearray(content)
            for _ in range(chance.randrange(1, 30)):
                spoilt[chance.randrange(len(content) // 3, len(content))] = chance.randrange(256)
            path.write_bytes(spoilt[: chance.randrange(len(content) // 2, len(content))])
            answer = ask(pool, path)
            assert bool(answer.reason) != bool(answer.body)
    assert ask(pool).reason == ""
