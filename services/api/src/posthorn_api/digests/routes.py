"""The page of a release link: GET shows the message, POST releases it, so that programs that follow
links release nothing. It needs no key: the token is one."""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from posthorn.ports.errors import Conflict
from posthorn.runtime.audit_context import AuditContext, enter_audit_context
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header_decoding import decode_addresses, decode_text
from posthorn_api.digests.service import PAGE_PATH, DigestService, TooMany
from posthorn_api.http.problems import problem_of

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Release a message</title></head>
<body><h1>Release a message</h1>{}</body></html>
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
_GONE = "<p>This link is not valid any more, or the message has been released or deleted.</p>"


def release_pages(digests: DigestService) -> list[Route]:
    """Make the pages."""

    async def show(request: Request) -> Response:
        found = await digests.find(request.path_params["token"])
        if found is None:
            return _page(_GONE, 404)
        sender, subject = decode_addresses(found.from_), decode_text(found.subject)
        return _page(
            f"<p>From: <b>{escape(sender)}</b><br>Subject: <b>{escape(subject)}</b></p>"
            '<form method="post"><button type="submit">Move it to my inbox</button></form>'
        )

    async def release(request: Request) -> Response:
        token = request.path_params["token"]
        actor = await digests.address(token) or ""
        context = AuditContext("", actor, "recipient", "message.release", str(new_id()))
        with enter_audit_context(context):
            done = await digests.release(token)
        if not done:
            return _page(_GONE, 404)
        return _page("<p>The message is in your inbox. The filter learns that it is no spam.</p>")

    async def guarded(request: Request) -> Response:
        try:
            return await (release if request.method == "POST" else show)(request)
        except TooMany:
            return _page("<p>Too many messages were released. Please try again later.</p>", 429)
        except Conflict:
            return _page("<p>Your mailbox is full. Please make room and try again.</p>", 409)
        except Exception as error:
            return problem_of(error).response()

    return [Route(PAGE_PATH + "{token}", guarded, methods=["GET", "POST"])]


def _page(content: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(content), status, headers=_HEADERS)
