"""No application starts with a route that says nothing of who may ask it."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles

from noctis.users.roles import RIGHTS, Right, Role
from noctis.web.access import allow, require_rights, right_of, routes_of


def app_with(**route: Any) -> FastAPI:
    """A route in a router in a router, as deep as they may be."""
    inner, outer, app = APIRouter(prefix="/inner"), APIRouter(), FastAPI(openapi_url=None)
    inner.get("/x", **route)(lambda: "x")
    outer.include_router(inner)
    app.include_router(outer)
    return app


def test_a_route_with_a_right() -> None:
    app = app_with(dependencies=[allow(Right.OPERATE)])
    require_rights(app)
    (route,) = routes_of(app)
    assert (route.path, right_of(route)) == ("/inner/x", Right.OPERATE)


@pytest.mark.parametrize("dependencies", [[], [allow(Right.SEE), allow(Right.OPEN)]])
def test_a_route_without_one_or_with_two(dependencies: list[Any]) -> None:
    with pytest.raises(TypeError, match=r"/inner/x has \d rights"):
        require_rights(app_with(dependencies=dependencies))


def test_a_route_of_the_application_itself() -> None:
    app = FastAPI(openapi_url=None)
    app.get("/x")(lambda: "x")
    with pytest.raises(TypeError, match="/x has 0 rights"):
        require_rights(app)


def test_what_nobody_can_guard() -> None:
    app = FastAPI(openapi_url=None)

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None: ...

    with pytest.raises(TypeError, match="/ws"):
        require_rights(app)
    app = FastAPI(openapi_url=None)
    app.mount("/other", Starlette())
    with pytest.raises(TypeError, match="/other"):
        require_rights(app)
    with pytest.raises(TypeError, match=r"/openapi\.json"):
        require_rights(FastAPI())


def test_static_files_are_everybodys(tmp_path: Path) -> None:
    app = app_with(dependencies=[allow(Right.SEE)])
    app.mount("/static", StaticFiles(directory=tmp_path))
    require_rights(app)


def test_rights_hold_the_ones_before() -> None:
    assert [RIGHTS[role] for role in (Role.FACILITY, Role.VIEWER, Role.OPERATOR, Role.ADMIN)] == sorted(RIGHTS.values())
    assert RIGHTS[Role.ADMIN] == max(Right)
    assert RIGHTS.keys() == set(Role)
