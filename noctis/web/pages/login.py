"""Logging in and out, and the first admin."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.users import setup
from noctis.users.logins import LoggedInAs
from noctis.users.roles import Right
from noctis.web.access import COOKIE, address_of, allow
from noctis.web.failures import status_of
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

NEXT_MAX = 2000  # characters
Name = Annotated[str, Form(max_length=200)]
Password = Annotated[str, Form(max_length=5000)]


def set_cookie(request: Request, site: Site, answer: Response, secret: str) -> None:
    """A session's secret, for pages of this server alone, out of reach of scripts.

    Lax: a link in a notification's mail opens its page. What else another site makes a browser ask for is the guard's
    to refuse (guard.py), and nothing is changed by a GET.
    """
    answer.set_cookie(
        COOKIE,
        secret,
        httponly=True,
        samesite="lax",
        secure=site.https or request.scope["scheme"] == "https",
        path=site.base_path or "/",
    )


def delete_cookie(request: Request, site: Site, answer: Response) -> None:
    answer.delete_cookie(
        COOKIE,
        httponly=True,
        samesite="lax",
        secure=site.https or request.scope["scheme"] == "https",
        path=site.base_path or "/",
    )


def welcome(request: Request, site: Site, user: LoggedInAs, to: str) -> Response:
    """The new session, and on to a page; the session that this browser may have had before ends."""
    if before := request.cookies.get(COOKIE):
        site.sessions.end(before)
    answer = RedirectResponse(site.base_path + to, 303)
    set_cookie(request, site, answer, user.secret)
    return answer


def own_path(text: str) -> str:
    """A page of ours to go on to, without the base path; whatever is none becomes the home page."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    sound = len(text) <= NEXT_MAX and text.isprintable() and "\\" not in text
    own = text.startswith("/") and not text.startswith("//") and not parts.scheme and not parts.netloc
    return text if sound and own else "/"


@router.get("/login", dependencies=[allow(Right.OPEN)])
def login_form(request: Request, site: OnSite, next: str = "/") -> Response:
    if request.state.caller is not None:
        return RedirectResponse(site.base_path + own_path(next), 303)
    empty = site.accounts("web").is_empty()
    return render(request, "login.html", next=own_path(next), name="", problem=None, fix=None, empty=empty)


@router.post("/login", dependencies=[allow(Right.OPEN)])
def login(
    request: Request,
    site: OnSite,
    name: Name = "",
    password: Password = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    next = own_path(next)
    try:
        user = site.logins.log_in(name, password, address_of(request))
    except UsageError as error:
        values = {"problem": error.message, "fix": error.fix, "name": name[:64], "next": next}
        return render(request, "login.html", status=status_of(error), empty=False, **values)
    return welcome(request, site, user, next)


@router.post("/logout", dependencies=[allow(Right.OPEN)])
def logout(request: Request, site: OnSite) -> Response:
    if secret := request.cookies.get(COOKIE):
        site.logins.log_out(secret)
    answer = RedirectResponse(f"{site.base_path}/login", 303)
    answer.headers["Clear-Site-Data"] = '"cache"'
    delete_cookie(request, site, answer)
    return answer


@router.get("/setup", dependencies=[allow(Right.OPEN)])
def setup_form(request: Request, site: OnSite, secret: str = "") -> Response:
    _still_to_be_done(site, secret)
    return render(request, "setup.html", secret=secret, name="admin", problem=None, fix=None)


@router.post("/setup", dependencies=[allow(Right.OPEN)])
def set_up(
    request: Request,
    site: OnSite,
    secret: Annotated[str, Form(max_length=200)] = "",
    name: Name = "",
    password: Password = "",
    again: Password = "",
) -> Response:
    _still_to_be_done(site, secret)
    try:
        if password != again:
            raise UsageError("the two passwords differ")
        site.accounts("set-up").add_first(name, password)
    except ConflictError:  # somebody else has used the link in this moment
        raise _not_valid() from None
    except UsageError as error:
        values = {"secret": secret, "name": name[:64], "problem": error.message, "fix": error.fix}
        return render(request, "setup.html", status=status_of(error), **values)
    setup.forget(site.home)
    return welcome(request, site, site.logins.log_in(name, password, address_of(request)), "/")


def _still_to_be_done(site: Site, secret: str) -> None:
    if not setup.matches(site.home, secret) or not site.accounts("web").is_empty():
        raise _not_valid()


def _not_valid() -> NotFoundError:
    return NotFoundError("this set-up link is not valid (any more)", fix="noctis web link   prints the one that is")
