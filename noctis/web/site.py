"""What every handler shares: the settings, the database, the supervisor, the facilities as listeners know them."""

import time
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from noctis import errands
from noctis.config import Settings
from noctis.db import migrate, upgrading
from noctis.db.engine import make_engine
from noctis.errors import NoctisError, SupervisorError, UpgradingError
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import SnapshotReader
from noctis.frames.cache import FrameCache
from noctis.frames.pool import Pool
from noctis.home import Home
from noctis.observability.scoreboard import Scoreboard
from noctis.repository.counts import received_since
from noctis.repository.journal import Journal
from noctis.repository.quarantine_list import FreshTable
from noctis.silence import Watch as SilenceWatch
from noctis.supervisor.control import Control
from noctis.users.accounts import Accounts
from noctis.users.bearers import Bearers
from noctis.users.logins import Logins
from noctis.users.sessions import Sessions
from noctis.users.tokens import Tokens
from noctis.web.checklist import Checklist
from noctis.web.doors import Doors
from noctis.web.downloads import Places
from noctis.web.effort import Effort
from noctis.web.jobs import Jobs
from noctis.web.metrics.observed import Observed
from noctis.web.metrics.scrape import Scrapes
from noctis.web.sampler import Sampler

if TYPE_CHECKING:
    from noctis.web.live import Watch

JOURNAL = "web"
ALARMS_SECONDS = 60.0
CLOSE_SECONDS = 5.0
LOOK_SECONDS = 5.0  # between two looks at the schema of a database that is away


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
        self.downloads = Places()
        self._schema_is_ours = False  # once it is, it stays so
        self._schema_at = 0.0  # monotonic: it is not looked at before
        self.jobs = Jobs()
        self.effort = Effort()
        self.frames = Pool()
        self.pictures = FrameCache(self.home.frames, settings.web.cache_bytes, settings.storage.reserve_bytes)

    @cached_property
    def watch(self) -> "Watch":
        """What goes on at this moment."""
        from noctis.web.live import Watch

        return Watch(self)

    def require_schema(self) -> None:
        """Keep from a database that is not this release's yet. One that is away is told by whoever asks it.

        Raises
        ------
        UpgradingError
            It is being upgraded.
        DatabaseError
            Nobody upgrades it.
        """
        if self._schema_is_ours:
            return
        if (found := upgrading.under_way(self.home)) is not None:
            raise UpgradingError(found.public, fix="again in a few seconds; noctis status tells more")
        if time.monotonic() < self._schema_at:
            return
        try:
            state = migrate.schema_state(self.engine)
        except NoctisError:
            self._schema_at = time.monotonic() + LOOK_SECONDS  # who asks it waits once, not twice
            return
        if not state.up_to_date:
            raise migrate.older(state)
        self._schema_is_ours = True

    @property
    def base_path(self) -> str:
        return self.settings.web.base_path or ""

    @property
    def https(self) -> bool:
        """Whether browsers come by HTTPS, to us or to a proxy before us."""
        web = self.settings.web
        return web.certificate is not None or (web.url or "").startswith("https://")

    @property
    def pause_seconds(self) -> float:
        """A pause of so long ends what a study's instances came in."""
        return max(1.0, self.settings.archiver.study_quiet_seconds)

    @cached_property
    def engine(self) -> Engine:
        return make_engine(self.settings)

    @cached_property
    def observed(self) -> Observed:
        """For health and metrics."""
        return Observed(self.settings, self.snapshots)

    @cached_property
    def scrapes(self) -> Scrapes:
        return Scrapes(self.observed)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(self.engine, self.settings.web)

    @cached_property
    def logins(self) -> Logins:
        return Logins(self.engine, self.sessions)

    @cached_property
    def bearers(self) -> Bearers:
        return Bearers(self.engine)

    @cached_property
    def silence(self) -> SilenceWatch:
        return SilenceWatch(self.engine, self.settings)

    def warm(self) -> None:
        """Learn the habits before somebody asks: of hundreds of senders that takes a second."""
        errands.start(lambda: self.alarms(None), "silence")

    def alarms(self, facility: str | None) -> int:
        """How many silences (of this facility alone; None: of all) somebody should look at; as of the last minute."""
        try:
            states = self.silence.recent(ALARMS_SECONDS)
        except NoctisError:
            return 0  # the page itself tells
        return sum(state.raised for state in states if facility in (None, state.facility))

    def silent(self) -> frozenset[str]:
        """The facilities whose silence, or a device's, somebody should look at; as of the last minute."""
        try:
            return frozenset(state.facility for state in self.silence.recent(ALARMS_SECONDS) if state.raised)
        except NoctisError:
            return frozenset()

    @cached_property
    def quarantine(self) -> FreshTable:
        return FreshTable(self.engine, self.home.quarantine)

    def registry(self, actor: str) -> Registry:
        """The facilities, for one who changes them."""
        return Registry(self.engine, self.settings, actor=actor)

    def accounts(self, actor: str) -> Accounts:
        return Accounts(self.engine, actor, self._forget)

    def tokens(self, actor: str) -> Tokens:
        return Tokens(self.engine, actor)

    def _forget(self, account_id: int) -> None:
        self.sessions.forget(account_id)
        self.bearers.forget(account_id)

    def follow(self) -> bool:
        """`Control.follow`; False too where the supervisor did not answer."""
        try:
            return self.control.follow(self.registry("web").snapshot)
        except SupervisorError:
            return False
        finally:
            self.doors.forget()

    def close(self) -> None:
        self.sampler.close()
        self.frames.close()
        self.jobs.close()
        errands.finish(CLOSE_SECONDS)  # they hold connections to the database
        if "engine" in self.__dict__:
            self.engine.dispose()
        if "observed" in self.__dict__:
            self.observed.close()


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


OnSite = Annotated[Site, Depends(_site)]
