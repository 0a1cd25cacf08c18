"""One's own account: the password, where one is logged in, and the tokens of one's programs."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from noctis.errors import UsageError
from noctis.users.roles import Right
from noctis.users.sessions import token_of
from noctis.users.tokens import check_days, check_name
from noctis.web.access import COOKIE, Caller, LoggedIn, address_of, allow
from noctis.web.failures import status_of
from noctis.web.fields import RowId, Words
from noctis.web.pages.login import Password, delete_cookie, set_cookie
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

Typed = Annotated[Words, Form()]

DONE = {
    "password": "Your password is changed, and you are logged out everywhere else. Your API tokens stay as they are.",
    "ended": "That log-in has ended.",
    "token": "That token has ended.",
}
DAYS = 90  # that the form proposes


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


@router.post("/account/tokens", dependencies=[allow(Right.LOGGED_IN)])
def add_token(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    name: Typed = "",
    days: Typed = "",
    read_only: Annotated[bool, Form()] = False,
    current: Password = "",
) -> Response:
    """The token is on the page that answers, and nowhere else."""
    try:
        check_name(name)  # before a wrong password counts
        lasts = _days(days)
        site.logins.confirm(caller.account, current, address_of(request))
        made = site.tokens(caller.name).add(caller.name, name, days=lasts, read_only=read_only)
    except UsageError as error:
        form = {"name": name, "days": days, "read_only": read_only}
        said = {"token_problem": error.message, "token_fix": error.fix, "form": form}
        return _page(request, site, caller, status=status_of(error), **said)
    return render(request, "token_made.html", token=made.record, secret=made.secret, url=site.settings.web_url)


@router.post("/account/tokens/{token}/remove", dependencies=[allow(Right.LOGGED_IN)])
def remove_token(site: OnSite, caller: LoggedIn, token: RowId) -> Response:
    site.tokens(caller.name).remove(token, caller.name)
    return RedirectResponse(f"{site.base_path}/account?done=token", 303)


def _days(text: str) -> int | None:
    """For how many days; nothing typed: without an end."""
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise UsageError("days are a number", fix="leave it empty for a token without an end")
    return check_days(int(text))


def _page(request: Request, site: Site, caller: Caller, *, status: int = 200, **said: Any) -> Response:
    values: dict[str, Any] = {"done": None, "problem": None, "fix": None, "token_problem": None, "token_fix": None}
    values |= {"form": {"name": "", "days": DAYS, "read_only": True}} | said
    current = token_of(request.cookies.get(COOKIE, ""))
    return render(
        request,
        "account.html",
        status=status,
        account=caller.account,
        sessions=site.sessions.of(caller.account),
        current=current,
        tokens=site.tokens("web").all(caller.name),
        **values,
    )
