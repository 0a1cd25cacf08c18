"""One target under atheris, guided by coverage: `python -m tests.fuzz.drive TARGET SECONDS FOLDER`.

FOLDER keeps what was found to reach new code, for the next run. An input that fails is left beside it, as
`TARGET-crash-…`, and ends the run with another exit code than 0.
"""

import logging
import sys
import warnings
from pathlib import Path

import atheris
import structlog

from tests.fuzz.targets import regressions, target

INPUT_MAX = 20_000  # bytes
MEMORY_MIB = 1024
ONE_SECONDS = 20  # that a single input may take


def main(name: str, seconds: str, folder: str) -> None:
    with atheris.instrument_imports(include=["noctis"]):
        found = target(name)
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    inputs = [*found.seeds(), *(path.read_bytes() for path in regressions(name))]
    for number, data in enumerate(inputs):
        (corpus / f"seed-{number}").write_bytes(data)
    warnings.simplefilter("ignore")
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_MAX}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={ONE_SECONDS}",
        f"-artifact_prefix={corpus.parent}/{name}-",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], found.examine)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
