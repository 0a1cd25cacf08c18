"""What every handler shares: the settings, the database, the supervisor, the facilities as listeners know them."""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.errors import SupervisorError
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import SnapshotReader, write_if_changed
from noctis.home import Home
from noctis.observability.scoreboard import Scoreboard
from noctis.repository.counts import received_since
from noctis.repository.journal import Journal
from noctis.repository.quarantine_list import FreshTable
from noctis.supervisor.control import Control
from noctis.users.accounts import Accounts
from noctis.users.logins import Logins
from noctis.users.sessions import Sessions
from noctis.web.checklist import Checklist
from noctis.web.doors import Doors
from noctis.web.sampler import Sampler

if TYPE_CHECKING:
    from noctis.web.live import Watch
from noctis.web.jobs import Jobs

JOURNAL = "web"


class Site:
    """One home, as the pages see it. Safe from several threads."""

    def __init__(self, settings: Settings, scoreboard: Scoreboard | None = None) -> None:
        self.settings = settings
        self.scoreboard = scoreboard or Scoreboard()
        self.home: Home = settings.paths
        self.control = Control(self.home)
        self.snapshots = SnapshotReader(self.home.snapshot)
        self.journal = Journal(self.home.journal, JOURNAL)
        self.sampler = Sampler(self.control, lambda since: received_since(self.engine, since))
        self.doors = Doors(settings, lambda: self.engine, self.snapshots, self.sampler)
        self.checklist = Checklist(settings, lambda: self.engine, self.doors)
        self.jobs = Jobs()

    @cached_property
    def watch(self) -> "Watch":
        """What goes on at this moment."""
        from noctis.web.live import Watch

        return Watch(self)

    @property
    def base_path(self) -> str:
        return self.settings.web.base_path or ""

    @property
    def https(self) -> bool:
        """Whether browsers come by HTTPS, to us or to a proxy before us."""
        web = self.settings.web
        return web.certificate is not None or (web.url or "").startswith("https://")

    @cached_property
    def engine(self) -> Engine:
        return make_engine(self.settings)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(self.engine, self.settings.web)

    @cached_property
    def logins(self) -> Logins:
        return Logins(self.engine, self.sessions)

    @cached_property
    def quarantine(self) -> FreshTable:
        return FreshTable(self.engine, self.home.quarantine)

    def registry(self, actor: str) -> Registry:
        """The facilities, for one who changes them."""
        return Registry(self.engine, self.settings, actor=actor)

    def accounts(self, actor: str) -> Accounts:
        return Accounts(self.engine, actor)

    def follow(self) -> bool:
        """After a change of the facilities: tell the listeners, and the supervisor if one runs; whether one does."""
        write_if_changed(self.home.snapshot, self.registry("web").snapshot)
        try:
            self.control.reconcile()
        except SupervisorError:
            return False  # it follows by itself
        finally:
            self.doors.forget()
        return True

    def close(self) -> None:
        self.sampler.close()
        self.jobs.close()
        if "engine" in self.__dict__:
            self.engine.dispose()


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


OnSite = Annotated[Site, Depends(_site)]
