"""What a check says."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    well: bool
    text: str  # in plain words
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
