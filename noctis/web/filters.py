"""A list's filter as an address says it: what a bookmark has, the same for pages and API.

Each list names its fields (`FILTERS`) and makes of them what its rows are looked for by (`filter_of`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from noctis.facilities.snapshot import Facility
from noctis.web.access import Caller
from noctis.web.fields import TEXT_MAX
from noctis.web.site import Site


def asked(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """The fields that somebody filled in; of what was typed, as much as can be looked for."""
    found = {name: str(given.get(name) or "").strip()[:TEXT_MAX].replace("\0", "") for name in names}
    return {name: value for name, value in found.items() if value}


def facilities(site: Site, caller: Caller) -> list[Facility]:
    """Those that a list can be narrowed to, by name; none for whoever sees one alone."""
    if caller.facility_id is not None:
        return []
    return sorted(site.snapshots.current().facilities, key=lambda each: each.name.casefold())
