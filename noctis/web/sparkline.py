"""A line of the last hour for a list: the points of an SVG polyline, in a box of `WIDTH` × `HEIGHT`. Pure."""

from collections.abc import Sequence

from noctis.text import counted

WIDTH, HEIGHT = 90, 24
POINTS = 30  # as many as can be told apart: each is the sum of two minutes


def points(minutes: Sequence[int]) -> str:
    """`0,23 3,12 …`: the largest value at the top, nothing at the bottom."""
    step = max(1, len(minutes) // POINTS)
    sums = [sum(minutes[at : at + step]) for at in range(0, len(minutes), step)]
    most = max(sums, default=0) or 1
    apart = WIDTH / max(1, len(sums) - 1)
    return " ".join(
        f"{round(number * apart)},{round(1 + (HEIGHT - 2) * (1 - value / most))}" for number, value in enumerate(sums)
    )


def sentence(minutes: Sequence[int]) -> str:
    """The same for who does not see it."""
    total = sum(minutes)
    return (
        f"{counted(total, 'instance')} in the last hour, at most {max(minutes)} a minute"
        if total
        else "none in the last hour"
    )
