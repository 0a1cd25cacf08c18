"""`/metrics`: the text that Prometheus reads, as text or OpenMetrics by what it accepts."""

import threading
import time

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from noctis.web.metrics.collector import NoctisCollector
from noctis.web.metrics.observed import FRESH_SECONDS, Observed

_FORMS_MAX = 8  # a caller may ask for any version of OpenMetrics


class Scrapes:
    """Makes the text, at most once a second for each form, however many ask for it. Safe from several threads."""

    def __init__(self, observed: Observed) -> None:
        self._registry = CollectorRegistry(auto_describe=False)  # our own: nothing else of this process is in it
        self._registry.register(NoctisCollector(observed))
        self._lock = threading.Lock()
        self._made: dict[str, tuple[float, bytes]] = {}  # media type: when (monotonic), the text
        self.fresh_seconds = FRESH_SECONDS

    def text(self, accept: str) -> tuple[bytes, str]:
        """The text, and its media type."""
        encode, media_type = choose_encoder(accept)
        with self._lock:
            made_at, text = self._made.get(media_type, (0.0, b""))
            if not text or time.monotonic() - made_at >= self.fresh_seconds:
                text = encode(self._registry)
                if len(self._made) >= _FORMS_MAX:
                    self._made.clear()
                self._made[media_type] = (time.monotonic(), text)
            return text, media_type
