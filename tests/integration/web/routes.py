"""Every route of the application, those included that are added some day, and a request that reaches each."""

import re
from dataclasses import dataclass

from fastapi import FastAPI

from noctis.users.roles import Right
from noctis.web import access
from noctis.web.access import right_of
from noctis.web.app import create_app
from noctis.web.guard import SAFE
from noctis.web.site import Site

# What stands in a path where a route has a parameter; the rest is "1", which is a number and a name.
PLACES = {"slug": "central"}


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str  # the pattern
    right: Right

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> set[str]:
        return set(re.findall(r"\{(\w+)", self.path))

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/api/v1/")

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE

    def address(self, **places: str) -> str:
        """A path that this route answers."""
        values = PLACES | places
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda hit: values.get(hit[1], "1"), self.path)


def routes_of(app: FastAPI) -> list[Route]:
    return [
        Route(method, str(route.path), right_of(route))
        for route in access.routes_of(app)
        for method in sorted(route.methods or ())
    ]


def all_routes() -> list[Route]:
    """Of an application that answers nothing: for parametrised tests, before there is a home."""
    from noctis.config import load_settings

    return routes_of(create_app(Site(load_settings())))
