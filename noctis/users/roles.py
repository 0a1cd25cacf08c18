"""Roles, and what each of them may do. Pure."""

from enum import IntEnum, StrEnum


class Role(StrEnum):
    """What an account is for."""

    ADMIN = "admin"  # everything, users and facilities too
    OPERATOR = "operator"  # the daily work: refusals, quarantine, studies, devices, silence
    VIEWER = "viewer"  # looks at everything and changes nothing
    FACILITY = "facility"  # looks at one facility alone


class Right(IntEnum):
    """What a route wants of its caller; each holds the ones before."""

    OPEN = 0  # nobody has to be logged in
    LOGGED_IN = 1  # anybody's own account
    SEE = 2  # what is a facility's; a facility's account sees its own alone
    SEE_ALL = 3  # what spans facilities
    OPERATE = 4
    ADMINISTER = 5


RIGHTS = {
    Role.ADMIN: Right.ADMINISTER,
    Role.OPERATOR: Right.OPERATE,
    Role.VIEWER: Right.SEE_ALL,
    Role.FACILITY: Right.SEE,
}
