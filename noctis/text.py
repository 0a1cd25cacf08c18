"""Numbers, sizes and times as people read them, on a terminal and on a page."""

from datetime import UTC, datetime


def size(count: int | float | None) -> str:
    """Bytes."""
    amount = float(count or 0)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def counted(number: int | None, one: str, many: str = "") -> str:
    """So many of them: `1 instance`, `2 instances`, `3 studies` (for `many`)."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def moment(text: object) -> str:
    """A time: local, to the second; "" for None."""
    when = _time(text)
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else ""


def ago(text: object, now: datetime | None = None) -> str:
    """How long ago a time was: `12 s ago`, `3 min ago`, `5 h ago`, `2 days ago`; "never" for None."""
    when = _time(text)
    if when is None:
        return "never"
    return f"{duration(((now or datetime.now(UTC)) - when).total_seconds())} ago"


def duration(seconds: float) -> str:
    """A length of time in its largest unit."""
    for unit, length in (("days", 172_800), ("h", 7200), ("min", 120)):
        if seconds >= length:
            return f"{int(seconds // (86_400 if unit == 'days' else length / 2))} {unit}"
    return f"{max(0, int(seconds))} s"


def _time(text: object) -> datetime | None:
    if not text:
        return None
    when = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    return when.astimezone()
