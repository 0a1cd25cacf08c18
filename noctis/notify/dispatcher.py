"""The dispatcher: tries deliveries, several addresses at once and each by itself, beside the notifier's own thread.

It knows no database. What is submitted for an address is tried in order; its results come back as one batch, and
`descriptor` becomes readable. An address that is slow or dead takes one of `CONCURRENT` places for as long as an
attempt may last, and nothing else.
"""

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from noctis.config import Settings
from noctis.notifications import Channel
from noctis.notify.mail import Mailer
from noctis.notify.outbox import Address, Tried
from noctis.notify.webhook import Signed, Webhooks

log = structlog.get_logger()

CONCURRENT = 32  # addresses
MAIL_THREADS = 4
CLOSE_SECONDS = 2.0


class Dispatcher:
    """One home's. `close` waits for nobody."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._results: queue.SimpleQueue[tuple[Address, list[Tried]]] = queue.SimpleQueue()
        self.descriptor, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.busy: set[Address] = set()  # of the thread that submits
        self._loop = asyncio.new_event_loop()
        self._mails = ThreadPoolExecutor(MAIL_THREADS, thread_name_prefix="mail")
        notifications = settings.notifications
        self._webhooks = Webhooks(
            settings.server.ae_title, notifications.webhook_ca, link_local=notifications.link_local
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="dispatcher", daemon=True)
        self._thread.start()

    @property
    def free(self) -> int:
        """For how many addresses more something can be submitted."""
        return CONCURRENT - len(self.busy)

    def submit(self, address: Address, batch: Sequence[Signed]) -> None:
        """Try these. The address is `busy` until the results were taken."""
        self.busy.add(address)
        asyncio.run_coroutine_threadsafe(self._work(address, list(batch)), self._loop)

    def take(self) -> list[tuple[Address, list[Tried]]]:
        """The results that there are."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass
        found: list[tuple[Address, list[Tried]]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._results.get_nowait())
        for address, _ in found:
            self.busy.discard(address)
        return found

    def close(self) -> None:
        self._mails.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()
        os.close(self.descriptor)
        os.close(self._write)

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, address: Address, batch: list[Signed]) -> None:
        try:
            if address[0] == Channel.WEBHOOK:
                tried = await self._webhooks.send(batch)
            else:
                deliveries = [each.delivery for each in batch]
                mailer = Mailer(self._settings)
                tried = await self._loop.run_in_executor(self._mails, mailer.send, address[1], deliveries)
        except Exception as error:
            log.exception("notifier.fault", channel=address[0])
            tried = [Tried(batch[0].delivery, f"a fault in Noctis: {type(error).__name__}", away=True)]
        self._results.put((address, tried))
        with contextlib.suppress(OSError):
            os.write(self._write, b"x")
