"""The checklist of a new facility: it ticks by itself as its first modality gets through.

Each step is what really happened: our own C-ECHO to its port, the ledgers, and what is open at this moment. Our own
echoes call themselves by a title of their own, so they tick nothing but the first step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine

from noctis.checks.echo import EchoResult, echo
from noctis.config import Settings
from noctis.errors import NoctisError
from noctis.observability.live import LiveAssociation
from noctis.repository.firsts import First, Firsts, firsts
from noctis.web.cache import Cache
from noctis.web.doors import Doors

ECHO_SECONDS = 10.0  # for which an answer of a port is good, whoever asks
LEDGER_SECONDS = 1.5
KEPT = 200  # facilities whose answers are kept


@dataclass(frozen=True)
class Step:
    """One line of the list."""

    key: str
    title: str
    done: bool
    text: str  # what was seen, or what to do
    trouble: str = ""  # what stands in the way
    fix: str = ""


@dataclass(frozen=True)
class Target:
    """The facility that is looked at."""

    id: int
    slug: str
    port: int
    ae_title: str
    enabled: bool


class Checklist:
    """Safe from several threads; many who look at one facility are as one."""

    def __init__(self, settings: Settings, engine: Callable[[], Engine], doors: Doors) -> None:
        self._doors = doors
        self._echo: Cache[Target, EchoResult] = Cache(
            ECHO_SECONDS, lambda to: echo(settings, to.slug, to.port, to.ae_title), KEPT
        )
        self._firsts: Cache[Target, Firsts] = Cache(LEDGER_SECONDS, lambda to: firsts(engine(), to.id, to.port), KEPT)

    def steps(self, target: Target, *, patient: bool = True) -> list[Step]:
        """All five, in order. With the database away what is open now is all that is known.

        Parameters
        ----------
        patient
            Whether to wait for the port's answer, which may take seconds, where it is not known.
        """
        try:
            known = self._firsts.get(target)
        except NoctisError:
            known = Firsts(None, None, None, None, None)
        live = [each for each in self._doors.live() if each.facility == target.slug]
        return [
            self._port(target, patient),
            _connection(known, _first_of(live, lambda _: True)),
            _step(
                "echo",
                "First C-ECHO",
                known.echo,
                _first_of(live, lambda each: each.echoes),
                "Verify (echo) at the modality",
            ),
            _step(
                "instance",
                "First instance",
                known.instance,
                _first_of(live, lambda each: each.instances),
                "Send an image",
            ),
            _step(
                "complete",
                "First complete study",
                known.complete,
                None,
                "Wait: a study is complete when it has been quiet for a while",
            ),
        ]

    def _port(self, target: Target, patient: bool) -> Step:
        key, title = "port", "Port reachable"
        if not target.enabled:
            return Step(key, title, False, "", "The facility is disabled", f"noctis facility enable {target.slug}")
        answer = self._echo.get(target) if patient else self._echo.peek(target)
        if answer is None:
            return Step(key, title, False, f"Port {target.port} is being asked")
        if not answer.succeeded:
            return Step(key, title, False, f"Asked on this machine, port {target.port}", answer.error)
        return Step(
            key, title, True, f"Port {target.port} answered an echo from this machine in {answer.milliseconds} ms"
        )


def _connection(known: Firsts, live: First | None) -> Step:
    found, refused = known.connection or live, known.refused
    step = _step("connection", "First connection", known.connection, live, "Let the modality connect")
    if found is None and refused is not None:
        who = f"{refused.calling} at {refused.address}, calling {refused.called}, was turned away"
        return Step(step.key, step.title, False, f"{who}; {_when(refused.at)}", refused.reason, refused.fix)
    return step


def _step(key: str, title: str, known: First | None, live: First | None, otherwise: str) -> Step:
    found = known or live
    if found is None:
        return Step(key, title, False, otherwise)
    who = f"{found.calling} at {found.address}, " if found.calling else ""
    return Step(key, title, True, who + _when(found.at))


def _first_of(live: list[LiveAssociation], wanted: Callable[[LiveAssociation], object]) -> First | None:
    found = next((each for each in live if wanted(each)), None)
    return None if found is None else First(datetime.fromisoformat(found.started_at), found.calling, found.address)


def _when(at: datetime) -> str:
    """Local; the day only where it is another one."""
    local = at.astimezone()
    same = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S")
