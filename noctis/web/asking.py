"""Who looked at patients' data: events, as the command line leaves them (noctis.cli.events).

A search that is typed, or a list that is paged through, is one query: the same fields of the same facility asked for by
the same user within `AGAIN_SECONDS` leave one event.
"""

import threading
import time
from collections import OrderedDict

from noctis.repository.asked import asked_for
from noctis.repository.images import ImageRow
from noctis.web.access import Caller
from noctis.web.site import Site

AGAIN_SECONDS = 60.0
KNOWN_MAX = 10_000

_lock = threading.Lock()
_known: "OrderedDict[tuple[object, ...], float]" = OrderedDict()  # what was asked, and when (monotonic)


def note_instance(site: Site, caller: Caller, row: ImageRow) -> None:
    """The elements of an instance were looked at."""
    uids = {"study_instance_uid": row.study_uid, "sop_instance_uid": row.sop_instance_uid}
    note_query(site, caller, "query.instance", facility=row.slug, **uids)


def note_query(
    site: Site, caller: Caller, action: str, *, facility: str | None = None, **asked: str | int | None
) -> None:
    """A query: which fields were asked for, and of which facility; None for what was not. It goes on in any case."""
    detail = asked_for(**{name: value if value != "" else None for name, value in asked.items()})
    key = (site.home.root, caller.name, action, facility, tuple(sorted((k, str(v)) for k, v in detail.items())))
    now = time.monotonic()
    with _lock:
        before = _known.get(key)
        if before is not None and now - before < AGAIN_SECONDS:
            return
        _known[key] = now
        _known.move_to_end(key)
        while len(_known) > KNOWN_MAX:
            _known.popitem(last=False)
    site.journal.event(caller.name, action, detail, slug=facility)
