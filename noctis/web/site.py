"""What every handler shares: the settings, the database, the supervisor, the facilities as listeners know them."""

from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.errors import SupervisorError
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import SnapshotReader, write_if_changed
from noctis.home import Home
from noctis.observability.scoreboard import Scoreboard
from noctis.repository.journal import Journal
from noctis.supervisor.control import Control
from noctis.users.accounts import Accounts
from noctis.users.sessions import Sessions

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

    @property
    def base_path(self) -> str:
        return self.settings.web.base_path or ""

    @property
    def pause_seconds(self) -> float:
        """A pause of so long ends what a study's instances came in."""
        return max(1.0, self.settings.archiver.study_quiet_seconds)

    @cached_property
    def engine(self) -> Engine:
        return make_engine(self.settings)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(self.engine, self.settings.web)

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
        return True

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.dispose()


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


OnSite = Annotated[Site, Depends(_site)]
