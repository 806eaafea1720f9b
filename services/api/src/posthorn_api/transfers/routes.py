"""Operations that carry the mail of an account out, and in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from posthorn.ports.api_keys import ApiKey
from posthorn_api.http.operations import (
    POST_ONLY,
    AddressPath,
    Caller,
    problems,
    router,
    service_of,
)
from posthorn_api.http.problems import Problem, problem_of
from posthorn_api.http.schemas import Line
from posthorn_api.http.untrusted_content import UNTRUSTED_CONTENT_HEADERS
from posthorn_api.mailboxes.message_routes import pieces_of
from posthorn_api.mailboxes.schemas import ImportFailure, ImportSummary
from posthorn_api.transfers.archives import Format
from posthorn_api.transfers.service import TransferService

transfers = router("Export and import")

IMPORT_PATH = re.compile(r"/v1/accounts/(?:[^/]+|.+@[^/]+)/import\Z")
"""Where a POST may have a body as long as the mail of years; the operation reads it as it comes."""
_MEDIA = {Format.MBOX: ("application/mbox", "mbox"), Format.MAILDIR: ("application/x-tar", "tar")}
_MEDIA[Format.EML] = _MEDIA[Format.MAILDIR]
_SWALLOWED = 8 * 1024 * 1024
_SWALLOW_SECONDS = 5.0

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORMATS = (
    "mbox: one mbox file (mboxrd). maildir: a tar archive with a Maildir for each mailbox."
    " eml: a tar archive with a file for each message."
)


Transfers = Annotated[TransferService, Depends(service_of(TransferService))]
MailboxQuery = Annotated[
    Line | None, Query(description="Only this mailbox; without it, all mailboxes.")
]
EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, streamed while it is read. A response that ends early is incomplete.",
        "headers": {
            "Posthorn-Messages": {
                "description": "Number of messages when the export started.",
                "schema": {"type": "integer"},
            },
            "Posthorn-Bytes": {
                "description": "Sum of the sizes of the messages, in bytes.",
                "schema": {"type": "integer"},
            },
        },
        "content": {"application/mbox": _BINARY, "application/x-tar": _BINARY},
    },
    **problems(404),
}
"""The responses of an export."""
FormatQuery = Annotated[Format, Query(alias="format", description=_FORMATS)]


@transfers.get(
    "/v1/accounts/{address:address}/export",
    operation_id="exportMail",
    summary="Export mail.",
    response_class=Response,
    responses=EXPORTED,
)
async def export_mail(
    address: AddressPath,
    caller: Caller,
    service: Transfers,
    form: FormatQuery,
    mailbox: MailboxQuery = None,
) -> Response:
    """The formats mbox (Status, X-Status) and maildir keep flags, maildir also keywords (the record
    `POSTHORN.keywords` of a file's pax header), maildir and eml keep mailboxes; all formats keep each message byte for byte.
    """
    return await exported(service, caller, address, form, mailbox)


async def exported(
    service: TransferService, caller: ApiKey, address: str, form: Format, mailbox: str | None
) -> Response:
    """Return the answer that streams the mail of an account."""
    contents, pieces = await service.export(caller, address, form, mailbox)
    media, ending = _MEDIA[form]
    headers = {
        "Content-Disposition": f'attachment; filename="mail.{ending}"',
        "Posthorn-Messages": str(contents.messages),
        "Posthorn-Bytes": str(contents.octets),
        **UNTRUSTED_CONTENT_HEADERS,
    }
    first = await anext(pieces, b"")  # a fault of the first message is an answer of its own
    return StreamingResponse(pieces_of(first, pieces), 200, headers, media)


_IMPORT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file, in the format named by `format`.",
        "content": {"application/mbox": _BINARY, "application/x-tar": _BINARY},
    }
}


@transfers.post(
    "/v1/accounts/{address:address}/import",
    operation_id="importMail",
    summary="Import mail.",
    responses=problems(404, 408, 409, 413, 429),
    dependencies=POST_ONLY,
    openapi_extra=_IMPORT,
)
async def import_mail(
    request: Request,
    address: AddressPath,
    caller: Caller,
    service: Transfers,
    form: FormatQuery,
    mailbox: Annotated[
        Line | None,
        Query(
            description="Mailbox that receives all messages. Without it, the mailboxes of the archive or, for"
            " mbox, INBOX."
        ),
    ] = None,
) -> ImportSummary:
    """Mailboxes that do not exist are created. Messages that the account already has, byte for byte
    in any mailbox, are skipped: if an import ends early, repeat it as a whole. Dates are taken
    from the file (the From line, or the names in a Maildir), otherwise from the Received and
    Date fields; flags from the names in a Maildir, or from Status and X-Status; keywords from the record
    `POSTHORN.keywords` of a file's pax header, separated by spaces. The record `POSTHORN.uidl` is the
    unique id (UIDL, RFC 1939) that POP3 shows for a message of the INBOX, if no other message has it.
    """
    pieces = request.state.pieces
    try:
        found = await service.take_in(caller, address, form, mailbox, pieces)
    except TimeoutError:
        raise Problem(
            408, "timeout", "the body stopped arriving", headers={"Connection": "close"}
        ) from None
    except Exception as error:
        refused = problem_of(error)
        refused.headers["Connection"] = "close"
        await _swallow(pieces)
        raise refused from None
    failures = [
        ImportFailure(message=number, name=name, reason=reason)
        for number, name, reason in found.failures
    ]
    return ImportSummary(
        messages=found.messages,
        imported=found.imported,
        duplicates=found.duplicates,
        failed=found.failed,
        imported_bytes=found.octets,
        failures=failures,
        left_out=found.left_out,
        left_out_records=[
            ImportFailure(message=number, name=name, reason=reason)
            for number, name, reason in found.leavings
        ],
        from_lines_left=found.from_lines_left,
    )


async def _swallow(pieces: AsyncIterator[bytes]) -> None:
    """Take in a little more: a client that is still writing would not read the answer."""
    taken = 0
    with suppress(TimeoutError, Exception):
        async with asyncio.timeout(_SWALLOW_SECONDS):
            async for piece in pieces:
                taken += len(piece)
                if taken > _SWALLOWED:
                    return
