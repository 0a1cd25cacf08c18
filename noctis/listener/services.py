"""The table of DIMSE services: a new one is a new module beside this and one line here."""

from noctis.config import Settings
from noctis.listener.commands import Field
from noctis.listener.echo import EchoService
from noctis.listener.operations import Service
from noctis.listener.store import StoreService
from noctis.observability.scoreboard import Scoreboard
from noctis.repository.journal import Journal

# Abstract syntaxes whose contexts are accepted beyond Verification and storage, for services that are added.
EXTRA_ABSTRACT_SYNTAXES: frozenset[str] = frozenset()


def make_services(settings: Settings, scoreboard: Scoreboard, journal: Journal) -> dict[int, Service]:
    """Command Field → who serves it. Every other request is answered "unrecognised operation" (0211H)."""
    return {
        Field.C_STORE_RQ: StoreService(settings, scoreboard, journal),
        Field.C_ECHO_RQ: EchoService(),
    }
