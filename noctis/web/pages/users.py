"""Users, for admins: who may log in, and as what."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from noctis.errors import NotFoundError, UsageError
from noctis.users.accounts import AccountRecord
from noctis.users.roles import Right, Role
from noctis.web.access import LoggedIn, allow
from noctis.web.failures import status_of
from noctis.web.fields import RowId
from noctis.web.pages.login import Name, Password
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

ROLES = {
    Role.ADMIN: "everything",
    Role.OPERATOR: "the daily work",
    Role.VIEWER: "looks at everything",
    Role.FACILITY: "looks at one facility",
}
DONE = {
    "added": "The user is added.",
    "edited": "The user is changed.",
    "password": "The password is set; the user is logged out everywhere, and the user's API tokens have ended.",
    "unlocked": "The user can try again at once.",
    "logged-out": "The user is logged out everywhere.",
    "removed": "The user is removed.",
    "token": "The token has ended.",
}
Choice = Annotated[str, Form(max_length=64)]
Email = Annotated[str, Form(max_length=300)]


@router.get("/users", dependencies=[allow(Right.ADMINISTER)])
def users(request: Request, site: OnSite, done: str = "") -> Response:
    return _list(request, site, done=DONE.get(done))


@router.post("/users", dependencies=[allow(Right.ADMINISTER)])
def add(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    name: Name = "",
    password: Password = "",
    again: Password = "",
    role: Choice = "",
    facility: Choice = "",
    email: Email = "",
) -> Response:
    try:
        _same(password, again)
        site.accounts(caller.name).add(name, password, _role(role), facility=facility or None, email=email)
    except UsageError as error:
        form = {"name": name[:64], "role": role, "facility": facility, "email": email}
        said = {"problem": error.message, "fix": error.fix, "form": form}
        return _list(request, site, status=status_of(error), **said)
    return _on(site, "/users?done=added")


@router.get("/users/{name}", dependencies=[allow(Right.ADMINISTER)])
def user(request: Request, site: OnSite, name: str, done: str = "") -> Response:
    return _one(request, site, site.accounts("web").get(name), done=DONE.get(done))


@router.post("/users/{name}", dependencies=[allow(Right.ADMINISTER)])
def edit(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    name: str,
    role: Choice = "",
    facility: Choice = "",
    email: Email = "",
) -> Response:
    account = site.accounts("web").get(name)
    try:
        site.accounts(caller.name).edit(account.name, role=_role(role), facility=facility or None, email=email)
    except UsageError as error:
        form = {"role": role, "facility": facility, "email": email}
        said = {"problem": error.message, "fix": error.fix, "form": form}
        return _one(request, site, account, status=status_of(error), **said)
    return _on(site, f"/users/{account.name}?done=edited")


@router.post("/users/{name}/password", dependencies=[allow(Right.ADMINISTER)])
def set_password(
    request: Request, site: OnSite, caller: LoggedIn, name: str, password: Password = "", again: Password = ""
) -> Response:
    account = site.accounts("web").get(name)
    try:
        _same(password, again)
        site.accounts(caller.name).set_password(account.name, password)
    except UsageError as error:
        return _one(request, site, account, status=status_of(error), problem=error.message, fix=error.fix)
    return _on(site, f"/users/{account.name}?done=password")


@router.post("/users/{name}/unlock", dependencies=[allow(Right.ADMINISTER)])
def unlock(site: OnSite, caller: LoggedIn, name: str) -> Response:
    account = site.accounts("web").get(name)
    site.accounts(caller.name).unlock(account.name)
    return _on(site, f"/users/{account.name}?done=unlocked")


@router.post("/users/{name}/log-out", dependencies=[allow(Right.ADMINISTER)])
def log_out(site: OnSite, caller: LoggedIn, name: str) -> Response:
    account = site.accounts("web").get(name)
    site.accounts(caller.name).log_out(account.name)
    return _on(site, f"/users/{account.name}?done=logged-out")


@router.post("/users/{name}/tokens/{token}/remove", dependencies=[allow(Right.ADMINISTER)])
def remove_token(site: OnSite, caller: LoggedIn, name: str, token: RowId) -> Response:
    account = site.accounts("web").get(name)
    site.tokens(caller.name).remove(token, account.name)
    return _on(site, f"/users/{account.name}?done=token")


@router.post("/users/{name}/remove", dependencies=[allow(Right.ADMINISTER)])
def remove(request: Request, site: OnSite, caller: LoggedIn, name: str) -> Response:
    account = site.accounts("web").get(name)
    try:
        site.accounts(caller.name).remove(account.name)
    except UsageError as error:
        return _one(request, site, account, status=status_of(error), problem=error.message, fix=error.fix)
    return _on(site, "/users?done=removed")


def _same(password: str, again: str) -> None:
    if password != again:
        raise UsageError("the two passwords differ")


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise NotFoundError(f"there is no role {text!r}", fix="one of: " + ", ".join(Role)) from None


def _on(site: Site, to: str) -> Response:
    return RedirectResponse(site.base_path + to, 303)


def _list(request: Request, site: Site, *, status: int = 200, **said: Any) -> Response:
    accounts = site.accounts("web").all()
    form = {"name": "", "role": str(Role.VIEWER), "facility": "", "email": ""}
    return render(request, "users.html", status=status, accounts=accounts, **_common(site, form) | said)


def _one(request: Request, site: Site, account: AccountRecord, *, status: int = 200, **said: Any) -> Response:
    form = {"role": str(account.role), "facility": account.facility or "", "email": account.email or ""}
    values = {"account": account, "sessions": site.sessions.of(account), "tokens": site.tokens("web").all(account.name)}
    values |= _common(site, form) | said
    return render(request, "user.html", status=status, **values)


def _common(site: Site, form: dict[str, str]) -> dict[str, Any]:
    facilities = [(each.slug, each.name) for each in site.registry("web").all()]
    return {"facilities": facilities, "roles": ROLES, "form": form, "done": None, "problem": None, "fix": None}
