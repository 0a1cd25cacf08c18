"""The OpenAPI document and its reader, from this server alone."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute

from noctis.users.roles import Right
from noctis.web.access import allow
from noctis.web.templating import render

PREFIX = "/api/v1"
router = APIRouter(include_in_schema=False)


def document(request: Request) -> dict[str, Any]:
    """The OpenAPI document of what lies below /api/v1."""
    app = request.app
    if app.openapi_schema is None:
        routes = [each for each in app.routes if isinstance(each, APIRoute) and each.path.startswith(PREFIX)]
        app.openapi_schema = get_openapi(
            title="Noctis",
            version=app.version,
            description=app.description,
            routes=routes,
            servers=[{"url": app.state.site.base_path}] if app.state.site.base_path else None,
        )
    schema: dict[str, Any] = app.openapi_schema
    return schema


@router.get(f"{PREFIX}/openapi.json", dependencies=[allow(Right.LOGGED_IN)])
def openapi(request: Request) -> JSONResponse:
    return JSONResponse(document(request))


@router.get("/api/docs", dependencies=[allow(Right.LOGGED_IN)])
def reader(request: Request) -> HTMLResponse:
    return render(request, "api_docs.html")
