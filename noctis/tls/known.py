"""Certificates: the ones that are missing, do not fit, or end soon. For `noctis check` and `noctis status`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from noctis.config import Settings
from noctis.errors import NoctisError
from noctis.facilities.snapshot import Facility
from noctis.tls import policy

if TYPE_CHECKING:
    from noctis.facilities.records import CertificateRecord
    from noctis.tls.inventory import Entry


def certificates(settings: Settings, facilities: Sequence[Facility]) -> list["Entry"]:
    """Every certificate; nothing is read, and no library loaded, where TLS is not used and no file is there."""
    if not policy.is_used(settings, facilities) and not _has_files(settings):
        return []
    from noctis.tls.inventory import entries

    return entries(settings, facilities, _bound(settings, facilities))


def _has_files(settings: Settings) -> bool:
    return any(path.exists() for path in (policy.server_files(settings)[0], policy.ca_file(settings)))


def _bound(settings: Settings, facilities: Sequence[Facility]) -> list["CertificateRecord"]:
    """As the database has them; a database that is down is told of elsewhere."""
    from noctis.db import migrate
    from noctis.db.engine import make_engine
    from noctis.facilities.certificates import CertificateRegistry

    if not any(each.certificates for each in facilities):
        return []
    engine = make_engine(settings, pooled=False)
    try:
        if not migrate.schema_state(engine).up_to_date:
            return []
        return CertificateRegistry(engine, settings, actor="check").bound()
    except NoctisError:
        return []
    finally:
        engine.dispose()


def sentences(settings: Settings, facilities: Sequence[Facility]) -> Iterator[tuple["Entry", str]]:
    """Each certificate, and what is to be said of it. The facilities are those of the snapshot, disabled ones too."""
    for each in certificates(settings, facilities):
        until = f"is sound until {each.not_after:%Y-%m-%d}" if each.not_after else "is known by its fingerprint alone"
        yield each, f"{each.title}: {each.problem}" if each.problem else f"{each.title} {until}"
