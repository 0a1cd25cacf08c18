"""Logging in and out, and the first admin."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from noctis.errors import NotFoundError, UsageError
from noctis.users import setup
from noctis.users.accounts import AccountRecord, LockedError
from noctis.users.roles import Right, Role
from noctis.web.access import COOKIE, allow
from noctis.web.failures import status_of
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def logged_in(request: Request, site: Site, account: AccountRecord, to: str) -> Response:
    """A new session, and on to a page."""
    answer = RedirectResponse(site.base_path + to, 303)
    answer.set_cookie(
        COOKIE,
        site.sessions.start(account, address_of(request)),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path=site.base_path or "/",
    )
    return answer


def own_path(text: str) -> str:
    """A page of ours to go on to; whatever is none becomes the home page."""
    return text if text.startswith("/") and not text.startswith(("//", "/\\")) else "/"


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
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=5000)] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    next = own_path(next)
    try:
        account = site.accounts("web").verify(name, password)
    except LockedError as error:
        values = {"problem": error.message, "fix": error.fix}
        return render(request, "login.html", status=429, next=next, name=name, empty=False, **values)
    if account is None:
        problem = "the name or the password is wrong"
        return render(request, "login.html", status=401, next=next, name=name, problem=problem, fix=None, empty=False)
    return logged_in(request, site, account, next)


@router.post("/logout", dependencies=[allow(Right.OPEN)])
def logout(request: Request, site: OnSite) -> Response:
    if secret := request.cookies.get(COOKIE):
        site.sessions.end(secret)
    answer = RedirectResponse(f"{site.base_path}/login", 303)
    answer.delete_cookie(COOKIE, path=site.base_path or "/", httponly=True, samesite="strict")
    return answer


@router.get("/setup", dependencies=[allow(Right.OPEN)])
def setup_form(request: Request, site: OnSite, secret: str = "") -> Response:
    _still_to_be_done(site, secret)
    return render(request, "setup.html", secret=secret, name="admin", problem=None)


@router.post("/setup", dependencies=[allow(Right.OPEN)])
def set_up(
    request: Request,
    site: OnSite,
    secret: Annotated[str, Form()] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=5000)] = "",
    again: Annotated[str, Form(max_length=5000)] = "",
) -> Response:
    _still_to_be_done(site, secret)
    try:
        if password != again:
            raise UsageError("the two passwords differ")
        account = site.accounts(name or "web").add(name, password, Role.ADMIN)
    except UsageError as error:
        status = status_of(error)
        return render(request, "setup.html", status=status, secret=secret, name=name, problem=error.message)
    setup.forget(site.home)
    return logged_in(request, site, account, "/")


def _still_to_be_done(site: Site, secret: str) -> None:
    if not site.accounts("web").is_empty() or not setup.matches(site.home, secret):
        raise NotFoundError("this set-up link is not valid (any more)", fix="noctis web link   prints the one that is")
