"""`/metrics`: the text that Prometheus reads, as text or OpenMetrics by what it accepts."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from noctis.web.metrics.collector import NoctisCollector
from noctis.web.metrics.observed import Observed


def scrape(observed: Observed, accept: str) -> tuple[bytes, str]:
    """The text, and its media type. The registry is our own: nothing else of this process is in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NoctisCollector(observed))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type
