"""Work on many things in the background: counted, told, one's own, and stopped without losing count."""

import threading

import pytest

from noctis.errors import ConflictError, NotFoundError, StorageError
from noctis.web.jobs import RUNNING_MAX, Job, Jobs
from tests.support import wait_for


def work(thing: tuple[str, ...]) -> str:
    if thing[0] == "bad":
        raise StorageError("it cannot be filed")
    if thing[0] == "fault":
        raise ZeroDivisionError
    return "filed"


def ended(job: Job) -> bool:
    return job.finished


def test_what_became_of_each() -> None:
    jobs = Jobs()
    job = jobs.start("anna", "Release", [("a",), ("bad", "x"), ("fault",), ("b",)], work)
    wait_for(lambda: ended(job), what="the end")
    assert (job.done, dict(job.outcomes)) == (4, {"filed": 2, "failed": 2})
    assert job.failures[0] == ("bad/x", "it cannot be filed")
    assert job.failures[1][0] == "fault"
    assert jobs.get("anna", job.id) is job
    for owner, name in (("eve", job.id), ("anna", "nothing")):
        with pytest.raises(NotFoundError):
            jobs.get(owner, name)


def test_not_too_much_at_once_and_an_end_in_between() -> None:
    jobs, go, begun = Jobs(), threading.Event(), threading.Semaphore(0)

    def waiting(_: tuple[str, ...]) -> str:
        begun.release()
        go.wait(20)
        return "done"

    running = [jobs.start("anna", "Release", [("a",), ("b",)], waiting) for _ in range(RUNNING_MAX)]
    with pytest.raises(ConflictError):
        jobs.start("anna", "Release", [("a",)], work)
    for _ in running:
        assert begun.acquire(timeout=20)
    closer = threading.Thread(target=jobs.close)
    closer.start()
    wait_for(lambda: jobs._stop.is_set(), what="the stop")
    go.set()
    closer.join(20)
    assert [(job.done, job.finished) for job in running] == [(1, True)] * RUNNING_MAX
