"""The application of one home, as `noctis.web.app.create_app` makes it. Its routes, which are alike for every home and
take long to make, are those of the first one in this process."""

import copy
import functools

from fastapi import FastAPI
from starlette.datastructures import State

from noctis.config import load_settings
from noctis.web import app
from noctis.web.site import Site


def create_app(site: Site) -> FastAPI:
    made = copy.copy(_first())
    made.state = State({"site": site})
    made.middleware_stack = None
    made.openapi_schema = None
    return made


@functools.cache
def _first() -> FastAPI:
    return app.create_app(Site(load_settings()))
