"""A supervisor that says what it is told to say, for the application in this process."""

from collections.abc import Callable
from typing import Any

from noctis.errors import SupervisorError
from noctis.facilities.snapshot import Snapshot, write_if_changed
from noctis.supervisor.plan import make_plan
from noctis.web.site import Site


class Supervisor:
    """In the place of `site.control`: every enabled facility has a listener that runs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.is_away = False
        self.archiver_silent = 0.3  # seconds
        self.live: dict[str | None, int] = {}
        self.told: dict[str | None, dict[str, Any]] = {}  # slug → what is otherwise in its listener's status
        self.reconciled = 0
        site.control = self  # type: ignore[assignment]
        site.sampler._control = self  # type: ignore[assignment]

    def _answer(self) -> None:
        if self.is_away:
            raise SupervisorError("no supervisor runs", fix="noctis supervise")

    def status(self) -> dict[str, Any]:
        self._answer()
        server = self._site.settings.server
        doors = [(None, "(default)", server.port, server.ae_title)]
        known = self._site.snapshots.current().facilities
        doors += [(each.slug, each.name, each.port, each.ae_title) for each in known if each.enabled]  # type: ignore[misc]
        service = {"state": "running", "pid": 2, "restarts": 0, "last_error": "", "last_error_at": None}
        archiver = {"filed": 7, "pending": 3, "oldest_seconds": 1.5, "last_batch": 2, "last_batch_at": None}
        archiver |= {"heartbeat_seconds": self.archiver_silent}
        return {
            "pid": 1,
            "started_at": "2026-11-25T12:00:00.000+00:00",
            "listeners": [self._listener(*door) for door in doors],
            "archiver": service | archiver,
        }

    def _listener(self, slug: str | None, name: str, port: int, title: str) -> dict[str, Any]:
        return {
            "facility": slug,
            "name": name,
            "port": port,
            "ae_title": title,
            "state": "running",
            "workers": [10],
            "live_associations": self.live.get(slug, 0),
            "instances": 0,
            "last_instance": None,
            "last_error": "",
            "last_error_at": None,
        } | self.told.get(slug, {})

    def plan(self, snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
        self._answer()
        return make_plan(self._site.snapshots.current(), snapshot).as_json()

    def follow(self, make: Callable[[], Snapshot]) -> bool:
        write_if_changed(self._site.home.snapshot, make)
        self.reconcile()
        return True

    def reconcile(self) -> dict[str, Any]:
        self._answer()
        self.reconciled += 1
        return {}
