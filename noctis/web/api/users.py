"""Users, for admins; no token opens any of it."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from noctis.users.accounts import KEEP, NAME_MAX, AccountRecord
from noctis.users.passwords import PASSWORD_MAX, PASSWORD_MIN
from noctis.users.roles import Right, Role
from noctis.web.access import LoggedIn, allow
from noctis.web.api.schemas import Body
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1/users", tags=["users"])

Name = Annotated[str, Path(max_length=200, description="The user's name.")]
NewPassword = Annotated[str, Field(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX)]


class User(BaseModel):
    """An account."""

    name: str
    role: Role
    facility: str | None = Field(description="The slug of the only facility that it sees; of the role facility alone.")
    email: str | None
    locked_until: datetime | None = Field(description="Too many wrong passwords: until when none is looked at.")
    last_login: datetime | None
    created_at: datetime


class NewUser(Body):
    name: Annotated[str, Field(max_length=NAME_MAX)]
    password: NewPassword
    role: Role
    facility: Annotated[str | None, Field(max_length=64)] = None
    email: Annotated[str | None, Field(max_length=254)] = None


class Changes(Body):
    """What is left out stays as it is."""

    role: Role | None = None
    facility: Annotated[str | None, Field(max_length=64)] = None
    email: Annotated[str | None, Field(max_length=254)] = None


class Password(Body):
    password: NewPassword


def user_of(account: AccountRecord) -> User:
    values = {name: getattr(account, name) for name in User.model_fields}
    locked = account.locked_until
    return User(**values | {"locked_until": locked if locked and locked > datetime.now(UTC) else None})


@router.get("", dependencies=[allow(Right.ADMINISTER, token=False)])
def list_users(site: OnSite) -> list[User]:
    """All users, by name."""
    return [user_of(each) for each in site.accounts("web").all()]


@router.post("", dependencies=[allow(Right.ADMINISTER, token=False)], status_code=201)
def add_user(site: OnSite, caller: LoggedIn, body: NewUser) -> User:
    """Add a user."""
    added = site.accounts(caller.name).add(
        body.name, body.password, body.role, facility=body.facility, email=body.email
    )
    return user_of(added)


@router.get("/{name}", dependencies=[allow(Right.ADMINISTER, token=False)])
def show_user(site: OnSite, name: Name) -> User:
    """One user."""
    return user_of(site.accounts("web").get(name))


@router.patch("/{name}", dependencies=[allow(Right.ADMINISTER, token=False)])
def edit_user(site: OnSite, caller: LoggedIn, name: Name, body: Changes) -> User:
    """Another role, facility or e-mail address. Ends the user's sessions when what they may do is another thing."""
    said = body.model_fields_set
    edited = site.accounts(caller.name).edit(
        name,
        role=body.role,
        facility=body.facility if "facility" in said else KEEP,
        email=body.email if "email" in said else KEEP,
    )
    return user_of(edited)


@router.put("/{name}/password", dependencies=[allow(Right.ADMINISTER, token=False)], status_code=204)
def set_password(site: OnSite, caller: LoggedIn, name: Name, body: Password) -> None:
    """A new password. Ends the user's sessions and tokens, and the lock after wrong passwords."""
    site.accounts(caller.name).set_password(name, body.password)


@router.post("/{name}/unlock", dependencies=[allow(Right.ADMINISTER, token=False)], status_code=204)
def unlock(site: OnSite, caller: LoggedIn, name: Name) -> None:
    """Forget the wrong passwords."""
    site.accounts(caller.name).unlock(name)


@router.delete("/{name}/sessions", dependencies=[allow(Right.ADMINISTER, token=False)], status_code=204)
def log_out_user(site: OnSite, caller: LoggedIn, name: Name) -> None:
    """Log the user out everywhere."""
    site.accounts(caller.name).log_out(name)


@router.delete("/{name}", dependencies=[allow(Right.ADMINISTER, token=False)], status_code=204)
def remove_user(site: OnSite, caller: LoggedIn, name: Name) -> None:
    """Remove a user; the last admin stays."""
    site.accounts(caller.name).remove(name)
