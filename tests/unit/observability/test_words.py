"""The layout of a scoreboard's words."""

from noctis.observability.scoreboard import Scoreboard
from noctis.observability.words import (
    ANSWER,
    BATCH,
    BOARD_WORDS,
    FAILURES,
    LAG,
    LAYOUT_AT,
    REFUSALS,
    ROW_WORDS,
    ROWS_ALLOWED_AT,
    ROWS_AT,
    Counter,
    FailureKind,
    RefusalKind,
    named,
)


def test_no_two_figures_share_a_word() -> None:
    single = [*Counter, *REFUSALS.values(), *FAILURES.values(), LAYOUT_AT, ROWS_AT, ROWS_ALLOWED_AT]
    taken = [*map(int, single), *(at for each in (ANSWER, LAG, BATCH) for at in each.positions)]
    assert len(taken) == len(set(taken))
    assert max(taken) < BOARD_WORDS
    of_a_facility = [*map(int, Counter), *FAILURES.values(), *ANSWER.positions]
    assert max(of_a_facility) < ROW_WORDS


def test_a_histogram_counts_a_value_in_the_bucket_whose_bound_it_does_not_exceed() -> None:
    board = Scoreboard()
    for seconds in (0.001, 0.0011, 0.3, 11.0):
        board.observe(ANSWER, seconds)
    told = named(board.all())["answer"]
    bounds = [*ANSWER.bounds, float("inf")]
    assert {bound: count for bound, count in zip(bounds, told[:-1], strict=True) if count} == {
        0.001: 1,
        0.0025: 1,
        0.5: 1,
        float("inf"): 1,
    }
    assert told[-1] == 11_302_100_000  # nanoseconds


def test_what_is_counted_is_told_by_name() -> None:
    board = Scoreboard()
    board.refused(RefusalKind.CALLED)
    board.failed(FailureKind.QUOTA)
    board.failed(None)
    assert named(board.all()) == {
        "failures": 2,
        "failures_by": {"quota": 1},
        "refused_by": {"called": 1},
    }
