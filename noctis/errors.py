"""The one exception root. Every message is for an operator: what happened, to what, and what to do about it."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command `noctis` and its processes return to the shell."""

    DONE = 0
    FOUND_WRONG = 1  # asked and answered: something is not as it should be, or could not be done
    USAGE = 2  # the call itself is wrong: an option, a value, a name, the configuration
    SOFTWARE = 70  # a fault of ours (EX_SOFTWARE, sysexits.h)


class NoctisError(Exception):
    """Something that an operator can act on.

    Parameters
    ----------
    message
        What happened, and to what.
    fix
        What to do about it: a command where there is one.
    """

    exit_code = ExitCode.FOUND_WRONG

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}" if self.fix else self.message


class UsageError(NoctisError):
    """The caller asked for something that cannot be meant: a bad name, title, port, network."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A setting is wrong. The message names its place (file and line, variable or option) and what was expected."""


class HomeError(NoctisError):
    """The home folder is missing, not writable, or belongs to somebody else."""


class DatabaseError(NoctisError):
    """The database cannot be reached, is not migrated, or is of a newer version."""


class UpgradingError(DatabaseError):
    """The database is being upgraded to this release's schema: nothing is wrong, it takes its time."""


class NotFoundError(UsageError):
    """No such facility, device, study or quarantined instance."""


class ConflictError(UsageError):
    """The name, AE title or port is taken; the message says by whom."""


class SupervisorError(NoctisError):
    """The supervisor cannot be reached or refused a request."""


class UnavailableError(NoctisError):
    """There is no room for what is asked for at the moment.

    Parameters
    ----------
    seconds
        When to ask again.
    """

    def __init__(self, message: str, *, seconds: int) -> None:
        super().__init__(message, fix=f"again in {seconds} seconds")
        self.seconds = seconds


class StorageError(NoctisError):
    """The spool, archive or quarantine cannot take or give a file."""
