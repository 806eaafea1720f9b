"""A target of an alias confirms: by an operation of the API, or on a page without a key."""

from __future__ import annotations

from html import escape
from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.responses import HTMLResponse
from starlette.routing import Route

from posthorn.ports.errors import ValidationFailed
from posthorn.runtime.audit_context import AuditContext, enter_audit_context
from posthorn.runtime.ids import new_id
from posthorn_api.directory.routes import aliases
from posthorn_api.directory.schemas import AliasView, ForwardConfirmation
from posthorn_api.forwards.service import PAGE_PATH, Confirmations
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    Caller,
    Directory,
    problems,
    service_of,
)
from posthorn_api.http.problems import answering

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Mail forwarding</title></head>
<body><h1>Mail forwarding</h1>{}</body></html>
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@aliases.post(
    "/v1/aliases/confirm",
    operation_id="confirmForward",
    summary="Confirm a target of an alias.",
    responses=problems(*BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def confirm_forward(
    body: ForwardConfirmation,
    caller: Caller,
    service: Directory,
    forwards: Annotated[Confirmations, Depends(service_of(Confirmations))],
) -> AliasView:
    """With the token that the target received by mail and passed on to you. From now on the alias
    forwards to the target. The target can also confirm by the link in that message.
    """
    return AliasView.from_alias(
        await service.alias(caller, await forwards.confirm(caller.tenant, body.token))
    )


def confirmation_pages(forwards: Confirmations) -> list[Route]:
    """Make the pages: GET shows what is asked, POST confirms, so that programs that follow links
    confirm nothing."""

    async def show(request: Request) -> Response:
        target = await forwards.find(request.path_params["token"])
        if target is None:
            return _page("<p>This link is not valid any more.</p>", 404)
        text = f"<p>May <b>{escape(target.alias)}</b> forward its mail to <b>{escape(target.target)}</b>?</p>"
        return _page(
            f'{text}<form method="post"><button type="submit">Yes, forward it to me</button></form>'
        )

    async def confirm(request: Request) -> Response:
        token = request.path_params["token"]
        target = await forwards.find(token)
        try:
            with enter_audit_context(
                AuditContext(
                    "", target.target if target else "", "recipient", "alias.confirm", str(new_id())
                )
            ):
                alias = await forwards.confirm(None, token)
        except ValidationFailed:
            return _page("<p>This link is not valid any more.</p>", 404)
        return _page(f"<p>Thank you. Mail for {escape(alias)} is forwarded to you from now on.</p>")

    path = PAGE_PATH + "{token}"
    return [
        Route(path, answering(show), methods=["GET"]),
        Route(path, answering(confirm), methods=["POST"]),
    ]


def _page(content: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(content), status, headers=_HEADERS)
