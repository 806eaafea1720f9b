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
    """A mailbox to be made."""

    name: Line = Field(examples=["Work/2026"], description="Levels are divided by slashes.")


class MessageMove(_Request):
    """Where a message is to go."""

    mailbox: Line = Field(examples=["Trash"])


class MailboxView(BaseModel):
    """A mailbox of an account."""

    name: str
    role: Literal["inbox", "junk", "sent", "trash"] | None = Field(description="Null: the owner's own.")
    messages: int
    unseen: int
    octets: int
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
            octets=mailbox.octets,
            uidvalidity=mailbox.uidvalidity,
            uidnext=mailbox.uidnext,
        )


class MailboxesView(BaseModel):
    """All mailboxes of an account."""

    items: list[MailboxView]
    next_cursor: None = Field(default=None, description="Always null: an account has a thousand mailboxes at most.")


class DeletedMessageView(BaseModel):
    """A message that can be brought back."""

    message: MessageView = Field(description="As it was. `mailbox` is where it would be again, `uid` is 0.")
    deleted_at: datetime
    until: datetime = Field(description="When its time is over.")

    @classmethod
    def of(cls, deleted: DeletedMessage) -> DeletedMessageView:
        """Show one."""
        return cls(message=MessageView.of(deleted.message), deleted_at=deleted.deleted_at, until=deleted.until)


class ImportFailure(BaseModel):
    """A message that was not imported."""

    message: int = Field(examples=[17], description="The how-manieth of the file it is, from 1.")
    name: str | None = Field(None, description="Its path in an archive.")
    reason: str = Field(examples=["the mailbox has no room for it"])


class ImportSummary(BaseModel):
    """What became of the messages of an import."""

    messages: int
    imported: int
    duplicates: int = Field(description="They were there already, octet for octet.")
    failed: int
    octets: int = Field(description="Of those imported.")
    failures: list[ImportFailure] = Field(description="The first hundred.")
    left_out: int = Field(
        description="Records that are no mail: messages that a mail program has deleted, and its own data about the folder."
    )
    left_out_records: list[ImportFailure] = Field(description="The first hundred of them, with the reason.")
    from_lines_left: int = Field(
        description="Lines of an mbox that begin with From after an empty line and were taken for text of a message."
    )
