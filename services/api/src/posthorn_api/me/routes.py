"""Operations of account holders on what is their own."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from posthorn.ports.app_passwords import AppPassword
from posthorn.ports.quarantine import QuarantineFilter
from posthorn_api.credentials.routes import Credentials, sign_in_page
from posthorn_api.credentials.schemas import (
    AppPasswordCreation,
    AppPasswordView,
    NewAppPasswordView,
    SignInView,
)
from posthorn_api.dns.apple_profile import MEDIA_TYPE
from posthorn_api.dns.schemas import client_server_views
from posthorn_api.http.callers import address_of, session_cookie
from posthorn_api.http.idempotency import receipt
from posthorn_api.http.operations import (
    ACCOUNT_LOGIN,
    BODY_PROBLEMS,
    POST_ONLY,
    Caller,
    Directory,
    created,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import AskedList, Cursor, Limit, id_in, listed, page
from posthorn_api.http.schemas import Page
from posthorn_api.mailboxes.routes import Mailboxes, MessagePath, deleted_key_in, deleted_page
from posthorn_api.mailboxes.schemas import (
    DeletedMessageView,
    MailboxesView,
    MailboxView,
    MessageView,
)
from posthorn_api.me.schemas import (
    ClientSettingsView,
    PasswordChange,
    SetUpCode,
    SetUpCodeView,
    VacationDocument,
    VacationView,
)
from posthorn_api.me.service import MeService
from posthorn_api.me.service import address_of as mine
from posthorn_api.quarantine.routes import CopyPath, Quarantine
from posthorn_api.quarantine.schemas import QuarantinedView
from posthorn_api.tenants.routes import Tenants
from posthorn_api.tenants.schemas import AuditView
from posthorn_api.transfers.routes import (
    EXPORTED,
    FormatQuery,
    MailboxQuery,
    Transfers,
    exported,
)

me = router("Own account")

Me = Annotated[MeService, Depends(service_of(MeService))]
PasswordPath = Annotated[UUID, Path(alias="id", description="Id of the app password.")]
_OWN = [ACCOUNT_LOGIN]
_OWN_POST = [*POST_ONLY, ACCOUNT_LOGIN]


@me.put(
    "/v1/me/password",
    operation_id="changeMyPassword",
    summary="Replace your password.",
    status_code=204,
    responses=problems(*BODY_PROBLEMS),
    dependencies=_OWN,
)
async def change_my_password(
    body: PasswordChange, request: Request, caller: Caller, service: Me
) -> Response:
    """Ends all sessions of the account, in mail clients too; app passwords stay. A caller with a
    session gets a new one by the cookie of the answer.
    """
    has_session = session_cookie(request) is not None
    done = await service.change_password(
        caller, body.current_password, body.password, address_of(request), has_session=has_session
    )
    headers = {} if done is None else {"Set-Cookie": done.cookie}
    return Response(status_code=204, headers=headers)


@me.get(
    "/v1/me/app-passwords",
    operation_id="listMyAppPasswords",
    summary="List your app passwords.",
    responses=problems(),
    dependencies=_OWN,
)
async def list_my_app_passwords(
    caller: Caller, identity: Credentials, limit: Limit = 50, cursor: Cursor = None
) -> Page[AppPasswordView]:
    """Sorted by creation time, with what each was used for last. The passwords are not shown."""
    found = await identity.app_passwords(caller, mine(caller), id_in(cursor), limit + 1)
    return page(found, limit, AppPasswordView.from_app_password, lambda made: str(made.id))


@me.post(
    "/v1/me/app-passwords",
    operation_id="createMyAppPassword",
    summary="Create an app password of your own.",
    status_code=201,
    response_model=NewAppPasswordView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=_OWN_POST,
)
async def create_my_app_password(
    request: Request, body: AppPasswordCreation, caller: Caller, identity: Credentials
) -> Response:
    """For one mail client or program. It is shown in this answer only. You can have 100."""

    def render(made: AppPassword, password: str | None = None) -> Response:
        view = NewAppPasswordView.shown(made, password)
        return created(view, "me/app-passwords", str(made.id))

    made, password = await identity.create_app_password(
        caller,
        mine(caller),
        body.name,
        body.scopes,
        receipt(request, render),
        expires_at=body.expires_at,
        networks=body.networks,
    )
    return render(made, password)


@me.delete(
    "/v1/me/app-passwords/{id}",
    operation_id="deleteMyAppPassword",
    summary="Delete an app password of your own.",
    status_code=204,
    responses=problems(404),
    dependencies=_OWN,
)
async def delete_my_app_password(
    number: PasswordPath, caller: Caller, identity: Credentials
) -> Response:
    """The password is refused from now on, and its sessions end."""
    await identity.delete_app_password(caller, mine(caller), number)
    return Response(status_code=204)


@me.get(
    "/v1/me/sign-ins",
    operation_id="listMySignIns",
    summary="List sign-ins to your account.",
    responses=problems(),
    dependencies=_OWN,
)
async def list_my_sign_ins(
    caller: Caller, identity: Credentials, limit: Limit = 50, cursor: Cursor = None
) -> Page[SignInView]:
    """Of the last 30 days, by any protocol, those that failed too, the latest first."""
    return sign_in_page(await identity.sign_ins(caller, mine(caller)), limit, cursor)


@me.get(
    "/v1/me/reads",
    operation_id="listMyReads",
    summary="List who read your mail.",
    responses=problems(),
    dependencies=_OWN,
)
async def list_my_reads(
    caller: Caller,
    service: Tenants,
    accounts: Directory,
    asked: AskedList,
) -> Page[AuditView]:
    """Every listing, search, reading and export of your messages through the API, newest first."""
    account = await accounts.account(caller, mine(caller))
    found = await service.content_access(caller, account, asked.query())
    return listed(found, AuditView.from_line)


@me.get(
    "/v1/me/client-settings",
    operation_id="getMyClientSettings",
    summary="Get settings for your mail client.",
    response_model=ClientSettingsView,
    responses=problems(404),
    dependencies=_OWN,
)
async def get_my_client_settings(
    caller: Caller,
    service: Me,
    *,
    form: Annotated[
        Literal["json", "apple"],
        Query(alias="format", description="`apple`: a configuration profile for iOS and macOS."),
    ] = "json",
) -> Response:
    """Without a password. A QR code with one is created by POST."""
    if form == "apple":
        name = 'attachment; filename="posthorn.mobileconfig"'
        return Response(
            service.apple_profile(caller), 200, {"Content-Disposition": name}, MEDIA_TYPE
        )
    address = mine(caller)
    view = ClientSettingsView(
        address=address, username=address, servers=client_server_views(service.presence)
    )
    return Response(view.model_dump_json(), 200, media_type="application/json")


@me.post(
    "/v1/me/client-settings",
    operation_id="createMySetUpCode",
    summary="Create a QR code that sets up your mail client.",
    status_code=201,
    response_model=SetUpCodeView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=_OWN_POST,
)
async def create_my_set_up_code(
    request: Request,
    body: SetUpCode,
    caller: Caller,
    service: Me,
    identity: Credentials,
    *,
    _form: Annotated[
        Literal["thunderbird-qr"],
        Query(alias="format", description="For Thunderbird on Android."),
    ] = "thunderbird-qr",
) -> Response:
    """Creates an app password and returns the text to show as a QR code, for mail clients that read
    mail by the preferred protocol. Show it for a short time.
    """
    longest = "p" * 48  # of an app password
    service.payload(caller, body.display_name, longest)

    def render(made: AppPassword, password: str | None = None) -> Response:
        payload = None if password is None else service.payload(caller, body.display_name, password)
        view = SetUpCodeView(payload=payload, app_password=made.id)
        return created(view, "me/app-passwords", str(made.id))

    made, password = await identity.create_app_password(
        caller,
        mine(caller),
        body.name,
        ("imap", "pop3", "smtp"),
        receipt(request, render),
        expires_at=body.expires_at,
    )
    return render(made, password)


@me.get(
    "/v1/me/mailboxes",
    operation_id="listMyMailboxes",
    summary="List your mailboxes.",
    responses=problems(),
    dependencies=_OWN,
)
async def list_my_mailboxes(caller: Caller, service: Mailboxes) -> MailboxesView:
    """Each with a count of its messages."""
    found = await service.mailboxes(caller, mine(caller))
    return MailboxesView(items=[MailboxView.from_mailbox(each) for each in found])


@me.get(
    "/v1/me/export",
    operation_id="exportMyMail",
    summary="Export your mail.",
    response_class=Response,
    responses=EXPORTED,
    dependencies=_OWN,
)
async def export_my_mail(
    request: Request,
    caller: Caller,
    service: Transfers,
    form: FormatQuery,
    mailbox: MailboxQuery = None,
) -> Response:
    """In the formats of `GET /v1/accounts/{address}/export`. Each export is one of the reads that
    `GET /v1/me/reads` lists.
    """
    request.state.content_of = mine(caller)
    return await exported(service, caller, mine(caller), form, mailbox)


@me.get(
    "/v1/me/deleted",
    operation_id="listMyDeletedMessages",
    summary="List your deleted messages.",
    responses=problems(),
    dependencies=_OWN,
)
async def list_my_deleted(
    caller: Caller, service: Mailboxes, limit: Limit = 50, cursor: Cursor = None
) -> Page[DeletedMessageView]:
    """Those that can be restored, newest first."""
    found = await service.deleted(caller, mine(caller), deleted_key_in(cursor), limit + 1)
    return deleted_page(found, limit)


@me.post(
    "/v1/me/deleted/{id}/undelete",
    operation_id="undeleteMyMessage",
    summary="Restore a deleted message of yours.",
    responses=problems(404, 409),
    dependencies=_OWN_POST,
)
async def undelete_my_message(
    message: MessagePath, caller: Caller, service: Mailboxes
) -> MessageView:
    """To the mailbox where it was, or to INBOX if that mailbox no longer exists."""
    return MessageView.from_message(await service.undelete_message(caller, mine(caller), message))


@me.get(
    "/v1/me/quarantine",
    operation_id="listMyQuarantine",
    summary="List messages withheld from you.",
    responses=problems(),
    dependencies=_OWN,
)
async def list_my_quarantine(
    caller: Caller, service: Quarantine, asked: AskedList
) -> Page[QuarantinedView]:
    """Copies in quarantine, newest first, with the reason. `q` is part of the recipient, of the
    reason in words, or of From or Subject as they are written in the message.
    """
    which = QuarantineFilter(account=mine(caller))
    return listed(await service.items(caller, which, asked.query()), QuarantinedView.of)


@me.post(
    "/v1/me/quarantine/{id}/release",
    operation_id="releaseMyQuarantined",
    summary="Release a message withheld from you.",
    responses=problems(404, 409),
    dependencies=_OWN_POST,
)
async def release_my_quarantined(number: CopyPath, caller: Caller, service: Me) -> QuarantinedView:
    """Delivers it to INBOX. Refused with 409 (conflict) for a message that was withheld for a virus:
    an administrator releases it.
    """
    return QuarantinedView.of(await service.release(caller, number))


@me.get(
    "/v1/me/vacation",
    operation_id="getMyVacation",
    summary="Get your automatic reply.",
    responses=problems(),
    dependencies=_OWN,
)
async def get_my_vacation(caller: Caller, service: Me) -> VacationView:
    """The reply that is sent to those who write to you."""
    return VacationView.of(await service.vacation(caller))


@me.put(
    "/v1/me/vacation",
    operation_id="setMyVacation",
    summary="Replace your automatic reply.",
    responses=problems(*BODY_PROBLEMS),
    dependencies=_OWN,
)
async def set_my_vacation(body: VacationDocument, caller: Caller, service: Me) -> VacationView:
    """Each sender gets one reply within 7 days (RFC 3834). Mailing lists, automatic messages, spam
    and messages that do not name your address in To or Cc are not replied to. A change of the
    reply begins anew.
    """
    done = await service.set_vacation(
        caller,
        enabled=body.enabled,
        subject=body.subject,
        text=body.text,
        starts_at=body.starts_at,
        ends_at=body.ends_at,
    )
    return VacationView.of(done)
