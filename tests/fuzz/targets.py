"""The targets by name, their inputs on disk, and mutations of them for Hypothesis."""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

HERE = Path(__file__).parent
NAMES = ("pdu", "commands", "header", "text", "filemeta", "rows", "lines", "media")
_INTERESTING = (b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\xfe\xff\0\xe0", b"\xfe\xff\xdd\xe0", b"\0\0\0\0", b"\x1b")


class Target(NamedTuple):
    """What a harness module gives."""

    name: str
    examine: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


def target(name: str) -> Target:
    module = import_module(f"tests.fuzz.{name}")
    return Target(name, module.examine, module.seeds)


def regressions(name: str) -> list[Path]:
    """Inputs that have found something once."""
    return sorted(path for path in (HERE / "regressions" / name).glob("*") if path.is_file())


@st.composite
def mutations(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed, with some bytes replaced, put in, taken out or repeated."""
    data = bytearray(draw(st.sampled_from(seeds)))
    pieces = st.one_of(st.binary(max_size=12), st.sampled_from(_INTERESTING))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        piece = draw(pieces)
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + len(piece)] = piece
            case 1:
                data[at:at] = piece
            case 2:
                del data[at : at + draw(st.integers(1, 40))]
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
    return bytes(data)
