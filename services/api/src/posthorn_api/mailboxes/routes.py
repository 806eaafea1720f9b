"""Operations on mailboxes, and on messages that were deleted or move."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from posthorn.model.classification import Classification
from posthorn.ports.account_mail import DeletedKey, DeletedMessage, FlagChange, Mailbox
from posthorn.ports.account_mail import MailboxChange as ChangeOfMailbox
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn_api.http.idempotency import receipt
from posthorn_api.http.operations import (
    ACCOUNT_LOGIN,
    BODY_PROBLEMS,
    POST_ONLY,
    AddressPath,
    Caller,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import Cursor, Limit, page, text_after
from posthorn_api.http.schemas import Page
from posthorn_api.mailboxes.schemas import (
    FLAGS,
    ClassificationRequest,
    ClassificationView,
    DeletedMessageView,
    MailboxChange,
    MailboxCreation,
    MailboxesView,
    MailboxView,
    MessageChange,
    MessageMove,
    MessageView,
)
from posthorn_api.mailboxes.service import MailboxService

mailboxes = router("Mailboxes")
messages = router("Messages")


Mailboxes = Annotated[MailboxService, Depends(service_of(MailboxService))]
MessagePath = Annotated[UUID, Path(alias="id", description="Id of the message.")]
MailboxPath = Annotated[
    str, Path(description="Name of the mailbox; slashes in it need not be percent-encoded.")
]
ONE_MESSAGE = "/v1/accounts/{address:address}/messages/{id}"
_MAILBOXES = "/v1/accounts/{address:address}/mailboxes"


@mailboxes.get(
    _MAILBOXES, operation_id="listMailboxes", summary="List mailboxes.", responses=problems(404)
)
async def list_mailboxes(address: AddressPath, caller: Caller, service: Mailboxes) -> MailboxesView:
    """All mailboxes of the account, each with a count of its messages."""
    return MailboxesView(
        items=[MailboxView.from_mailbox(each) for each in await service.mailboxes(caller, address)]
    )


@mailboxes.post(
    _MAILBOXES,
    operation_id="createMailbox",
    summary="Create a mailbox.",
    status_code=201,
    response_model=MailboxView,
    responses=problems(404, 409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_mailbox(
    address: AddressPath, new: MailboxCreation, caller: Caller, service: Mailboxes, request: Request
) -> Response:
    """In addition to the standard ones, which every account has. The account is subscribed to it."""

    def render(mailbox: Mailbox) -> Response:
        place = f"/v1/accounts/{quote(address, safe='@')}/mailboxes/{quote(mailbox.name)}"
        return Response(
            MailboxView.from_mailbox(mailbox).model_dump_json(),
            201,
            {"Location": place},
            "application/json",
        )

    return render(await service.create_mailbox(caller, address, new.name, receipt(request, render)))


@mailboxes.patch(
    f"{_MAILBOXES}/{{mailbox:path}}",
    operation_id="changeMailbox",
    summary="Update a mailbox.",
    responses=problems(404, 409, *BODY_PROBLEMS),
)
async def change_mailbox(
    address: AddressPath,
    mailbox: MailboxPath,
    change: MailboxChange,
    caller: Caller,
    service: Mailboxes,
) -> MailboxView:
    """Renames it, or sets whether mail clients show it. Messages keep their UIDs, and a mailbox
    with a special use keeps it. INBOX cannot be renamed.
    """
    given = change.model_dump(exclude_unset=True)
    return MailboxView.from_mailbox(
        await service.change_mailbox(caller, address, mailbox, ChangeOfMailbox(**given))
    )


@mailboxes.delete(
    f"{_MAILBOXES}/{{mailbox:path}}",
    operation_id="deleteMailbox",
    summary="Delete a mailbox.",
    status_code=204,
    responses=problems(404, 409),
)
async def delete_mailbox(
    address: AddressPath, mailbox: MailboxPath, caller: Caller, service: Mailboxes
) -> Response:
    """Only an empty mailbox can be deleted, and no standard one (INBOX, Junk, Sent, Trash, Drafts, Archive)."""
    await service.delete_mailbox(caller, address, mailbox)
    return Response(status_code=204)


@messages.patch(
    ONE_MESSAGE,
    operation_id="changeMessage",
    summary="Update the flags of a message.",
    responses=problems(404, *BODY_PROBLEMS),
)
async def change_message(
    address: AddressPath,
    message: MessagePath,
    change: MessageChange,
    caller: Caller,
    service: Mailboxes,
) -> MessageView:
    """Sets flags and keywords in every mailbox that holds the message. Mail clients see the change
    at once. Without the right `message_content` the answer has no header fields.
    """
    given = change.model_fields_set
    wanted = FlagChange(
        sum(1 << FLAGS.index(flag) for flag in change.flags) if "flags" in given else None,
        tuple(change.keywords) if "keywords" in given else None,
    )
    changed = await service.change_flags(caller, address, message, wanted)
    return MessageView.changed(changed, caller)


@messages.post(
    f"{ONE_MESSAGE}/move",
    operation_id="moveMessage",
    summary="Move a message.",
    responses=problems(404, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def move_message(
    address: AddressPath,
    message: MessagePath,
    move: MessageMove,
    caller: Caller,
    service: Mailboxes,
) -> MessageView:
    """Removes the message from every other mailbox. It gets a new UID in the target mailbox. A move
    into Junk says that the message is spam, one out of Junk that it is not, unless to Trash. Without
    the right `message_content` the answer has no header fields.
    """
    moved = await service.move_message(caller, address, message, move.mailbox)
    return MessageView.changed(moved, caller)


@messages.put(
    f"{ONE_MESSAGE}/classification",
    operation_id="classifyMessage",
    summary="Classify a message as spam or not.",
    responses=problems(404, 429, *BODY_PROBLEMS),
    dependencies=[ACCOUNT_LOGIN],
)
async def classify_message(
    address: AddressPath,
    message: MessagePath,
    said: ClassificationRequest,
    caller: Caller,
    service: Mailboxes,
    *,
    move: Annotated[
        bool, Query(description="Whether spam is moved to Junk, and ham in Junk to INBOX.")
    ] = True,
) -> ClassificationView:
    """The filters of the account and of its tenant learn it, and it moves the message. It can be
    taken back or changed for 90 days; after that, what was learned stays. The account itself may
    call this with its address and password (HTTP Basic).
    """
    return ClassificationView.from_classified(
        await service.classify(
            caller, address, message, Classification(said.classification), move=move
        )
    )


@messages.get(
    "/v1/accounts/{address:address}/deleted",
    operation_id="listDeletedMessages",
    summary="List deleted messages.",
    responses=problems(404),
)
async def list_deleted(
    address: AddressPath,
    caller: Caller,
    service: Mailboxes,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DeletedMessageView]:
    """Messages that can be restored within the `undelete_days` of their domain, newest first."""
    found = await service.deleted(caller, address, deleted_key_in(cursor), limit + 1)
    return deleted_page(found, limit)


@messages.post(
    f"{ONE_MESSAGE}/undelete",
    operation_id="undeleteMessage",
    summary="Restore a deleted message.",
    responses=problems(404, 409),
    dependencies=POST_ONLY,
)
async def undelete_message(
    address: AddressPath, message: MessagePath, caller: Caller, service: Mailboxes
) -> MessageView:
    """To the mailbox where it was, or to INBOX if that mailbox no longer exists. The message counts
    against the quota again. Without the right `message_content` the answer has no header fields.
    """
    restored = await service.undelete_message(caller, address, message)
    return MessageView.changed(restored, caller)


def deleted_page(
    found: Sequence[tuple[DeletedKey, DeletedMessage]], limit: int
) -> Page[DeletedMessageView]:
    """Return a page of deleted messages, of which one more was asked for."""

    def view(item: tuple[DeletedKey, DeletedMessage]) -> DeletedMessageView:
        return DeletedMessageView.from_deleted(item[1])

    return page(found, limit, view, lambda item: _cursor(item[0]))


def _cursor(key: DeletedKey) -> str:
    moment = key.deleted_at - datetime(1970, 1, 1, tzinfo=UTC)
    return f"{key.message} {key.mailbox} {moment.days} {moment.seconds} {moment.microseconds}"


def deleted_key_in(cursor: str | None) -> DeletedKey | None:
    """Return the key in a cursor of deleted messages. Raises ValidationFailed."""
    text = text_after(cursor)
    if not text:
        return None
    try:
        message, mailbox, days, seconds, microseconds = text.split(" ")
        at = datetime.fromtimestamp(int(days) * 86_400 + int(seconds), UTC).replace(
            microsecond=int(microseconds)
        )
        number = int(mailbox)
        if not 0 <= number < 2**31:
            raise ValueError
        return DeletedKey(UUID(message), number, at)
    except (ValueError, OverflowError, OSError):
        raise ValidationFailed(FieldError("cursor", "not a next_cursor of this list")) from None
