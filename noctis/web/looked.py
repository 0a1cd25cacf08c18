"""Who looked at what: an event for every page of a patient's images and every download, none for each picture on it."""

from noctis.repository.names import is_uid
from noctis.web.access import Caller
from noctis.web.site import Site


def note(site: Site, caller: Caller, action: str, slug: str, **asked: str) -> None:
    """An event; UIDs alone are written down, and only what is one: whatever else was typed may be a patient's name."""
    named = {name: value for name, value in asked.items() if is_uid(value)}
    site.journal.event(caller.name, action, {"fields": sorted(asked), **named}, slug=slug)
