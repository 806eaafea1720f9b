"""The routes of the console: its page, its assets, and the way there from ``/``.

Theory of operation:

- The files come from the package ``posthorn_console``, where it is installed and built. An asset's
  name holds a hash of its content, so that a browser may keep it for a year; the page itself is asked
  for each time.
- Each address below ``/console/`` that is no asset is the page: the console reads the address itself.
- The content security policy allows scripts and styles of this host alone, no inline ones, and turns
  texts into markup nowhere (Trusted Types), so that what a stranger wrote in a message stays text.
"""

from __future__ import annotations

import gzip
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from posthorn_api.http.problems import Problem
from posthorn_api.http.static_content import IMMUTABLE, MEDIA_TYPES, REVALIDATED, StaticContent

PATH = "/console"
ASSETS = "assets/"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def console_routes(files: Traversable) -> list[Route]:
    """Return the routes that serve the console's files: ``index.html`` and a folder of assets."""
    page = StaticContent.from_text(
        files.joinpath("index.html").read_text("utf-8"),
        "text/html; charset=utf-8",
        {**_SECURITY_HEADERS, **REVALIDATED},
    )
    assets = dict(_assets(files.joinpath("assets")))

    async def show(request: Request) -> Response:
        name: str = request.path_params["path"]
        if not name.startswith(ASSETS):
            return page.response(request)
        asset = assets.get(name.removeprefix(ASSETS))
        if asset is None:
            return Problem(404, "not-found", "the console has no such file").response()
        return asset.response(request)

    async def lead(request: Request) -> Response:
        return RedirectResponse(f"{PATH}/", 307)

    return [
        Route("/", lead, methods=["GET"]),
        Route(PATH, lead, methods=["GET"]),
        Route(PATH + "/{path:path}", show, methods=["GET"]),
    ]


def _assets(folder: Traversable) -> list[tuple[str, StaticContent]]:
    return [
        (file.name, StaticContent(gzip.compress(file.read_bytes(), mtime=0), media_type, IMMUTABLE))
        for file in folder.iterdir()
        if (media_type := MEDIA_TYPES.get("." + file.name.rpartition(".")[2])) is not None
    ]
