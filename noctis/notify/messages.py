"""What receivers get: the JSON of a webhook and the text of an e-mail, of one notification. Pure.

The JSON's shape is documented in docs/notifications.md and has a version, which changes only when something that was
there is no more or means something else. It has no patient's data unless `notifications.patients` was set.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from noctis.notifications import Phase, title
from noctis.notify.outbox import Due

VERSION = 1
SUBJECT_MAX = 150  # characters
LISTED = 200  # notifications in one e-mail, one by one


def payload(delivery: Due, source: str) -> bytes:
    """The body of a webhook; the same for every attempt.

    Parameters
    ----------
    source
        Which Noctis says it: the AE title of its default listener.
    """
    document: dict[str, Any] = {
        "version": VERSION,
        "id": delivery.uid,
        "type": delivery.kind,
        "phase": delivery.phase,
        "timestamp": delivery.at.isoformat(),
        "source": source,
        "facility": None,
        "text": delivery.sentence,
        "data": delivery.data,
    }
    if delivery.facility is not None:
        document["facility"] = {"slug": delivery.facility, "name": delivery.facility_name}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def one_line(text: str, limit: int = SUBJECT_MAX) -> str:
    """Text that may stand in a header: what a sender has made up may hold line breaks and control characters."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    line = line.encode("utf-8", "replace").decode()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def subject(deliveries: Sequence[Due]) -> str:
    """Of an e-mail."""
    if len(deliveries) == 1:
        return one_line(f"[Noctis] {_prefix(deliveries[0])}{deliveries[0].sentence}")
    kinds = Counter(title(each.kind).lower() for each in deliveries)
    return one_line(
        f"[Noctis] {len(deliveries)}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    )


def _prefix(delivery: Due) -> str:
    return "over: " if delivery.phase == Phase.OVER else ""


def body(deliveries: Sequence[Due], source: str, page: str | None) -> str:
    """The text of an e-mail.

    Parameters
    ----------
    page
        Where the notifications can be looked at.
    """
    lines: list[str] = []
    for each in deliveries[:LISTED]:
        lines.append(f"{_local(each.at)}  {title(each.kind)}{', over' if each.phase == Phase.OVER else ''}")
        lines.append(f"    {one_line(each.sentence, 1000)}")
        patient = each.data.get("patient")
        if isinstance(patient, dict):
            lines += [f"    {name.replace('_', ' ')}: {one_line(str(value), 200)}" for name, value in patient.items()]
        lines.append("")
    if len(deliveries) > LISTED:
        lines += [f"… and {len(deliveries) - LISTED} more", ""]
    lines.append(f"-- \nNoctis {source}" + (f"\n{page}" if page else ""))
    return "\n".join(lines) + "\n"


def _local(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
