"""Work on many things that a page has started: done one by one in the background, and looked at while it goes on.

It lives in the web process alone. What it does to each thing is safe to interrupt and to do again; what was not done
when the process ended is still there to be chosen again.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from noctis.errors import ConflictError, NoctisError, NotFoundError

log = structlog.get_logger()

RUNNING_MAX = 2
KEPT = 50  # jobs
FAILURES_MAX = 100  # that are told one by one
STOP_SECONDS = 3.0


@dataclass
class Job:
    """One piece of work; only its own thread changes it."""

    id: str
    owner: str
    title: str
    total: int
    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)  # what, why
    finished: bool = False


class Jobs:
    """All of one web process. Safe from several threads."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(
        self, owner: str, title: str, things: Sequence[tuple[str, ...]], work: Callable[[tuple[str, ...]], str]
    ) -> Job:
        """Do `work`, which says what became of it in a word, for each of `things`.

        Raises
        ------
        ConflictError
            Too much is going on already.
        """
        with self._lock:
            if sum(not each.finished for each in self._jobs.values()) >= RUNNING_MAX:
                raise ConflictError("other work on many instances is going on", fix="wait for it to end")
            for old in [each.id for each in self._jobs.values() if each.finished][: -KEPT or None]:
                del self._jobs[old]
            job = Job(secrets.token_urlsafe(9), owner, title, len(things))
            self._jobs[job.id] = job
            thread = threading.Thread(target=self._run, args=(job, things, work), name=f"job {job.id}", daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()
        return job

    def get(self, owner: str, job: str) -> Job:
        """One's own.

        Raises
        ------
        NotFoundError
            There is none, or it is somebody else's.
        """
        found = self._jobs.get(job)
        if found is None or found.owner != owner:
            raise NotFoundError("there is no such work (any more)")
        return found

    def close(self) -> None:
        """Let what is being done be finished, and begin nothing more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _run(self, job: Job, things: Sequence[tuple[str, ...]], work: Callable[[tuple[str, ...]], str]) -> None:
        try:
            for thing in things:
                if self._stop.is_set():
                    return
                self._one(job, thing, work)
                job.done += 1
        finally:
            job.finished = True

    def _one(self, job: Job, thing: tuple[str, ...], work: Callable[[tuple[str, ...]], str]) -> None:
        try:
            job.outcomes[work(thing)] += 1
        except NoctisError as error:
            self._failed(job, thing, error.message)
        except Exception as error:
            log.exception("web.job_fault", job=job.title)
            self._failed(job, thing, f"a fault in Noctis: {type(error).__name__}")

    def _failed(self, job: Job, thing: tuple[str, ...], why: str) -> None:
        job.outcomes["failed"] += 1
        if len(job.failures) < FAILURES_MAX:
            job.failures.append(("/".join(thing), why))
