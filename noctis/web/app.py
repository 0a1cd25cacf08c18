"""The application: routes, what holds for all of them, and where each comes from. One line a noun."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from noctis import __version__
from noctis.web import access, failures
from noctis.web.api import docs
from noctis.web.api import studies as api_studies
from noctis.web.guard import Guard
from noctis.web.pages import account, facilities, studies
from noctis.web.site import Site

STATIC = Path(__file__).parent / "static"
ROUTERS = (account.router, facilities.router, studies.router, api_studies.router, docs.router)


def create_app(site: Site) -> FastAPI:
    """The pages and the API of one home."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        site.close()

    app = FastAPI(
        title="Noctis",
        version=__version__,
        description="The front door for DICOM images that arrive from many facilities.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        root_path=site.base_path,
        lifespan=lifespan,
    )
    app.state.site = site
    for router in ROUTERS:
        app.include_router(router)
    access.require_rights(app)
    failures.install(app)
    app.mount("/static", Static(directory=STATIC), name="static")
    app.add_middleware(Guard, https=site.settings.web.certificate is not None)
    return app


class Static(StaticFiles):
    """Our own assets; named with the version in their address, so a browser may keep them."""

    def file_response(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        found = super().file_response(*args, **kwargs)
        found.headers["Cache-Control"] = "public, max-age=86400"
        return found
