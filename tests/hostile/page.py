"""The page of all cases: `python -m tests.hostile.page > docs/hostile-input.md`."""

from collections.abc import Sequence

from tests.hostile import (
    test_associate,
    test_dataset,
    test_dimse,
    test_media,
    test_pdu,
    test_slow,
    test_tcp,
    test_uids,
)
from tests.hostile.case import Case
from tests.hostile.test_media import MediaCase

SECTIONS: tuple[tuple[str, Sequence[Case | MediaCase]], ...] = (
    ("Before an association", test_tcp.CASES),
    ("Too slow", test_slow.CASES),
    ("The association request", test_associate.CASES),
    ("PDUs and PDVs", test_pdu.CASES),
    ("Command sets and messages", test_dimse.CASES),
    ("Data sets", test_dataset.CASES),
    ("UIDs and Patient IDs", test_uids.CASES),
    ("Imported media", test_media.CASES),
)
HEAD = """\
# Hostile input

What was sent to a listener on purpose, and what it did: the cases of `tests/hostile`, in their order. This page is
made from them (`python -m tests.hostile.page > docs/hostile-input.md`).

After every case the listener is the same process and answers an echo on a fresh association; it holds no descriptor,
thread or half-written file more than before; its memory is back; nothing was written outside the home folder; the log
has no traceback and nothing of a patient's. A peer is sent one A-ABORT at the most. Wherever one is mentioned the
connection is closed after it, and what had come of an instance is removed.
"""


def page() -> str:
    parts = [HEAD]
    for title, cases in SECTIONS:
        parts.append(f"\n## {title}\n\n| case | what is sent | what Noctis does |\n|---|---|---|\n")
        parts += [f"| {case.name} | {_cell(case.what)} | {_cell(case.does)} |\n" for case in cases]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
