"""pynetdicom as an SCU, without its race.

The thread of a requestor's association looks for messages too, and is paused around each `send_c_*`. pynetdicom 3.0
takes it for paused when it is about to go on, so that it may snatch the answer to a request that was answered at once:
"Received unexpected C-STORE service message", and the request times out. Here the thread is paused for as long as the
requests last, and known to be so.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom.association import Association

PAUSE_SECONDS = 10.0  # at the most; it takes about a millisecond


@contextmanager
def requests(association: Association) -> Iterator[Association]:
    """An established association, for requests alone; release it after the block."""
    checkpoint = association._reactor_checkpoint
    go_on = checkpoint.set
    checkpoint.clear()
    deadline = time.monotonic() + PAUSE_SECONDS
    while not checkpoint._cond._waiters and association.is_established and time.monotonic() < deadline:
        time.sleep(0.0005)
    checkpoint.set = lambda: None  # what `send_c_*` says at its end
    try:
        yield association
    finally:
        checkpoint.set = go_on
        checkpoint.set()
