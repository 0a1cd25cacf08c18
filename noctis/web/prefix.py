"""The base path: an ASGI middleware for reverse proxies that leave it on a request, and for those that take it off."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Every path begins with the base path behind this, whatever the proxy has done."""

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self._app = app
        self._base = base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._base:
            path = scope["path"]
            if path == self._base:
                path += "/"
            elif not path.startswith(f"{self._base}/"):
                path = self._base + path
            scope = {**scope, "path": path, "root_path": self._base}
        await self._app(scope, receive, send)
