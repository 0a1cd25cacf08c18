"""The OpenAPI document and its reader, from this server alone."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import RouteContext

from noctis.users.roles import Right
from noctis.web.access import COOKIE, allow, right_of, routes_of, takes_token
from noctis.web.api.schemas import Problem
from noctis.web.templating import render

PREFIX = "/api/v1"
router = APIRouter(include_in_schema=False)

SCHEMES = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "What POST /api/v1/login sets; in a browser that is logged in there is nothing to type.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "noctis_ and 64 hexadecimal digits",
        "description": "A token of yours: the page of your account makes one.",
    },
}
PROBLEM = {
    "description": "It was not done: what is wrong, and what to do about it.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def document(request: Request) -> dict[str, Any]:
    """The OpenAPI document of what lies below /api/v1."""
    app = request.app
    if app.openapi_schema is None:
        routes = [each for each in routes_of(app) if (each.path or "").startswith(PREFIX)]
        found = get_openapi(
            title="Noctis",
            version=app.version,
            description=app.description,
            routes=routes,
            servers=[{"url": app.state.site.base_path}] if app.state.site.base_path else None,
        )
        app.openapi_schema = _as_it_is(found, routes)
    schema: dict[str, Any] = app.openapi_schema
    return schema


def _as_it_is(found: dict[str, Any], routes: list[RouteContext]) -> dict[str, Any]:
    """Errors as `web.failures` answers them, and who may ask, as `web.access` looks at it."""
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    components["securitySchemes"] = SCHEMES
    known = {(each.path_format, method.lower()): each for each in routes for method in each.methods or ()}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = PROBLEM
            route = known[path, method]
            right = right_of(route)
            operation["x-right"] = right.name
            if right is not Right.OPEN:
                operation["security"] = [{"session": []}, *([{"token": []}] if takes_token(route) else [])]
    return found


@router.get(f"{PREFIX}/openapi.json", dependencies=[allow(Right.LOGGED_IN)])
def openapi(request: Request) -> JSONResponse:
    return JSONResponse(document(request))


@router.get("/api/docs", dependencies=[allow(Right.LOGGED_IN)])
def reader(request: Request) -> HTMLResponse:
    return render(request, "api_docs.html")
