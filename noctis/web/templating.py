"""Pages from templates: Jinja2, escaped always; an undefined name is a fault, not an empty place."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from functools import partial as partial_
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from noctis import __version__
from noctis.facilities.snapshot import SnapshotReader
from noctis.repository import study_details
from noctis.text import ago, counted, duration, moment, size
from noctis.users.roles import Right

FOLDER = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "counted": counted,
        "size": size,
        "moment": moment,
        "ago": ago,
        "person": person,
        "day": day,
        "seconds": seconds,
        "since": since,
        "clock": clock,
        "path_part": path_part,
        "capital": capital,
        "series_part": series_part,
    }
    made.globals |= {"version": __version__, "Right": Right}
    return made


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a part of one.

    Templates have besides: `base`, where the pages begin; `path`, below it; `user`, a `Caller` or None; `partial`,
    whether htmx asks, so that a part is enough; `now`, and the `zone` in which times are shown; `facility_name(slug)`;
    for a user `alarms_raised()`, how many silences alarm.
    """
    site = request.app.state.site
    path = path_of(request)
    caller = getattr(request.state, "caller", None)
    partial = request.headers.get("hx-request") == "true"
    given: dict[str, Any] = {
        "base": site.base_path,
        "user": caller,
        "path": path,
        "partial": partial,
        "now": datetime.now(UTC),
        "zone": zone(datetime.now().astimezone()),
        "facility_name": partial_(_facility_name, site.snapshots),
    }
    if caller is not None:
        given["alarms_raised"] = partial_(site.alarms, caller.account.facility)
    html = environment().get_template(template).render(**given, **values)
    return HTMLResponse(html, status)


def path_of(request: Request) -> str:
    """The path below the base path."""
    path: str = request.scope["path"]
    return path.removeprefix(request.app.state.site.base_path)


def person(name: str) -> str:
    """A Person Name (PS3.5 §6.2.1) as people read it: Doe^Jane^^Dr. → Doe, Jane Dr."""
    group = next((part for part in name.split("=") if part.strip()), "")
    family, _, rest = group.partition("^")
    given = " ".join(part.strip() for part in rest.split("^") if part.strip())
    return f"{family.strip()}, {given}" if given else family.strip()


def seconds(length: float) -> str:
    """A length of time, exact where it is short: `0.3 s`, `45 s`, `3 min`."""
    return f"{length:.1f} s" if length < 10 else duration(length)


def since(text: str, now: datetime) -> str:
    """How long a time, in ISO 8601, is past."""
    return seconds(max(0.0, (now - datetime.fromisoformat(text)).total_seconds()))


def zone(when: datetime) -> str:
    """The time zone of a local time: `UTC`, `CET (UTC+01:00)`, `UTC+03:00`."""
    name, offset = when.tzname() or "", when.strftime("%z")
    distance = f"UTC{offset[:3]}:{offset[3:5]}"
    if name == "UTC":
        return name
    return f"{name} ({distance})" if name.isalpha() else distance


def _facility_name(snapshots: SnapshotReader, slug: str | None) -> str:
    """What people call a facility; of one that was removed, what its folder is called."""
    known = snapshots.current().by_slug.get(slug or "")
    return known.name if known else slug or ""


def clock(time: str) -> str:
    """A TM as people read it: 091500.25 → 09:15:00; what is none stays as it is."""
    digits = time.partition(".")[0]
    if len(digits) not in (4, 6) or not digits.isdigit():
        return time
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def capital(text: str) -> str:
    """With a capital at its beginning; the rest, such as UID, stays."""
    return text[:1].upper() + text[1:]


def day(date: str) -> str:
    """A DA as people read it: 20260131 → 2026-01-31; what is none stays as it is."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date


def path_part(study: Mapping[str, Any]) -> str:
    """What names a study in an address, quoted: `{{ base }}/studies/{{ slug }}/{{ study|path_part }}`."""
    return quote(study_details.path_part(study["id"], study["study_instance_uid"]), safe="")


def series_part(series: Mapping[str, Any]) -> str:
    """What names a series of a study in an address, quoted, as `path_part` does the study."""
    return quote(study_details.path_part(series["id"], series["series_instance_uid"]), safe="")
