"""What tests of filing share."""

from collections import Counter
from typing import Any

from sqlalchemy import Engine

from noctis.archiver.filing import Filer, Result
from noctis.config import Settings
from noctis.db import models
from noctis.facilities.registry import Registry
from noctis.repository.slots import everything_waiting
from tests.books import rows

STUDY, OTHER = "1.2.826.1", "1.2.826.2"


def file_all(filer: Filer, settings: Settings) -> Counter[Result]:
    """File the whole spool as one batch."""
    batch = filer.file((entry, None) for entry in everything_waiting(settings.paths.spool))
    return Counter(batch.results.values())


def one(engine: Engine, model: type[models.Base]) -> dict[str, Any]:
    (row,) = rows(engine, model)
    return row


def set_policy(registry: Registry, policy: str) -> None:
    registry.edit("central", {"conflict": policy})
