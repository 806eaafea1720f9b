"""The routes of the API's reference: the page, its assets, and the OpenAPI document.

Theory of operation:

- The page loads nothing from another host. Swagger UI is part of the package (``assets``, see ADR
  29); its files are stored compressed and sent as they are to clients that accept gzip, which is
  every browser.
- A file's name holds a hash of its content, so that a browser may keep it for a year.
- The content security policy allows scripts and styles of this host alone: no inline script, no
  inline style, no ``eval``. Requests go to this host only, so that an API key that somebody enters
  cannot be sent elsewhere.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable
from html import escape
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from posthorn_api.http.problems import Problem
from posthorn_api.http.static_content import IMMUTABLE, MEDIA_TYPES, REVALIDATED, StaticContent

PAGE_PATH = "/docs"
DOCUMENT_PATH = "/openapi.json"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # the viewer's style sheet holds its icons
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" type="image/png" href="{favicon-32x32.png}">
<link rel="stylesheet" href="{swagger-ui.css}">
<link rel="stylesheet" href="{page.css}">
</head>
<body>
<div id="reference"></div>
<noscript><p>This page needs JavaScript. The OpenAPI document is at <a href="openapi.json">openapi.json</a>.</p></noscript>
<script src="{swagger-ui-bundle.js}"></script>
<script src="{start.js}"></script>
</body>
</html>
"""


def reference_routes(title: str, describe: Callable[[], dict[str, Any]]) -> list[Route]:
    """Return the routes that show an OpenAPI document: what ``describe`` returns, which is called
    once, by the first request, in a thread."""
    assets, names = _assets()
    text = _PAGE.replace("{title}", escape(title))
    for name, hashed in names.items():
        text = text.replace(f"{{{name}}}", f"docs/{hashed}")
    page = StaticContent.from_text(
        text, "text/html; charset=utf-8", {**_SECURITY_HEADERS, **REVALIDATED}
    )
    described: list[StaticContent] = []
    turn = asyncio.Lock()

    def document() -> StaticContent:
        text = json.dumps(describe(), ensure_ascii=False, separators=(",", ":"))
        return StaticContent.from_text(text, "application/json", REVALIDATED)

    async def show_page(request: Request) -> Response:
        return page.response(request)

    async def show_document(request: Request) -> Response:
        async with turn:
            if not described:
                described.append(await asyncio.to_thread(document))
        return described[0].response(request)

    async def show_asset(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        if asset is None:
            return Problem(404, "not-found", "the reference has no such file").response()
        return asset.response(request)

    return [
        Route(DOCUMENT_PATH, show_document, methods=["GET"]),
        Route(PAGE_PATH, show_page, methods=["GET"]),
        Route(PAGE_PATH + "/{name}", show_asset, methods=["GET"]),
    ]


def _assets() -> tuple[dict[str, StaticContent], dict[str, str]]:
    """Return the assets by hashed name, and the hashed name of each file."""
    found, names = {}, {}
    for file in files(__package__).joinpath("assets").iterdir():
        name, content = file.name, file.read_bytes()
        stored_compressed = name.endswith(".gz")
        name = name.removesuffix(".gz")
        stem, dot, extension = name.rpartition(".")
        media_type = MEDIA_TYPES.get(dot + extension)
        if media_type is None:
            continue  # licences and the lock
        compressed = content if stored_compressed else gzip.compress(content, mtime=0)
        hashed = f"{stem}.{hashlib.sha256(compressed).hexdigest()[:16]}.{extension}"
        found[hashed] = StaticContent(compressed, media_type, IMMUTABLE)
        names[name] = hashed
    return found, names
