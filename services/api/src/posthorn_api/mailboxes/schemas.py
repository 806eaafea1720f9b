"""The JSON shapes of mailboxes, deleted messages and transfers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from posthorn.ports.account_mail import DeletedMessage, Mailbox
from posthorn_api.http.schemas import Line, MessageView


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MailboxCreation(_Request):
    """A mailbox to create."""

    name: Line = Field(
        examples=["Work/2026"], description="Name of the mailbox; a slash separates the levels of the hierarchy."
    )


class MessageMove(_Request):
    """The target of a move."""

    mailbox: Line = Field(examples=["Trash"])


class MailboxView(BaseModel):
    """A mailbox of an account."""

    name: str
    role: Literal["inbox", "junk", "sent", "trash"] | None = Field(
        description="Special use of the mailbox; null for an ordinary one."
    )
    messages: int
    unseen: int
    size_bytes: int = Field(description="Sum of the sizes of its messages, in bytes.")
    uidvalidity: int
    uidnext: int

    @classmethod
    def of(cls, mailbox: Mailbox) -> MailboxView:
        """Show a mailbox."""
        return cls(
            name=mailbox.name,
            role=mailbox.role,  # type: ignore[arg-type]
            messages=mailbox.messages,
            unseen=mailbox.unseen,
            size_bytes=mailbox.octets,
            uidvalidity=mailbox.uidvalidity,
            uidnext=mailbox.uidnext,
        )


class MailboxesView(BaseModel):
    """All mailboxes of an account."""

    items: list[MailboxView]
    next_cursor: None = Field(default=None, description="Always null: an account has at most a thousand mailboxes.")


class DeletedMessageView(BaseModel):
    """A deleted message that can be restored."""

    message: MessageView = Field(
        description="The message as it was. `mailbox` is the mailbox to which it would be restored; `uid` is 0."
    )
    deleted_at: datetime
    until: datetime = Field(description="Time at which it is removed permanently.")

    @classmethod
    def of(cls, deleted: DeletedMessage) -> DeletedMessageView:
        """Show one."""
        return cls(message=MessageView.of(deleted.message), deleted_at=deleted.deleted_at, until=deleted.until)


class ImportFailure(BaseModel):
    """A message that was not imported."""

    message: int = Field(examples=[17], description="Position of the message in the file, from 1.")
    name: str | None = Field(None, description="Path of the message in an archive.")
    reason: str = Field(examples=["the mailbox has no room for it"])


class ImportSummary(BaseModel):
    """The result of an import."""

    messages: int
    imported: int
    duplicates: int = Field(description="Number of messages that the account already has, byte for byte.")
    failed: int
    imported_bytes: int = Field(description="Sum of the sizes of the imported messages, in bytes.")
    failures: list[ImportFailure] = Field(description="The first hundred failures.")
    left_out: int = Field(
        description="Number of records that are not messages: messages that a mail program has deleted, and"
        " its own data about the folder."
    )
    left_out_records: list[ImportFailure] = Field(description="The first hundred of these records, with the reason.")
    from_lines_left: int = Field(
        description="Lines of an mbox that begin with From after an empty line and were taken for text of a message."
    )
