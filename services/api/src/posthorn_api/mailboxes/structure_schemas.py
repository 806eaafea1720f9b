"""The JSON shapes of a message's structure."""

from __future__ import annotations

from pydantic import Field

from posthorn.wire.message.mime import Part
from posthorn_api.http.schemas import ApiModel
from posthorn_api.mailboxes.structure import Structure


class MessagePartView(ApiModel):
    """A part of a message."""

    number: str | None = Field(
        description="As in IMAP: 1, 1.2, … Null for a multipart that is a whole message, which cannot be"
        " downloaded as a part."
    )
    depth: int = Field(description="Number of parts that enclose this one.")
    type: str = Field(
        description="Media type, in lower case; text/plain if none is given or it is malformed."
    )
    charset: str | None
    name: str | None = Field(
        description="File name, decoded, without directories and control characters."
    )
    disposition: str | None = Field(
        description="inline, attachment, or another value that the sender wrote."
    )
    is_attachment: bool = Field(
        description="Whether the part is declared an attachment, has a file name, or is neither plain text nor HTML."
    )
    content_id: str | None
    description: str | None
    encoding: str = Field(description="Content-Transfer-Encoding, in lower case.")
    header_offset: int = Field(description="Offset of its header in the message, in bytes.")
    body_offset: int
    body_bytes: int = Field(description="Size of its encoded body, in bytes.")
    decoded_bytes: int = Field(
        description="Size of its decoded content, in bytes; an estimate if it is encoded."
    )
    lines: int = Field(description="Number of lines in its body.")

    @classmethod
    def from_part(cls, depth: int, part: Part) -> MessagePartView:
        """Show a part."""
        fields = part.fields
        return cls(
            number=part.number or None,
            depth=depth,
            type=fields.type,
            charset=fields.charset,
            name=fields.file_name,
            disposition=fields.disposition,
            is_attachment=part.is_attachment,
            content_id=fields.content_id,
            description=fields.description,
            encoding=fields.encoding,
            header_offset=part.header_offset,
            body_offset=part.body_offset,
            body_bytes=part.body_bytes,
            decoded_bytes=part.decoded_bytes,
            lines=part.lines,
        )


class StructureView(ApiModel):
    """The MIME structure of a message."""

    size_bytes: int = Field(description="Size of the whole message, in bytes.")
    is_complete: bool = Field(
        description="False if the message has more parts, or deeper ones, than are listed."
    )
    parts: list[MessagePartView] = Field(
        description="All parts in order, each before those that it encloses."
    )

    @classmethod
    def from_structure(cls, structure: Structure) -> StructureView:
        """Show a structure."""
        parts = [MessagePartView.from_part(depth, part) for depth, part in structure.root.walk()]
        return cls(size_bytes=structure.size_bytes, is_complete=structure.is_complete, parts=parts)
