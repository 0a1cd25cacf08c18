"""The application: routes, what holds for all of them, and where each comes from. One line a noun."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from noctis import __version__
from noctis.web import access, failures
from noctis.web.guard import Guard
from noctis.web.prefix import Prefix
from noctis.web.site import Site

STATIC = Path(__file__).parent / "static"
THREADS = 64  # requests at work; those that wait for decoders, elements or passwords (46 at the most) leave some over
# modules with a `router`
PAGES = (
    "account",
    "events",
    "facilities",
    "facility",
    "facility_form",
    "health",
    "live",
    "login",
    "notifications",
    "quarantine",
    "refusals",
    "silence",
    "studies",
    "users",
    "viewer",
)
API = (
    "events",
    "facilities",
    "images",
    "live",
    "login",
    "notifications",
    "quarantine",
    "refusals",
    "silence",
    "studies",
    "tokens",
    "users",
    "docs",
)


def create_app(site: Site) -> FastAPI:
    """The pages and the API of one home."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        site: Site = app.state.site
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        site.sampler.start()
        site.warm()
        yield
        site.close()

    app = Application(
        title="Noctis",
        version=__version__,
        description="The front door for DICOM images that arrive from many facilities.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # such a redirect would name the host that the request names
        lifespan=lifespan,
    )
    app.state.site = site
    for folder, nouns in (("pages", PAGES), ("api", API)):
        for noun in nouns:
            app.include_router(import_module(f"noctis.web.{folder}.{noun}").router)
    failures.install(app)
    app.mount(access.STATIC, Static(directory=STATIC), name="static")
    access.require_rights(app)
    return app


class Application(FastAPI):
    """FastAPI, with what holds for every answer around all of it, its own answers to faults included."""

    def build_middleware_stack(self) -> ASGIApp:
        site: Site = self.state.site
        web = site.settings.web
        origin = None if web.url is None else "://".join(urlsplit(web.url)[:2])
        app: ASGIApp = Guard(super().build_middleware_stack(), https=site.https, origin=origin)
        app = Prefix(app, site.base_path)
        if web.proxies:
            app = ProxyHeadersMiddleware(app, trusted_hosts=list(web.proxies))  # type: ignore[arg-type, assignment]
        return app


class Static(StaticFiles):
    """Our own assets; named with the version in their address, so a browser may keep them."""

    def file_response(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        found = super().file_response(*args, **kwargs)
        found.headers["Cache-Control"] = "public, max-age=86400"
        return found
