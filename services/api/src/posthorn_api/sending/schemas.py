"""The JSON shapes of messages that are sent."""

from __future__ import annotations

import base64
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn_api.http.schemas import ApiModel, Line
from posthorn_api.sending.compose import Attachment, Draft, mailbox
from posthorn_api.sending.service import Recipient, SendRequest


def _text(value: str) -> str:
    if "\0" in value or not _is_unicode(value):
        raise ValueError("NUL and broken Unicode are not allowed")
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


Text = Annotated[str, AfterValidator(_text)]
Boxes = Annotated[list[Line], Field(max_length=1000)]
Base64 = Annotated[str, Field(json_schema_extra={"format": "byte"})]

_PIECE = 1024 * 1024
"""Letters of base64 that are decoded at a time; a multiple of four."""
_COMPOSED = ("cc", "bcc", "reply_to", "subject", "text", "html", "headers", "attachments")


class AttachmentPart(ApiModel):
    """A file attached to a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filename: Annotated[Line, Field(max_length=255)] | None = Field(None, examples=["report.pdf"])
    content_type: Line = Field("application/octet-stream", examples=["application/pdf"])
    content: Base64 = Field(
        description="The content of the file in base64.", examples=["JVBERi0xLjcK"]
    )
    inline: bool = Field(
        False,
        description="Whether the file is shown within the message rather than as an attachment.",
    )
    content_id: Line | None = Field(
        None,
        description="Identifier by which the HTML refers to the file, as `cid:` and this value.",
        examples=["logo"],
    )


class Sending(ApiModel):
    """A message to send: composed from its parts, or whole in `raw`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sender: Line = Field(
        alias="from",
        description="`local@domain` or `Name <local@domain>`: an account or alias in a domain of the key's"
        " tenant. With `raw`, the reverse-path.",
        examples=["Alice <alice@example.test>"],
    )
    to: Boxes = Field(
        default_factory=list,
        description="One address in each item, in the form of `from`; a name needs no quotes.",
        examples=[["bob@example.org"]],
    )
    cc: Boxes = Field(default_factory=list)
    bcc: Boxes = Field(
        default_factory=list, description="Recipients that are not named in the message."
    )
    reply_to: Boxes = Field(default_factory=list)
    subject: Line | None = Field(None, examples=["Your report"])
    text: Text | None = Field(None, examples=["Good morning,\nhere it is.\n"])
    html: Text | None = Field(None, description="HTML alternative to `text`.")
    headers: dict[str, Line] = Field(
        default_factory=dict,
        max_length=100,
        description="Additional header fields, such as `In-Reply-To` or `X-Campaign`.",
    )
    attachments: Annotated[list[AttachmentPart], Field(max_length=100)] = Field(
        default_factory=list
    )
    raw: Base64 | None = Field(
        None,
        description="A whole message (RFC 5322) in base64, instead of subject, texts, headers and"
        " attachments. It is sent to the addresses in `to`. Date and Message-ID are added if"
        " missing; Bcc is removed.",
    )

    def wish(self) -> SendRequest:
        """Read it. Raises ValidationFailed."""
        sender = mailbox("from", self.sender)
        named = {
            name: [
                mailbox(f"{name}[{place}]", text) for place, text in enumerate(getattr(self, name))
            ]
            for name in ("to", "cc", "bcc", "reply_to")
        }
        recipients = [
            Recipient(f"{name}[{place}]", box)
            for name in ("to", "cc", "bcc")
            for place, box in enumerate(named[name])
        ]
        if self.raw is not None:
            for name in _COMPOSED:
                if getattr(self, name):
                    raise ValidationFailed(
                        FieldError(name, "not allowed with raw: the message itself contains it")
                    )
            return SendRequest(sender, recipients, _decoded("raw", self.raw))
        attachments = [
            Attachment(
                part.filename,
                part.content_type,
                _decoded(f"attachments[{place}].content", part.content),
                part.inline,
                part.content_id,
            )
            for place, part in enumerate(self.attachments)
        ]
        draft = Draft(
            sender,
            named["to"],
            named["cc"],
            named["reply_to"],
            self.subject,
            self.text,
            self.html,
            self.headers,
            attachments,
        )
        return SendRequest(sender, recipients, draft)


class SentView(ApiModel):
    """A message that was accepted."""

    id: UUID = Field(description="Id of the message; its trace is at /v1/messages/{id}/trace.")
    recipients: list[str]


def _decoded(where: str, text: str) -> bytes:
    """Decode piece by piece: the interpreter must not be held for long."""
    try:
        data = text.encode("ascii").translate(None, b" \t\r\n\v\f")
        if 0 <= data.find(b"=") < len(data) - 2:
            raise ValueError("there are characters after the end of the base64")
        return b"".join(
            base64.b64decode(data[at : at + _PIECE], validate=True)
            for at in range(0, len(data), _PIECE)
        )
    except ValueError:
        raise ValidationFailed(FieldError(where, "not valid base64")) from None
