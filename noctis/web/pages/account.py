"""One's own account: the password, and where one is logged in."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from noctis.errors import UsageError
from noctis.users.roles import Right
from noctis.users.sessions import token_of
from noctis.web.access import COOKIE, Caller, LoggedIn, allow
from noctis.web.failures import status_of
from noctis.web.pages.login import Password, address_of, delete_cookie, set_cookie
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

DONE = {
    "password": "Your password is changed, and you are logged out everywhere else.",
    "ended": "That log-in has ended.",
}


@router.get("/account", dependencies=[allow(Right.LOGGED_IN)])
def account(request: Request, site: OnSite, caller: LoggedIn, done: str = "") -> Response:
    return _page(request, site, caller, done=DONE.get(done))


@router.post("/account/password", dependencies=[allow(Right.LOGGED_IN)])
def change_password(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    current: Password = "",
    password: Password = "",
    again: Password = "",
) -> Response:
    try:
        if password != again:
            raise UsageError("the two new passwords differ")
        secret = site.logins.change_password(caller.account, current, password, address_of(request))
    except UsageError as error:
        return _page(request, site, caller, status=status_of(error), problem=error.message, fix=error.fix)
    answer = RedirectResponse(f"{site.base_path}/account?done=password", 303)
    set_cookie(request, site, answer, secret)
    return answer


@router.post("/account/sessions/end", dependencies=[allow(Right.LOGGED_IN)])
def end_session(site: OnSite, caller: LoggedIn, token: Annotated[str, Form(max_length=64)] = "") -> Response:
    site.logins.end(caller.account, token)
    return RedirectResponse(f"{site.base_path}/account?done=ended", 303)


@router.post("/account/sessions/end-all", dependencies=[allow(Right.LOGGED_IN)])
def log_out_everywhere(request: Request, site: OnSite, caller: LoggedIn) -> Response:
    site.accounts(caller.name).log_out(caller.name)
    answer = RedirectResponse(f"{site.base_path}/login", 303)
    delete_cookie(request, site, answer)
    return answer


def _page(request: Request, site: Site, caller: Caller, *, status: int = 200, **said: Any) -> Response:
    values: dict[str, Any] = {"done": None, "problem": None, "fix": None} | said
    current = token_of(request.cookies.get(COOKIE, ""))
    return render(
        request,
        "account.html",
        status=status,
        account=caller.account,
        sessions=site.sessions.of(caller.account),
        current=current,
        **values,
    )
