"""/healthz, /readyz and /metrics: for programs, open to whoever reaches the port (`web.metrics` may close the last,
which then wants a login, or a program's token)."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from noctis.errors import NotFoundError
from noctis.users.roles import Right
from noctis.web import health
from noctis.web.access import Allow, allow
from noctis.web.site import OnSite

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"], dependencies=[allow(Right.OPEN, look=False)])
def healthz() -> Response:
    return JSONResponse({"live": True})


@router.api_route("/readyz", methods=["GET", "HEAD"], dependencies=[allow(Right.OPEN, look=False)])
def readyz(site: OnSite) -> Response:
    found = health.readiness(site.observed)
    return JSONResponse(found, 200 if found["ready"] else 503)


@router.get("/metrics", dependencies=[allow(Right.OPEN, look=False)])
def metrics(request: Request, site: OnSite) -> Response:
    access = site.settings.web.metrics
    if access == "off":
        raise NotFoundError("there are no metrics here", fix="web.metrics: open, or login")
    if access == "login":
        Allow(Right.SEE_ALL, token=True)(request)
    text, media_type = site.scrapes.text(request.headers.get("accept", ""))
    return Response(text, media_type=media_type)
