"""Operations on the parts of messages."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Path, Query, Response
from starlette.responses import StreamingResponse

from posthorn_api.http.operations import AddressPath, Caller, problems, router
from posthorn_api.http.untrusted_content import UNTRUSTED_CONTENT_HEADERS
from posthorn_api.mailboxes.message_routes import pieces_of
from posthorn_api.mailboxes.routes import ONE_MESSAGE, Mailboxes, MessagePath
from posthorn_api.mailboxes.structure_schemas import StructureView

parts = router("Messages")

Number = Annotated[
    str,
    Path(max_length=500, description="Number of the part, from the structure.", examples=["1.2"]),
]


@parts.get(
    f"{ONE_MESSAGE}/structure",
    operation_id="getMessageStructure",
    summary="List the parts and attachments of a message.",
    responses=problems(404),
)
async def get_structure(
    address: AddressPath, message: MessagePath, caller: Caller, service: Mailboxes
) -> StructureView:
    """With their numbers, types, names and sizes (RFC 2045, RFC 2046)."""
    return StructureView.from_structure(await service.structure(caller, address, message))


@parts.get(
    f"{ONE_MESSAGE}/parts/{{part}}",
    operation_id="getMessagePart",
    summary="Download a part of a message.",
    response_class=Response,
    responses={
        200: {
            "description": "The content of the part.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        },
        **problems(404),
    },
)
async def get_part(
    address: AddressPath,
    message: MessagePath,
    part: Number,
    caller: Caller,
    service: Mailboxes,
    raw: Annotated[
        bool, Query(description="Return the part as it is encoded in the message.")
    ] = False,
) -> Response:
    """Decoded from base64 or quoted-printable, in the part's own character set. The media type of
    the answer is always `application/octet-stream`, because the content is untrusted; the type
    of the part is in the structure.
    """
    found = await service.part(caller, address, message, part, raw=raw)
    name = found.part.fields.file_name or f"{message}-{part}"
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        **UNTRUSTED_CONTENT_HEADERS,
    }
    if found.length is not None:
        headers["Content-Length"] = str(found.length)
    return StreamingResponse(
        pieces_of(found.first, found.rest), 200, headers, "application/octet-stream"
    )
