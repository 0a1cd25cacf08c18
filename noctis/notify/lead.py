"""Who sends, where several machines share one PostgreSQL database: the notifier that holds an advisory lock.

With SQLite it is always this one: the supervisor's lock on the home has seen to that.
"""

import contextlib

from sqlalchemy import Connection, Engine, text

from noctis.db.engine import reachable

LOCK = 0x6E6F_746E  # pg_advisory_lock key: "notn"


class Lead:
    """Held as long as its connection lives."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._held = engine.dialect.name != "postgresql"

    def held(self) -> bool:
        """Whether it is ours, taking it if it is free.

        Raises
        ------
        DatabaseError
            The database is away; then it is not ours any more.
        """
        if self._engine.dialect.name != "postgresql":
            return True
        try:
            with reachable(self._engine):
                if self._connection is None:
                    self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                    self._held = False
                if not self._held:
                    query = text("SELECT pg_try_advisory_lock(:key)")
                    self._held = bool(self._connection.scalar(query, {"key": LOCK}))
                else:
                    self._connection.scalar(text("SELECT 1"))
        except BaseException:
            self.give_up()
            raise
        return self._held

    def give_up(self) -> None:
        """Let another one take it."""
        connection, self._connection = self._connection, None
        self._held = self._engine.dialect.name != "postgresql"
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.detach()  # a lock of a session goes with it, not with its return to the pool
                connection.close()
