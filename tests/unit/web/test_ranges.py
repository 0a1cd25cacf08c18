"""Ranges and conditions of RFC 9110, as they are meant and as they are not."""

import pytest

from noctis.web.ranges import asked

TAG = '"abc-64"'
WHOLE = (200, 0, 100)
NONE = (416, 0, 0)


def part(whole: int = 100, **headers: str) -> tuple[int, int, int]:
    found = asked({name.replace("_", "-"): value for name, value in headers.items()}, whole, TAG)
    return found.status, found.first, found.length


@pytest.mark.parametrize(
    ("asked_for", "expected"),
    [
        ("bytes=0-0", (206, 0, 1)),
        ("bytes=0-99", (206, 0, 100)),
        ("bytes=10-19", (206, 10, 10)),
        ("bytes=90-", (206, 90, 10)),
        ("bytes=90-5000", (206, 90, 10)),
        ("bytes=-10", (206, 90, 10)),
        ("bytes=-1000", (206, 0, 100)),
        ("BYTES= 5-6 ", (206, 5, 2)),
        ("bytes=100-", NONE),
        ("bytes=100-200", NONE),
        ("bytes=-0", NONE),
        ("bytes=20-10", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=0-1,5-6", WHOLE),
        ("lines=0-1", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=\u0661-\u0662", WHOLE),
        ("bytes=0-" + "9" * 5000, WHOLE),
        ("bytes=--5", WHOLE),
    ],
)
def test_a_range(asked_for: str, expected: tuple[int, int, int]) -> None:
    assert part(range=asked_for) == expected


def test_nothing_of_an_empty_file_can_be_had_in_parts() -> None:
    assert part(0) == (200, 0, 0)
    assert part(0, range="bytes=0-") == NONE
    assert part(0, range="bytes=-5") == NONE


def test_a_range_of_another_version_is_the_whole() -> None:
    assert part(range="bytes=5-", if_range=TAG) == (206, 5, 95)
    for other in ('"other"', f"W/{TAG}", "Sat, 29 Oct 1994 19:43:31 GMT", TAG[:-1], ""):
        assert part(range="bytes=5-", if_range=other) == WHOLE, other


def test_what_is_known_already_is_not_sent() -> None:
    for known in (TAG, f"W/{TAG}", f'"x", {TAG}', "*"):
        assert part(if_none_match=known, range="bytes=0-5") == (304, 0, 0), known
    assert part(if_none_match='"x"') == WHOLE


def test_only_get_has_ranges() -> None:
    assert asked({"range": "bytes=0-5"}, 100, TAG, is_get=False).status == 200


def test_what_the_answer_says() -> None:
    assert asked({"range": "bytes=10-19"}, 100, TAG).headers(100) == {
        "Content-Length": "10",
        "Content-Range": "bytes 10-19/100",
    }
    assert asked({"range": "bytes=100-"}, 100, TAG).headers(100)["Content-Range"] == "bytes */100"
    assert asked({}, 100, TAG).headers(100) == {"Content-Length": "100"}
