"""What went wrong, as an answer: a page for people, problem details (RFC 9457) below /api, a fragment for htmx."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from noctis.errors import (
    ConflictError,
    DatabaseError,
    NoctisError,
    NotFoundError,
    StorageError,
    SupervisorError,
    UnavailableError,
    UpgradingError,
    UsageError,
)
from noctis.repository.release import NotFilableError
from noctis.users.bearers import WrongTokenError
from noctis.users.logins import LockedError, RefusedError
from noctis.users.passwords import BusyError
from noctis.users.roles import Right
from noctis.web.access import API, Allow, ForbiddenError, NobodyError
from noctis.web.site import Site
from noctis.web.templating import path_of, render

log = structlog.get_logger()

PLACES_MAX, PLACE_MAX = 10, 300  # what is told of a malformed request; characters of each
PROGRAMS = (API, "/metrics")  # what is asked by programs, which read no page
CHALLENGE, BEARER = "WWW-Authenticate", 'Bearer realm="Noctis"'  # RFC 9110 §11.6.1, RFC 6750 §3

AGAIN_SECONDS = 5  # until a page looks again whether an upgrade is done
STATUS: dict[type[NoctisError], int] = {  # the first that fits
    NotFoundError: 404,
    ConflictError: 409,
    LockedError: 429,
    BusyError: 429,
    RefusedError: 401,
    WrongTokenError: 401,
    UsageError: 422,
    NotFilableError: 422,
    StorageError: 503,
    DatabaseError: 503,
    SupervisorError: 503,
    UnavailableError: 503,
}


def status_of(error: NoctisError) -> int:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def answer(
    request: Request, status: int, message: str, fix: str | None = None, *, template: str = "error.html"
) -> Response:
    """An error as this request's sender can show it."""
    if path_of(request).startswith(PROGRAMS):
        problem = {"title": message, "status": status} | ({"detail": fix} if fix else {})
        challenge = {CHALLENGE: BEARER} if status == 401 else None
        return JSONResponse(problem, status, challenge, media_type="application/problem+json")
    if not hasattr(request.state, "caller"):
        request.state.caller = None
    return render(request, template, status=status, code=status, message=message, fix=fix)


def _upgrading(request: Request, error: UpgradingError) -> Response:
    """Nothing is wrong: a browser looks again until it is done, and so comes back to where it was."""
    found = answer(request, 503, error.message, error.fix, template="upgrading.html")
    found.headers["Retry-After"] = str(AGAIN_SECONDS)
    if request.method == "GET" and not path_of(request).startswith(PROGRAMS):
        partial = request.headers.get("hx-request") == "true"
        found.headers["HX-Refresh" if partial else "Refresh"] = "true" if partial else str(AGAIN_SECONDS)
    return found


def install(app: FastAPI) -> None:
    """Handlers for everything that can be raised."""

    @app.exception_handler(NoctisError)
    def _expected(request: Request, error: NoctisError) -> Response:
        if isinstance(error, UpgradingError):
            return _upgrading(request, error)
        found = answer(request, status_of(error), error.message, error.fix)
        if isinstance(error, LockedError | UnavailableError):
            found.headers["Retry-After"] = str(error.seconds)
        if isinstance(error, WrongTokenError):
            found.headers[CHALLENGE] = f'{BEARER}, error="invalid_token"'
        return found

    @app.exception_handler(NobodyError)
    def _nobody(request: Request, _: NobodyError) -> Response:
        site = request.app.state.site
        path = path_of(request)
        if path.startswith(PROGRAMS):
            fix = f'show a token ("Authorization: Bearer noctis_…"), or POST {site.base_path}{API}login'
            return answer(request, 401, "nobody is logged in", fix)
        login = f"{site.base_path}/login"
        if request.headers.get("hx-request") == "true":
            page = urlsplit(request.headers.get("hx-current-url", ""))
            return Response(status_code=204, headers={"HX-Redirect": login + _next(site, page.path, page.query)})
        if request.method == "GET":
            login += _next(site, path, request.scope["query_string"].decode("latin-1"))
        return RedirectResponse(login, 303)

    @app.exception_handler(ForbiddenError)
    def _forbidden(request: Request, error: ForbiddenError) -> Response:
        if error.token is None:
            return answer(request, 403, "your account may not do this", "ask an admin")
        found = answer(request, 403, error.token)
        found.headers[CHALLENGE] = f'{BEARER}, error="insufficient_scope"'
        return found

    @app.exception_handler(RequestValidationError)
    def _malformed(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        places = "; ".join(_place(each)[:PLACE_MAX] for each in found[:PLACES_MAX])
        if len(found) > PLACES_MAX:
            places += f"; and {len(found) - PLACES_MAX} more"
        return answer(request, 422, f"the request is malformed: {places}")

    @app.exception_handler(HTTPException)
    def _plain(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and not path_of(request).startswith("/api/v1/"):
            with suppress(NoctisError, NobodyError):
                Allow(Right.OPEN)(request)  # no route has looked who asks: the menu is the way back
            found = answer(
                request, 404, "There is no such page", "The address may be mistyped, or what it named is gone."
            )
        else:
            found = answer(request, error.status_code, str(error.detail))
        for name, value in (error.headers or {}).items():
            found.headers[name] = value
        return found

    @app.exception_handler(Exception)
    def _fault(request: Request, error: Exception) -> Response:
        log.error("web.fault", method=request.method, route=_route(request), exc_info=error)
        return answer(request, 500, "this is a fault in Noctis", "the log has it as web.fault; please report it")


def _place(error: Mapping[str, Any]) -> str:
    """Where something is wrong with a request, and what."""
    return f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}"


def _next(site: Site, path: str, query: str) -> str:
    """The query of the login page that leads back to where somebody was."""
    path = path.removeprefix(site.base_path)
    back = f"{path}?{query}" if query else path
    return "" if back in ("", "/") else "?next=" + quote(back, safe="/")


def _route(request: Request) -> str:
    """The route's pattern: paths may name patients' studies."""
    return str(getattr(request.scope.get("route"), "path", "?"))
