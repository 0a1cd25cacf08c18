"""The table of DIMSE services: a new one is a new module beside this and one line here.

Storage and Verification are Noctis's own. Every other service is carried out by pynetdicom's service classes, which
ask the handlers of an `AddedService`: its module says for which abstract syntaxes it answers, and how.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pynetdicom import evt

from noctis.config import Settings
from noctis.listener.commands import Field
from noctis.listener.echo import EchoService
from noctis.listener.operations import Service
from noctis.listener.store import StoreService
from noctis.observability.scoreboard import Scoreboard
from noctis.repository.journal import Journal

Handler = Callable[[evt.Event], Any]


@dataclass(frozen=True)
class AddedService:
    """A service that pynetdicom implements and whose content comes from us.

    A handler takes and gives what pynetdicom documents for its event; `event.assoc.facility` says for whom it is asked,
    and nothing of another facility may be in its answer. It runs on the association's own thread.
    """

    abstract_syntaxes: frozenset[str]  # whose presentation contexts are accepted
    handlers: Mapping[evt.InterventionEvent, Handler]
    sends_instances: bool = False  # C-GET: the requestor may be SCP of storage contexts (role selection)


ADDED_SERVICES: tuple[AddedService, ...] = ()


def make_services(settings: Settings, scoreboard: Scoreboard, journal: Journal) -> dict[int, Service]:
    """Command Field → who serves it. Every other request goes to the added services (see `delegation`)."""
    return {
        Field.C_STORE_RQ: StoreService(settings, scoreboard, journal),
        Field.C_ECHO_RQ: EchoService(),
    }


class Dispatch:
    """The handlers of one event: pynetdicom binds one, and a worklist and a query service may both want C-FIND."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, abstract_syntaxes: Iterable[str], handler: Handler) -> None:
        self._handlers.update(dict.fromkeys(abstract_syntaxes, handler))

    def answers(self, abstract_syntax: str) -> bool:
        return abstract_syntax in self._handlers

    def __call__(self, event: evt.Event) -> Any:
        return self._handlers[event.context.abstract_syntax](event)


def dispatches(added: Iterable[AddedService]) -> dict[evt.InterventionEvent, Dispatch]:
    """Event → who is asked."""
    found: dict[evt.InterventionEvent, Dispatch] = {}
    for service in added:
        for event, handler in service.handlers.items():
            found.setdefault(event, Dispatch()).add(service.abstract_syntaxes, handler)
    return found
