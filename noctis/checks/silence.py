"""Who is silent who usually sends."""

import shlex
from collections.abc import Iterator

from noctis.checks.finding import Finding
from noctis.config import Settings
from noctis.db import migrate
from noctis.db.engine import make_engine
from noctis.errors import NoctisError
from noctis.silence import evaluate

SILENCES_MAX = 20  # told one by one


def check_silence(settings: Settings) -> Iterator[Finding]:
    engine = make_engine(settings, pooled=False)
    try:
        if not migrate.schema_state(engine).up_to_date:
            return
        raised = [state for state in evaluate(engine, settings) if state.raised]
    except NoctisError:
        return  # the check of the database tells
    finally:
        engine.dispose()
    for state in raised[:SILENCES_MAX]:
        whose = f"the device {state.device} of '{state.name}'" if state.device else f"'{state.name}'"
        device = f" --device {shlex.quote(state.device)}" if state.device else ""
        fix = f"ask there; it is known: noctis silence ack {state.facility}{device}"
        yield Finding("silence", False, f"{whose} is silent: {state.sentence}", fix)
    if len(raised) > SILENCES_MAX:
        yield Finding("silence", False, f"{len(raised) - SILENCES_MAX} more are silent", "noctis silence --alarms")
    if not raised:
        yield Finding("silence", True, "nobody is silent who usually sends")
