"""API tokens: one's own, and for admins those of all users. A token opens none of it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from noctis.users.roles import Right
from noctis.users.tokens import DAYS_MAX, ID_MAX, NAME_MAX, TokenRecord
from noctis.web.access import LoggedIn, address_of, allow
from noctis.web.api.schemas import Body, Text
from noctis.web.api.users import Name
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1", tags=["tokens"])

Id = Annotated[int, Path(ge=1, le=ID_MAX, description="The token's number.")]


class Token(BaseModel):
    """A token, without itself."""

    id: int
    account: str = Field(description="The user's name.")
    name: str = Field(description="What it is for.")
    read_only: bool = Field(description="Whether it changes nothing; else it may what its user may.")
    created_at: datetime
    expires_at: datetime | None = Field(description="None: it is good until it is removed.")
    last_used: datetime | None = Field(description="To a minute.")
    address: str = Field(description="From where it was used last.")


class MadeToken(Token):
    token: str = Field(description="The token itself: told this once.")


class NewToken(Body):
    name: Annotated[Text, Field(min_length=1, max_length=NAME_MAX)]
    password: Annotated[str, Field(max_length=5000, description="Your own, as it is now.")]
    read_only: bool = False
    days: Annotated[int | None, Field(ge=1, le=DAYS_MAX, description="For how long; null: until it is removed.")] = None


def token_of(record: TokenRecord) -> Token:
    return Token(**{name: getattr(record, name) for name in Token.model_fields})


@router.get("/tokens", dependencies=[allow(Right.LOGGED_IN, token=False)])
def list_own_tokens(site: OnSite, caller: LoggedIn) -> list[Token]:
    """Your own tokens."""
    return [token_of(each) for each in site.tokens("web").all(caller.name)]


@router.post("/tokens", dependencies=[allow(Right.LOGGED_IN, token=False)], status_code=201)
def add_token(request: Request, site: OnSite, caller: LoggedIn, body: NewToken) -> MadeToken:
    """Make a token of your own. It takes your password, as a token outlives the session that it is made in."""
    site.logins.confirm(caller.account, body.password, address_of(request))
    made = site.tokens(caller.name).add(caller.name, body.name, days=body.days, read_only=body.read_only)
    return MadeToken(**token_of(made.record).model_dump(), token=made.secret)


@router.delete("/tokens/{token}", dependencies=[allow(Right.LOGGED_IN, token=False)], status_code=204)
def remove_own_token(site: OnSite, caller: LoggedIn, token: Id) -> None:
    """End one of your tokens."""
    site.tokens(caller.name).remove(token, caller.name)


@router.get("/users/{name}/tokens", dependencies=[allow(Right.ADMINISTER, token=False)])
def list_tokens(site: OnSite, name: Name) -> list[Token]:
    """A user's tokens."""
    return [token_of(each) for each in site.tokens("web").all(name)]


@router.delete("/users/{name}/tokens/{token}", dependencies=[allow(Right.ADMINISTER, token=False)], status_code=204)
def remove_token(site: OnSite, caller: LoggedIn, name: Name, token: Id) -> None:
    """End one of a user's tokens."""
    site.tokens(caller.name).remove(token, name)
