"""Who may do what: the one place where a route's caller is looked at.

Every route says which `Right` it wants: `@router.get("/x", dependencies=[allow(Right.SEE)])`, and the application does
not start with one that does not (`require_rights`). An account of one facility sees that facility alone: a route whose
path or query names another one (`slug`, `facility`) does not exist for it, and what lists many asks `Caller.scope`.

People come with a session's cookie, programs with a token (`Authorization: Bearer noctis_…`), which opens what lies
below /api/v1 and the metrics. It opens no page, and nothing that makes, changes or ends accounts, passwords, sessions
or tokens: whoever finds one gets no further credentials by it (`allow(..., token=False)`). Where a token is shown it
alone counts; a cookie beside it is not looked at.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from noctis.errors import NotFoundError
from noctis.users.accounts import AccountRecord
from noctis.users.roles import RIGHTS, Right, Role
from noctis.users.tokens import PREFIX, TokenRecord
from noctis.web.site import Site
from noctis.web.templating import path_of

COOKIE = "noctis_session"
API = "/api/v1/"
SAFE = ("GET", "HEAD")
STATIC = "/static"  # our own files, for everybody
IDLE = "noctis-idle"  # header: the page asks by itself, nobody has touched it for a while (static/noctis.js)


class NobodyError(Exception):
    """Nobody is logged in where somebody has to be."""


class ForbiddenError(Exception):
    """Who is logged in may not do this.

    Parameters
    ----------
    token
        Why this token may not; None: it is the account that may not.
    """

    def __init__(self, token: str | None = None) -> None:
        super().__init__(token)
        self.token = token


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    account: AccountRecord
    token: TokenRecord | None = None  # a program's; None: a session's

    @property
    def name(self) -> str:
        return self.account.name

    @property
    def role(self) -> Role:
        return self.account.role

    def may(self, right: Right) -> bool:
        return RIGHTS[self.role] >= right

    @property
    def facility_id(self) -> int | None:
        """The only facility that this caller may see; None: all."""
        return self.account.facility_id

    def scope(self, facility_id: int | None = None) -> int | None:
        """The facility that a list is of: the one that was asked for, or the caller's own; None: all."""
        return self.account.facility_id if self.account.facility_id is not None else facility_id

    def sees(self, slug: str) -> bool:
        """Whether this facility is there for the caller."""
        return self.account.facility_id is None or self.account.facility == slug


class Allow:
    """The dependency of one route; `allow` makes it."""

    def __init__(self, right: Right, look: bool = True, token: bool | None = None) -> None:
        self.right = right
        self._look = look
        self._token = token

    def takes_token(self, path: str) -> bool:
        """Whether the route of this path, below the base path, is open to tokens."""
        return path.startswith(API) if self._token is None else self._token

    def __call__(self, request: Request) -> None:
        request.state.caller = None
        if not self._look:
            return
        request.app.state.site.require_schema()
        caller = self._by_token(request) or self._by_session(request)
        if caller is None:
            if self.right is Right.OPEN:
                return
            raise NobodyError
        request.state.caller = caller  # known also to the page that says no
        if not caller.may(self.right):
            raise ForbiddenError
        for named in (request.path_params.get("slug"), *request.query_params.getlist("facility")):
            if named and not caller.sees(named):
                raise NotFoundError(f"No facility found for {named!r}")

    def _by_token(self, request: Request) -> Caller | None:
        secret, path = _bearer(request), path_of(request)
        if secret is None or self.right is Right.OPEN or not (path.startswith(API) or self.takes_token(path)):
            return None
        site: Site = request.app.state.site
        looks = request.method in SAFE
        held = site.bearers.holder(secret, address_of(request), looking=looks and self.right <= Right.SEE_ALL)
        if not self.takes_token(path):
            raise ForbiddenError("no token may do this: log in with your password")
        if held.token.read_only and not looks:
            raise ForbiddenError("this token is for reading alone")
        return Caller(held.account, held.token)

    def _by_session(self, request: Request) -> Caller | None:
        secret = request.cookies.get(COOKIE)
        if secret is None:
            return None
        site: Site = request.app.state.site
        looking = request.method in SAFE and self.right <= Right.SEE_ALL
        account = site.sessions.account(secret, touch=IDLE not in request.headers, looking=looking)
        return None if account is None else Caller(account)


def allow(right: Right, *, look: bool = True, token: bool | None = None) -> Any:
    """What a route's `dependencies` begin with.

    Parameters
    ----------
    look
        False, of an open route alone: who asks is not looked at, so that it is answered without a database.
    token
        Whether tokens open it; None: if it lies below /api/v1.
    """
    assert look or right is Right.OPEN
    return Depends(Allow(right, look, token))


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def _bearer(request: Request) -> str | None:
    """The token that is shown (RFC 6750 §2.1). What a proxy may have put there for itself is none of ours."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip(" ")
    return secret if scheme.lower() == "bearer" and secret.startswith(PREFIX) else None


def _caller(request: Request) -> Caller:
    caller: Caller | None = request.state.caller
    if caller is None:
        raise NobodyError
    return caller


LoggedIn = Annotated[Caller, Depends(_caller)]


def routes_of(app: FastAPI) -> list[RouteContext]:
    """Every route, those of included routers too.

    Raises
    ------
    TypeError
        There is one whose caller nobody would look at: a websocket, a mounted application.
    """
    found = list(iter_route_contexts(app.routes))
    for each in found:
        if not isinstance(each.original_route, APIRoute) and each.path != STATIC:
            raise TypeError(f"{each.path} is no route that `allow` can guard")
    return [each for each in found if each.path != STATIC]


def right_of(route: RouteContext) -> Right:
    """Which right a route wants.

    Raises
    ------
    TypeError
        It says none, or several: a fault of ours, found when the application is made.
    """
    return _allow_of(route).right


def takes_token(route: RouteContext) -> bool:
    """Whether a token opens a route, of one that is not open to all."""
    allow = _allow_of(route)
    return allow.right is not Right.OPEN and allow.takes_token(route.path or "")


def _allow_of(route: RouteContext) -> Allow:
    found = [each.dependency for each in route.dependencies if isinstance(each.dependency, Allow)]
    if len(found) != 1:
        raise TypeError(f"the route {route.path} has {len(found)} rights; see noctis.web.access")
    allow: Allow = found[0]
    return allow


def require_rights(app: FastAPI) -> None:
    """Look at every route; see `routes_of` and `right_of`."""
    for route in routes_of(app):
        right_of(route)
