"""Who may do what: the one place where a route's caller is looked at.

Every route says which `Right` it wants: `@router.get("/x", dependencies=[allow(Right.SEE)])`, and the application does
not start with one that does not (`require_rights`). An account of one facility sees that facility alone: a route whose
path or query names another one (`slug`, `facility`) does not exist for it, and what lists many asks `Caller.scope`.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from noctis.errors import NotFoundError
from noctis.users.accounts import AccountRecord
from noctis.users.roles import RIGHTS, Right, Role
from noctis.web.site import Site

COOKIE = "noctis_session"
STATIC = "/static"  # our own files, for everybody
IDLE = "noctis-idle"  # header: the page asks by itself, nobody has touched it for a while (static/noctis.js)


class NobodyError(Exception):
    """Nobody is logged in where somebody has to be."""


class ForbiddenError(Exception):
    """Who is logged in may not do this."""


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    account: AccountRecord

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

    def __init__(self, right: Right, look: bool = True) -> None:
        self.right = right
        self._look = look

    def __call__(self, request: Request) -> None:
        request.state.caller = None
        if not self._look:
            return
        site: Site = request.app.state.site
        secret = request.cookies.get(COOKIE)
        if self.right is Right.OPEN and secret is None:
            return
        looking = request.method in ("GET", "HEAD") and self.right <= Right.SEE_ALL
        touch = IDLE not in request.headers
        account = site.sessions.account(secret, touch=touch, looking=looking) if secret else None
        if account is None:
            if self.right is Right.OPEN:
                return
            raise NobodyError
        request.state.caller = caller = Caller(account)  # known also to the page that says no
        if not caller.may(self.right):
            raise ForbiddenError
        for named in (request.path_params.get("slug"), *request.query_params.getlist("facility")):
            if named and not caller.sees(named):
                raise NotFoundError(f"No facility found for {named!r}")


def allow(right: Right, *, look: bool = True) -> Any:
    """What a route's `dependencies` begin with.

    Parameters
    ----------
    look
        False, of an open route alone: who asks is not looked at, so that it is answered without a database.
    """
    assert look or right is Right.OPEN
    return Depends(Allow(right, look))


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
    found = [each.dependency for each in route.dependencies if isinstance(each.dependency, Allow)]
    if len(found) != 1:
        raise TypeError(f"the route {route.path} has {len(found)} rights; see noctis.web.access")
    right: Right = found[0].right
    return right


def require_rights(app: FastAPI) -> None:
    """Look at every route; see `routes_of` and `right_of`."""
    for route in routes_of(app):
        right_of(route)
