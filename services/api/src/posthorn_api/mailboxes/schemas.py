"""The JSON shapes of mailboxes, deleted messages and transfers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from posthorn.ports.account_mail import DeletedMessage, Mailbox, Message
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.classifications import Classified
from posthorn.wire.message.header_decoding import decode_addresses, decode_text
from posthorn_api.http.schemas import ApiModel, Line, RequestBody, matching
from posthorn_api.http.verdicts import FilingView, VerdictView


class MailboxCreation(RequestBody):
    """A mailbox to create."""

    name: Line = Field(
        examples=["Work/2026"],
        description="Name of the mailbox; a slash separates the levels of the hierarchy.",
    )


class MailboxChange(RequestBody):
    """What of a mailbox to change; fields that are left out keep their values."""

    name: Line = Field(
        default_factory=str,
        examples=["Work/2026"],
        description="The new name; mailboxes below it are renamed with it, and missing ones above it are created.",
    )
    subscribed: bool = Field(
        default_factory=bool, description="Whether mail clients show the mailbox."
    )


def _distinct(words: list[str]) -> list[str]:
    if len({word.lower() for word in words}) < len(words):
        raise ValueError("the same word is given twice")
    return words


Flag = Literal["seen", "answered", "flagged", "deleted", "draft"]
_KEYWORD = r"^[!#$&\'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,255}$"
Keyword = Annotated[
    str,
    Field(json_schema_extra={"pattern": _KEYWORD}),
    matching(
        _KEYWORD,
        'must be 1 to 255 visible ASCII characters without " % ( ) * \\ ] {, such as $Forwarded',
    ),
]


class MessageChange(RequestBody):
    """Flags of a message to change; fields that are left out keep their values."""

    flags: Annotated[list[Flag], AfterValidator(_distinct)] = Field(
        default_factory=list,
        examples=[["seen", "flagged"]],
        description="The flags that the message is to have.",
    )
    keywords: Annotated[list[Keyword], Field(max_length=100), AfterValidator(_distinct)] = Field(
        default_factory=list,
        examples=[["$Forwarded"]],
        description="The keywords that it is to have; their case does not matter.",
    )


class MessageMove(RequestBody):
    """The target of a move."""

    mailbox: Line = Field(examples=["Trash"])


class ClassificationRequest(RequestBody):
    """What the owner of a message says of it."""

    classification: Literal["spam", "ham", "none"] = Field(
        description="`spam` or `ham` (not spam); `none` takes back what was said before."
    )


class ClassificationView(ApiModel):
    """What was said of a message."""

    message: UUID
    classification: Literal["spam", "ham", "none"]
    taught: Literal["spam", "ham", "none"] = Field(
        description="What the filter has learned of it so far; a change is learned within seconds."
    )
    mailbox: str = Field(description="The mailbox that holds the message now.")

    @classmethod
    def from_classified(cls, classified: Classified) -> ClassificationView:
        """Show one."""
        return cls(
            message=classified.message,
            classification=classified.classification.value,
            taught=classified.taught.value,
            mailbox=classified.mailbox,
        )


class MailboxView(ApiModel):
    """A mailbox of an account."""

    name: str
    role: Literal["inbox", "junk", "sent", "trash", "drafts", "archive"] | None = Field(
        description="Special use of the mailbox; null for an ordinary one."
    )
    messages: int
    unseen: int
    size_bytes: int = Field(description="Sum of the sizes of its messages, in bytes.")
    uidvalidity: int
    uidnext: int
    subscribed: bool = Field(description="Whether mail clients show it (IMAP's SUBSCRIBE).")

    @classmethod
    def from_mailbox(cls, mailbox: Mailbox) -> MailboxView:
        """Show a mailbox."""
        return cls(
            name=mailbox.name,
            role=mailbox.role,  # type: ignore[arg-type]
            messages=mailbox.messages,
            unseen=mailbox.unseen,
            size_bytes=mailbox.octets,
            uidvalidity=mailbox.uidvalidity,
            uidnext=mailbox.uidnext,
            subscribed=mailbox.subscribed,
        )


class MailboxesView(ApiModel):
    """All mailboxes of an account."""

    items: list[MailboxView]
    next_cursor: None = Field(
        default=None, description="Always null: an account has at most a thousand mailboxes."
    )


class DeletedMessageView(ApiModel):
    """A deleted message that can be restored."""

    message: MessageView = Field(
        description="The message as it was. `mailbox` is the mailbox to which it would be restored; `uid` is 0."
    )
    deleted_at: datetime
    until: datetime = Field(description="Time at which it is removed permanently.")

    @classmethod
    def from_deleted(cls, deleted: DeletedMessage) -> DeletedMessageView:
        """Show one."""
        return cls(
            message=MessageView.from_message(deleted.message),
            deleted_at=deleted.deleted_at,
            until=deleted.until,
        )


class ImportFailure(ApiModel):
    """A message that was not imported."""

    message: int = Field(examples=[17], description="Position of the message in the file, from 1.")
    name: str | None = Field(None, description="Path of the message in an archive.")
    reason: str = Field(examples=["the mailbox has no room for it"])


class ImportSummary(ApiModel):
    """The result of an import."""

    messages: int
    imported: int
    duplicates: int = Field(
        description="Number of messages that the account already has, byte for byte."
    )
    failed: int
    imported_bytes: int = Field(description="Sum of the sizes of the imported messages, in bytes.")
    failures: list[ImportFailure] = Field(description="The first hundred failures.")
    left_out: int = Field(
        description="Number of records that are not messages: messages that a mail program has deleted, and"
        " its own data about the folder."
    )
    left_out_records: list[ImportFailure] = Field(
        description="The first hundred of these records, with the reason."
    )
    from_lines_left: int = Field(
        description="Lines of an mbox that begin with From after an empty line and were taken for text of a message."
    )


FLAGS = ("seen", "answered", "flagged", "deleted", "draft")
"""Names of the flags, by bit."""


_UNREAD = dict.fromkeys(("from_", "subject", "date", "message_id", "reverse_path"), "")


class MessageView(ApiModel):
    """A message in a mailbox."""

    id: UUID
    mailbox: str
    uid: int
    size: int = Field(description="Size in bytes, exactly as POP3 reports it.")
    received_at: datetime
    from_: str = Field(serialization_alias="from", description="The From field, decoded.")
    subject: str = Field(description="The Subject field, decoded.")
    date: str = Field(description="The Date field, as the sender wrote it.")
    message_id: str
    reverse_path: str = Field(
        description="The reverse-path of the envelope; empty for bounces and other notifications."
    )
    flags: list[Flag]
    keywords: list[str]
    verdict: VerdictView | None = Field(None, description="Null if the message was not scanned.")
    filed: FilingView | None = Field(
        None,
        description="What the account's filter policy decided, if it had a reason to do anything but deliver.",
    )

    @classmethod
    def from_message(cls, message: Message) -> MessageView:
        """Show a message."""
        return cls(
            id=message.id,
            mailbox=message.mailbox,
            uid=message.uid,
            size=message.size,
            received_at=message.received_at,
            from_=decode_addresses(message.from_),
            subject=decode_text(message.subject),
            date=message.date,
            message_id=message.message_id,
            reverse_path=message.reverse_path,
            flags=[name for bit, name in enumerate(FLAGS) if message.flags >> bit & 1],  # type: ignore[misc]
            keywords=list(message.keywords),
            verdict=VerdictView.of(message.verdict),
            filed=FilingView.of(message.filed),
        )

    @classmethod
    def changed(cls, message: Message, caller: ApiKey) -> MessageView:
        """Show a message to the caller who changed it: what its sender wrote only if the caller may
        read content."""
        view = cls.from_message(message)
        return view if caller.message_content else view.model_copy(update=_UNREAD)
