"""Ports: the lowest one that no facility ever had. Runs inside the registry's transaction, under its lock."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from noctis.config import Settings
from noctis.db.models import Facility, UsedPort
from noctis.errors import ConflictError, UsageError


def next_port(session: Session, settings: Settings) -> int:
    """The lowest port of the configured range that was never a facility's.

    Raises
    ------
    ConflictError
        The range is used up.
    """
    taken = set(session.scalars(select(UsedPort.port))) | set(session.scalars(select(Facility.port)))
    taken |= {settings.server.port, *settings.facilities.reserved_ports}
    first, last = settings.facilities.first_port, settings.facilities.last_port
    for port in range(first, last + 1):
        if port not in taken:
            return port
    raise ConflictError(
        f"every port from {first} to {last} is or was a facility's",
        fix="raise facilities.last_port in the configuration",
    )


def check_port(session: Session, settings: Settings, port: int, owner: int | None = None) -> int:
    """`port`, if the facility with the id `owner` (None: a new one) may have it.

    Raises
    ------
    UsageError, ConflictError
        It is out of range, or somebody's; the message says whose.
    """
    if not 1 <= port <= 65535:
        raise UsageError(f"port {port} is out of range", fix="1 to 65535; leave it out to have one chosen")
    if port == settings.server.port:
        raise ConflictError(f"port {port} is the default listener's (server.port)")
    if port in settings.facilities.reserved_ports:
        raise ConflictError(f"port {port} is reserved (facilities.reserved_ports)")
    holder = session.scalar(select(Facility).where(Facility.port == port))
    if holder is not None and holder.id != owner:
        removed = ", which was removed" if holder.removed_at else ""
        raise ConflictError(
            f"port {port} is taken by '{holder.name}'{removed}", fix="leave the port out to have one chosen"
        )
    used = session.get(UsedPort, port)
    if used is not None:
        former = session.scalar(select(Facility).where(Facility.slug == used.slug))
        if former is None or former.id != owner:
            raise ConflictError(
                f"port {port} was once the facility {used.slug}'s; a scanner still pointed at it would land here",
                fix="leave the port out to have one chosen",
            )
    return port
