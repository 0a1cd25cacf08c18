"""Logging in and out by the API, and who one is."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from noctis.users.roles import Right
from noctis.web.access import COOKIE, Caller, LoggedIn, address_of, allow
from noctis.web.api.schemas import Body
from noctis.web.api.tokens import Token, token_of
from noctis.web.api.users import User, user_of
from noctis.web.pages.login import delete_cookie, set_cookie
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1", tags=["log-in"])


class Login(Body):
    name: Annotated[str, Field(max_length=200)]
    password: Annotated[str, Field(max_length=5000)]


class Me(BaseModel):
    """Whose session or token this is."""

    user: User
    rights: list[str] = Field(description="What this account may do: " + ", ".join(each.name for each in Right))
    token: Token | None = Field(description="The token that was shown; one that is read_only changes nothing.")


def _me(caller: Caller) -> Me:
    return Me(
        user=user_of(caller.account),
        rights=[right.name for right in Right if caller.may(right)],
        token=token_of(caller.token) if caller.token else None,
    )


@router.post("/login", dependencies=[allow(Right.OPEN, token=False)])
def login(request: Request, response: Response, site: OnSite, body: Login) -> Me:
    """Log in: the answer sets the cookie that all else wants, or a token in its place."""
    user = site.logins.log_in(body.name, body.password, address_of(request))
    if before := request.cookies.get(COOKIE):
        site.sessions.end(before)
    set_cookie(request, site, response, user.secret)
    return _me(Caller(user.account))


@router.post("/logout", dependencies=[allow(Right.OPEN, token=False)], status_code=204)
def logout(request: Request, response: Response, site: OnSite) -> None:
    """End this session; nothing happens without one."""
    if secret := request.cookies.get(COOKIE):
        site.logins.log_out(secret)
    delete_cookie(request, site, response)


@router.get("/me", dependencies=[allow(Right.LOGGED_IN)])
def me(caller: LoggedIn) -> Me:
    """Who is logged in, and what they may do."""
    return _me(caller)
