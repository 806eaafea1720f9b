"""Every operation of the REST API as a method.

Made from the API's OpenAPI document by ``make client``; do not edit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from posthorn_cli.client.connection import Body, Connection, quoted
from posthorn_cli.client.types import (
    AccountChange,
    AccountCreation,
    AccountView,
    AliasChange,
    AliasCreation,
    AliasView,
    AllChecksView,
    ApiKeyCreation,
    ApiKeyView,
    AppPasswordCreation,
    AppPasswordView,
    AuditView,
    ClassificationRequest,
    ClassificationView,
    ClientSettingsView,
    ComplaintView,
    ConfigDocument,
    ConfigOutcome,
    DeadLetterView,
    DefenceView,
    DeletedMessageView,
    DeliveryView,
    DkimRotation,
    DkimView,
    DmarcFigureView,
    DnsCheckView,
    DomainChange,
    DomainCreation,
    DomainDnsView,
    DomainView,
    EffectiveFilterPolicyView,
    FilterPolicyDocument,
    Format,
    ForwardConfirmation,
    FoundMessageView,
    ImportAnswer,
    ImportSummary,
    Kind,
    ListingsView,
    LoginLinkView,
    LoginMethodsView,
    LoginRequest,
    MailboxChange,
    MailboxCreation,
    MailboxesView,
    MailboxView,
    ManagersView,
    MatchedView,
    MessageChange,
    MessageMove,
    MessageView,
    MeView,
    NewApiKeyView,
    NewAppPasswordView,
    NewDomainView,
    NewWebhookView,
    OwnForwardDocument,
    OwnForwardView,
    Page,
    PasswordChange,
    QuarantinedView,
    QuarantineRelease,
    QuarantineSelection,
    QueueGroupView,
    QueueItemView,
    QueueSelection,
    ReleasesView,
    ReplayedView,
    Retried,
    RouteCreation,
    RouteProbeRequest,
    RouteProbeView,
    RouteSetting,
    RouteView,
    Sending,
    SentView,
    SessionsEnd,
    SessionsEndedView,
    SetUpCode,
    SetUpCodeView,
    SignInView,
    StatsSeriesView,
    StatsView,
    StatusView,
    StructureView,
    SuppressionCreation,
    SuppressionView,
    SystemView,
    TenantChange,
    TenantCreation,
    TenantView,
    TlsFigureView,
    TraceView,
    VacationDocument,
    VacationView,
    WebhookChange,
    WebhookCreation,
    WebhookView,
)


class Operations(Connection):
    """All operations. Each raises ApiError when the API refuses, and Unreachable when it does not answer."""

    def get_login_methods(self) -> LoginMethodsView:
        """Get the ways to sign in."""
        return cast("LoginMethodsView", self._call("GET", "/v1/login/methods"))

    def create_login(self, body: LoginRequest, *, idempotency_key: str | None = None) -> MeView:
        """Create a session by signing in."""
        return cast(
            "MeView", self._call("POST", "/v1/login", body=body, idempotency_key=idempotency_key)
        )

    def delete_login(self) -> None:
        """Delete the session by signing out."""
        self._call("DELETE", "/v1/login")

    def create_login_link(self, *, idempotency_key: str | None = None) -> LoginLinkView:
        """Create a one-time link to sign in by."""
        return cast(
            "LoginLinkView", self._call("POST", "/v1/login/links", idempotency_key=idempotency_key)
        )

    def end_sessions(
        self, body: SessionsEnd, *, idempotency_key: str | None = None
    ) -> SessionsEndedView:
        """Delete all sessions of a subject."""
        return cast(
            "SessionsEndedView",
            self._call(
                "POST", "/v1/login/sessions/end", body=body, idempotency_key=idempotency_key
            ),
        )

    def get_me(self) -> MeView:
        """Get the caller and its rights."""
        return cast("MeView", self._call("GET", "/v1/me"))

    def change_my_password(self, body: PasswordChange) -> None:
        """Replace your password."""
        self._call("PUT", "/v1/me/password", body=body)

    def list_my_app_passwords(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[AppPasswordView]:
        """List your app passwords."""
        return cast(
            "Page[AppPasswordView]",
            self._call("GET", "/v1/me/app-passwords", query={"limit": limit, "cursor": cursor}),
        )

    def create_my_app_password(
        self, body: AppPasswordCreation, *, idempotency_key: str | None = None
    ) -> NewAppPasswordView:
        """Create an app password of your own."""
        return cast(
            "NewAppPasswordView",
            self._call("POST", "/v1/me/app-passwords", body=body, idempotency_key=idempotency_key),
        )

    def delete_my_app_password(self, app_password_id: str) -> None:
        """Delete an app password of your own."""
        self._call("DELETE", f"/v1/me/app-passwords/{quoted(app_password_id)}")

    def list_my_sign_ins(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[SignInView]:
        """List sign-ins to your account."""
        return cast(
            "Page[SignInView]",
            self._call("GET", "/v1/me/sign-ins", query={"limit": limit, "cursor": cursor}),
        )

    def list_my_reads(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[AuditView]:
        """List who read your mail."""
        return cast(
            "Page[AuditView]",
            self._call(
                "GET",
                "/v1/me/reads",
                query={"limit": limit, "cursor": cursor, "q": q, "total": total},
            ),
        )

    def get_my_client_settings(
        self, *, format_: Literal["json", "apple"] | None = None
    ) -> ClientSettingsView:
        """Get settings for your mail client."""
        return cast(
            "ClientSettingsView",
            self._call("GET", "/v1/me/client-settings", query={"format": format_}),
        )

    def create_my_set_up_code(
        self,
        body: SetUpCode,
        *,
        format_: Literal["thunderbird-qr"] | None = None,
        idempotency_key: str | None = None,
    ) -> SetUpCodeView:
        """Create a QR code that sets up your mail client."""
        return cast(
            "SetUpCodeView",
            self._call(
                "POST",
                "/v1/me/client-settings",
                query={"format": format_},
                body=body,
                idempotency_key=idempotency_key,
            ),
        )

    def list_my_mailboxes(self) -> MailboxesView:
        """List your mailboxes."""
        return cast("MailboxesView", self._call("GET", "/v1/me/mailboxes"))

    def export_my_mail(self, *, format_: Format, mailbox: str | None = None) -> Iterator[bytes]:
        """Export your mail."""
        return self._stream("GET", "/v1/me/export", query={"format": format_, "mailbox": mailbox})

    def list_my_deleted_messages(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[DeletedMessageView]:
        """List your deleted messages."""
        return cast(
            "Page[DeletedMessageView]",
            self._call("GET", "/v1/me/deleted", query={"limit": limit, "cursor": cursor}),
        )

    def undelete_my_message(
        self, deleted_id: str, *, idempotency_key: str | None = None
    ) -> MessageView:
        """Restore a deleted message of yours."""
        return cast(
            "MessageView",
            self._call(
                "POST",
                f"/v1/me/deleted/{quoted(deleted_id)}/undelete",
                idempotency_key=idempotency_key,
            ),
        )

    def list_my_quarantine(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[QuarantinedView]:
        """List messages withheld from you."""
        return cast(
            "Page[QuarantinedView]",
            self._call(
                "GET",
                "/v1/me/quarantine",
                query={"limit": limit, "cursor": cursor, "q": q, "total": total},
            ),
        )

    def release_my_quarantined(
        self, quarantine_id: str, *, idempotency_key: str | None = None
    ) -> QuarantinedView:
        """Release a message withheld from you."""
        return cast(
            "QuarantinedView",
            self._call(
                "POST",
                f"/v1/me/quarantine/{quoted(quarantine_id)}/release",
                idempotency_key=idempotency_key,
            ),
        )

    def get_my_vacation(self) -> VacationView:
        """Get your automatic reply."""
        return cast("VacationView", self._call("GET", "/v1/me/vacation"))

    def set_my_vacation(self, body: VacationDocument) -> VacationView:
        """Replace your automatic reply."""
        return cast("VacationView", self._call("PUT", "/v1/me/vacation", body=body))

    def get_my_forwards(self) -> OwnForwardView:
        """Get where your mail is forwarded to."""
        return cast("OwnForwardView", self._call("GET", "/v1/me/forwards"))

    def set_my_forwards(self, body: OwnForwardDocument) -> OwnForwardView:
        """Replace where your mail is forwarded to."""
        return cast("OwnForwardView", self._call("PUT", "/v1/me/forwards", body=body))

    def delete_my_forwards(self) -> None:
        """Delete the forwards of your mail."""
        self._call("DELETE", "/v1/me/forwards")

    def create_tenant(
        self, body: TenantCreation, *, idempotency_key: str | None = None
    ) -> TenantView:
        """Create a tenant."""
        return cast(
            "TenantView",
            self._call("POST", "/v1/tenants", body=body, idempotency_key=idempotency_key),
        )

    def list_tenants(
        self,
        *,
        state: Literal["active", "suspended"] | None = None,
        sort: Literal["name", "-name", "created", "-created"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[TenantView]:
        """List tenants."""
        return cast(
            "Page[TenantView]",
            self._call(
                "GET",
                "/v1/tenants",
                query={
                    "state": state,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_tenant(self, tenant: str) -> TenantView:
        """Get a tenant."""
        return cast("TenantView", self._call("GET", f"/v1/tenants/{quoted(tenant)}"))

    def change_tenant(
        self, tenant: str, body: TenantChange, *, if_match: str | None = None
    ) -> TenantView:
        """Update a tenant."""
        return cast(
            "TenantView",
            self._call("PATCH", f"/v1/tenants/{quoted(tenant)}", body=body, if_match=if_match),
        )

    def delete_tenant(self, tenant: str, *, if_match: str | None = None) -> None:
        """Delete a tenant."""
        self._call("DELETE", f"/v1/tenants/{quoted(tenant)}", if_match=if_match)

    def create_api_key(
        self, body: ApiKeyCreation, *, idempotency_key: str | None = None
    ) -> NewApiKeyView:
        """Create an API key."""
        return cast(
            "NewApiKeyView",
            self._call("POST", "/v1/api-keys", body=body, idempotency_key=idempotency_key),
        )

    def list_api_keys(
        self,
        *,
        state: Literal["active", "expired"] | None = None,
        tenant: str | None = None,
        sort: Literal["created", "-created", "name", "-name", "used", "-used"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[ApiKeyView]:
        """List API keys."""
        return cast(
            "Page[ApiKeyView]",
            self._call(
                "GET",
                "/v1/api-keys",
                query={
                    "state": state,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_api_key(self, api_key_id: str) -> ApiKeyView:
        """Get an API key."""
        return cast("ApiKeyView", self._call("GET", f"/v1/api-keys/{quoted(api_key_id)}"))

    def delete_api_key(self, api_key_id: str) -> None:
        """Delete an API key."""
        self._call("DELETE", f"/v1/api-keys/{quoted(api_key_id)}")

    def create_domain(
        self, body: DomainCreation, *, idempotency_key: str | None = None
    ) -> NewDomainView:
        """Create a domain."""
        return cast(
            "NewDomainView",
            self._call("POST", "/v1/domains", body=body, idempotency_key=idempotency_key),
        )

    def list_domains(
        self,
        *,
        dns: Literal["right", "wrong", "unknown", "unchecked"] | None = None,
        state: Literal["verified", "unverified"] | None = None,
        tenant: str | None = None,
        sort: Literal["name", "-name", "created", "-created"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[DomainView]:
        """List domains."""
        return cast(
            "Page[DomainView]",
            self._call(
                "GET",
                "/v1/domains",
                query={
                    "dns": dns,
                    "state": state,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_domain(self, name: str) -> DomainView:
        """Get a domain."""
        return cast("DomainView", self._call("GET", f"/v1/domains/{quoted(name)}"))

    def change_domain(
        self, name: str, body: DomainChange, *, if_match: str | None = None
    ) -> DomainView:
        """Update a domain."""
        return cast(
            "DomainView",
            self._call("PATCH", f"/v1/domains/{quoted(name)}", body=body, if_match=if_match),
        )

    def delete_domain(self, name: str, *, if_match: str | None = None) -> None:
        """Delete a domain."""
        self._call("DELETE", f"/v1/domains/{quoted(name)}", if_match=if_match)

    def get_dns(
        self, name: str, *, format_: Literal["json", "zone"] | None = None
    ) -> DomainDnsView:
        """Get the DNS records that a domain needs."""
        return cast(
            "DomainDnsView",
            self._call("GET", f"/v1/domains/{quoted(name)}/dns", query={"format": format_}),
        )

    def check_dns(self, name: str) -> DnsCheckView:
        """Check the DNS records of a domain."""
        return cast("DnsCheckView", self._call("GET", f"/v1/domains/{quoted(name)}/dns/check"))

    def check_all_dns(
        self, *, tenant: str | None = None, idempotency_key: str | None = None
    ) -> AllChecksView:
        """Check the DNS records of all domains."""
        return cast(
            "AllChecksView",
            self._call(
                "POST",
                "/v1/domains/dns/check",
                query={"tenant": tenant},
                idempotency_key=idempotency_key,
            ),
        )

    def verify_domain(self, name: str, *, idempotency_key: str | None = None) -> DomainView:
        """Verify the ownership of a domain."""
        return cast(
            "DomainView",
            self._call(
                "POST", f"/v1/domains/{quoted(name)}/verify", idempotency_key=idempotency_key
            ),
        )

    def list_dkim_keys(self, name: str) -> DkimView:
        """List the DKIM keys of a domain."""
        return cast("DkimView", self._call("GET", f"/v1/domains/{quoted(name)}/dkim"))

    def rotate_dkim_keys(
        self, name: str, body: DkimRotation, *, idempotency_key: str | None = None
    ) -> DkimView:
        """Rotate the DKIM keys of a domain."""
        return cast(
            "DkimView",
            self._call(
                "POST",
                f"/v1/domains/{quoted(name)}/dkim/rotate",
                body=body,
                idempotency_key=idempotency_key,
            ),
        )

    def create_account(
        self, body: AccountCreation, *, idempotency_key: str | None = None
    ) -> AccountView:
        """Create an account."""
        return cast(
            "AccountView",
            self._call("POST", "/v1/accounts", body=body, idempotency_key=idempotency_key),
        )

    def list_accounts(
        self,
        *,
        domain: str | None = None,
        state: Literal["active", "suspended", "receive-only"] | None = None,
        tenant: str | None = None,
        sort: Literal["address", "-address", "created", "-created", "used", "-used"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[AccountView]:
        """List accounts."""
        return cast(
            "Page[AccountView]",
            self._call(
                "GET",
                "/v1/accounts",
                query={
                    "domain": domain,
                    "state": state,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_account(self, address: str) -> AccountView:
        """Get an account."""
        return cast("AccountView", self._call("GET", f"/v1/accounts/{quoted(address)}"))

    def change_account(
        self, address: str, body: AccountChange, *, if_match: str | None = None
    ) -> AccountView:
        """Update an account."""
        return cast(
            "AccountView",
            self._call("PATCH", f"/v1/accounts/{quoted(address)}", body=body, if_match=if_match),
        )

    def delete_account(self, address: str, *, if_match: str | None = None) -> None:
        """Delete an account and its mail."""
        self._call("DELETE", f"/v1/accounts/{quoted(address)}", if_match=if_match)

    def create_app_password(
        self, address: str, body: AppPasswordCreation, *, idempotency_key: str | None = None
    ) -> NewAppPasswordView:
        """Create an app password."""
        return cast(
            "NewAppPasswordView",
            self._call(
                "POST",
                f"/v1/accounts/{quoted(address)}/app-passwords",
                body=body,
                idempotency_key=idempotency_key,
            ),
        )

    def list_app_passwords(
        self, address: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[AppPasswordView]:
        """List app passwords."""
        return cast(
            "Page[AppPasswordView]",
            self._call(
                "GET",
                f"/v1/accounts/{quoted(address)}/app-passwords",
                query={"limit": limit, "cursor": cursor},
            ),
        )

    def delete_app_password(self, address: str, app_password_id: str) -> None:
        """Delete an app password."""
        self._call(
            "DELETE", f"/v1/accounts/{quoted(address)}/app-passwords/{quoted(app_password_id)}"
        )

    def list_sign_ins(
        self, address: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[SignInView]:
        """List sign-ins to an account."""
        return cast(
            "Page[SignInView]",
            self._call(
                "GET",
                f"/v1/accounts/{quoted(address)}/sign-ins",
                query={"limit": limit, "cursor": cursor},
            ),
        )

    def list_mailboxes(self, address: str) -> MailboxesView:
        """List mailboxes."""
        return cast("MailboxesView", self._call("GET", f"/v1/accounts/{quoted(address)}/mailboxes"))

    def create_mailbox(
        self, address: str, body: MailboxCreation, *, idempotency_key: str | None = None
    ) -> MailboxView:
        """Create a mailbox."""
        return cast(
            "MailboxView",
            self._call(
                "POST",
                f"/v1/accounts/{quoted(address)}/mailboxes",
                body=body,
                idempotency_key=idempotency_key,
            ),
        )

    def change_mailbox(self, address: str, mailbox: str, body: MailboxChange) -> MailboxView:
        """Update a mailbox."""
        return cast(
            "MailboxView",
            self._call(
                "PATCH", f"/v1/accounts/{quoted(address)}/mailboxes/{quoted(mailbox)}", body=body
            ),
        )

    def delete_mailbox(self, address: str, mailbox: str) -> None:
        """Delete a mailbox."""
        self._call("DELETE", f"/v1/accounts/{quoted(address)}/mailboxes/{quoted(mailbox)}")

    def list_messages(
        self,
        address: str,
        *,
        mailbox: str | None = None,
        from_: str | None = None,
        subject: str | None = None,
        message_id: str | None = None,
        since: str | None = None,
        until: str | None = None,
        larger: int | None = None,
        smaller: int | None = None,
        seen: bool | None = None,
        text: str | None = None,
        body: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[MessageView]:
        """List or search the messages of a mailbox."""
        return cast(
            "Page[MessageView]",
            self._call(
                "GET",
                f"/v1/accounts/{quoted(address)}/messages",
                query={
                    "mailbox": mailbox,
                    "from": from_,
                    "subject": subject,
                    "message_id": message_id,
                    "since": since,
                    "until": until,
                    "larger": larger,
                    "smaller": smaller,
                    "seen": seen,
                    "text": text,
                    "body": body,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    def get_message(self, address: str, message_id: str) -> MessageView:
        """Get the metadata of a message."""
        return cast(
            "MessageView",
            self._call("GET", f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}"),
        )

    def delete_message(self, address: str, message_id: str) -> None:
        """Delete a message."""
        self._call("DELETE", f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}")

    def change_message(self, address: str, message_id: str, body: MessageChange) -> MessageView:
        """Update the flags of a message."""
        return cast(
            "MessageView",
            self._call(
                "PATCH", f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}", body=body
            ),
        )

    def get_raw_message(self, address: str, message_id: str) -> Iterator[bytes]:
        """Download a message."""
        return self._stream(
            "GET", f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}/raw"
        )

    def get_message_structure(self, address: str, message_id: str) -> StructureView:
        """List the parts and attachments of a message."""
        return cast(
            "StructureView",
            self._call(
                "GET", f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}/structure"
            ),
        )

    def get_message_part(
        self, address: str, message_id: str, part: str, *, raw: bool | None = None
    ) -> Iterator[bytes]:
        """Download a part of a message."""
        return self._stream(
            "GET",
            f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}/parts/{quoted(part)}",
            query={"raw": raw},
        )

    def move_message(
        self,
        address: str,
        message_id: str,
        body: MessageMove,
        *,
        idempotency_key: str | None = None,
    ) -> MessageView:
        """Move a message."""
        return cast(
            "MessageView",
            self._call(
                "POST",
                f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}/move",
                body=body,
                idempotency_key=idempotency_key,
            ),
        )

    def classify_message(
        self,
        address: str,
        message_id: str,
        body: ClassificationRequest,
        *,
        move: bool | None = None,
    ) -> ClassificationView:
        """Classify a message as spam or not."""
        return cast(
            "ClassificationView",
            self._call(
                "PUT",
                f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}/classification",
                query={"move": move},
                body=body,
            ),
        )

    def list_deleted_messages(
        self, address: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[DeletedMessageView]:
        """List deleted messages."""
        return cast(
            "Page[DeletedMessageView]",
            self._call(
                "GET",
                f"/v1/accounts/{quoted(address)}/deleted",
                query={"limit": limit, "cursor": cursor},
            ),
        )

    def undelete_message(
        self, address: str, message_id: str, *, idempotency_key: str | None = None
    ) -> MessageView:
        """Restore a deleted message."""
        return cast(
            "MessageView",
            self._call(
                "POST",
                f"/v1/accounts/{quoted(address)}/messages/{quoted(message_id)}/undelete",
                idempotency_key=idempotency_key,
            ),
        )

    def export_mail(
        self, address: str, *, format_: Format, mailbox: str | None = None
    ) -> Iterator[bytes]:
        """Export mail."""
        return self._stream(
            "GET",
            f"/v1/accounts/{quoted(address)}/export",
            query={"format": format_, "mailbox": mailbox},
        )

    def import_mail(
        self,
        address: str,
        content: Body,
        *,
        format_: Format,
        mailbox: str | None = None,
        idempotency_key: str | None = None,
        media: str = "application/mbox",
    ) -> ImportSummary:
        """Import mail."""
        return cast(
            "ImportSummary",
            self._call(
                "POST",
                f"/v1/accounts/{quoted(address)}/import",
                query={"format": format_, "mailbox": mailbox},
                content=content,
                media=media,
                idempotency_key=idempotency_key,
            ),
        )

    def create_alias(self, body: AliasCreation, *, idempotency_key: str | None = None) -> AliasView:
        """Create an alias."""
        return cast(
            "AliasView",
            self._call("POST", "/v1/aliases", body=body, idempotency_key=idempotency_key),
        )

    def list_aliases(
        self,
        *,
        domain: str | None = None,
        target: str | None = None,
        tenant: str | None = None,
        sort: Literal["address", "-address", "created", "-created"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[AliasView]:
        """List aliases."""
        return cast(
            "Page[AliasView]",
            self._call(
                "GET",
                "/v1/aliases",
                query={
                    "domain": domain,
                    "target": target,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_alias(self, address: str) -> AliasView:
        """Get an alias."""
        return cast("AliasView", self._call("GET", f"/v1/aliases/{quoted(address)}"))

    def change_alias(
        self, address: str, body: AliasChange, *, if_match: str | None = None
    ) -> AliasView:
        """Update an alias."""
        return cast(
            "AliasView",
            self._call("PATCH", f"/v1/aliases/{quoted(address)}", body=body, if_match=if_match),
        )

    def delete_alias(self, address: str, *, if_match: str | None = None) -> None:
        """Delete an alias."""
        self._call("DELETE", f"/v1/aliases/{quoted(address)}", if_match=if_match)

    def confirm_forward(
        self, body: ForwardConfirmation, *, idempotency_key: str | None = None
    ) -> AliasView:
        """Confirm a target of an alias."""
        return cast(
            "AliasView",
            self._call("POST", "/v1/aliases/confirm", body=body, idempotency_key=idempotency_key),
        )

    def get_system_filter_policy(self) -> FilterPolicyDocument:
        """Get the filter policy of the system."""
        return cast("FilterPolicyDocument", self._call("GET", "/v1/filter-policy"))

    def set_system_filter_policy(
        self, body: FilterPolicyDocument, *, if_match: str | None = None
    ) -> FilterPolicyDocument:
        """Replace the filter policy of the system."""
        return cast(
            "FilterPolicyDocument",
            self._call("PUT", "/v1/filter-policy", body=body, if_match=if_match),
        )

    def unset_system_filter_policy(self, *, if_match: str | None = None) -> None:
        """Delete the filter policy of the system."""
        self._call("DELETE", "/v1/filter-policy", if_match=if_match)

    def get_tenant_filter_policy(self, tenant: str) -> FilterPolicyDocument:
        """Get the filter policy of a tenant."""
        return cast(
            "FilterPolicyDocument", self._call("GET", f"/v1/tenants/{quoted(tenant)}/filter-policy")
        )

    def set_tenant_filter_policy(
        self, tenant: str, body: FilterPolicyDocument, *, if_match: str | None = None
    ) -> FilterPolicyDocument:
        """Replace the filter policy of a tenant."""
        return cast(
            "FilterPolicyDocument",
            self._call(
                "PUT", f"/v1/tenants/{quoted(tenant)}/filter-policy", body=body, if_match=if_match
            ),
        )

    def unset_tenant_filter_policy(self, tenant: str, *, if_match: str | None = None) -> None:
        """Delete the filter policy of a tenant."""
        self._call("DELETE", f"/v1/tenants/{quoted(tenant)}/filter-policy", if_match=if_match)

    def get_domain_filter_policy(self, name: str) -> FilterPolicyDocument:
        """Get the filter policy of a domain."""
        return cast(
            "FilterPolicyDocument", self._call("GET", f"/v1/domains/{quoted(name)}/filter-policy")
        )

    def set_domain_filter_policy(
        self, name: str, body: FilterPolicyDocument, *, if_match: str | None = None
    ) -> FilterPolicyDocument:
        """Replace the filter policy of a domain."""
        return cast(
            "FilterPolicyDocument",
            self._call(
                "PUT", f"/v1/domains/{quoted(name)}/filter-policy", body=body, if_match=if_match
            ),
        )

    def unset_domain_filter_policy(self, name: str, *, if_match: str | None = None) -> None:
        """Delete the filter policy of a domain."""
        self._call("DELETE", f"/v1/domains/{quoted(name)}/filter-policy", if_match=if_match)

    def get_effective_domain_filter_policy(self, name: str) -> EffectiveFilterPolicyView:
        """Get the filter policy that holds for a domain."""
        return cast(
            "EffectiveFilterPolicyView",
            self._call("GET", f"/v1/domains/{quoted(name)}/filter-policy/effective"),
        )

    def get_account_filter_policy(self, address: str) -> FilterPolicyDocument:
        """Get the filter policy of an account."""
        return cast(
            "FilterPolicyDocument",
            self._call("GET", f"/v1/accounts/{quoted(address)}/filter-policy"),
        )

    def set_account_filter_policy(
        self, address: str, body: FilterPolicyDocument, *, if_match: str | None = None
    ) -> FilterPolicyDocument:
        """Replace the filter policy of an account."""
        return cast(
            "FilterPolicyDocument",
            self._call(
                "PUT", f"/v1/accounts/{quoted(address)}/filter-policy", body=body, if_match=if_match
            ),
        )

    def unset_account_filter_policy(self, address: str, *, if_match: str | None = None) -> None:
        """Delete the filter policy of an account."""
        self._call("DELETE", f"/v1/accounts/{quoted(address)}/filter-policy", if_match=if_match)

    def get_effective_account_filter_policy(self, address: str) -> EffectiveFilterPolicyView:
        """Get the filter policy that holds for an account."""
        return cast(
            "EffectiveFilterPolicyView",
            self._call("GET", f"/v1/accounts/{quoted(address)}/filter-policy/effective"),
        )

    def list_quarantine(
        self,
        *,
        account: str | None = None,
        domain: str | None = None,
        reason: Literal["virus", "dmarc", "score", "blocked"] | None = None,
        message: str | None = None,
        since: str | None = None,
        tenant: str | None = None,
        sort: Literal["created", "-created", "score", "-score"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[QuarantinedView]:
        """List the quarantine."""
        return cast(
            "Page[QuarantinedView]",
            self._call(
                "GET",
                "/v1/quarantine",
                query={
                    "account": account,
                    "domain": domain,
                    "reason": reason,
                    "message": message,
                    "since": since,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_quarantined(self, quarantine_id: str) -> QuarantinedView:
        """Get a copy in quarantine."""
        return cast("QuarantinedView", self._call("GET", f"/v1/quarantine/{quoted(quarantine_id)}"))

    def delete_quarantined(self, quarantine_id: str) -> None:
        """Delete a copy in quarantine."""
        self._call("DELETE", f"/v1/quarantine/{quoted(quarantine_id)}")

    def get_raw_quarantined(self, quarantine_id: str) -> Iterator[bytes]:
        """Download a message in quarantine."""
        return self._stream("GET", f"/v1/quarantine/{quoted(quarantine_id)}/raw")

    def release_quarantined(
        self, quarantine_id: str, body: QuarantineRelease, *, idempotency_key: str | None = None
    ) -> QuarantinedView:
        """Release a copy from quarantine."""
        return cast(
            "QuarantinedView",
            self._call(
                "POST",
                f"/v1/quarantine/{quoted(quarantine_id)}/release",
                body=body,
                idempotency_key=idempotency_key,
            ),
        )

    def release_all_quarantined(
        self, body: QuarantineSelection, *, idempotency_key: str | None = None
    ) -> ReleasesView:
        """Release several copies from quarantine."""
        return cast(
            "ReleasesView",
            self._call(
                "POST", "/v1/quarantine/release", body=body, idempotency_key=idempotency_key
            ),
        )

    def get_defence(self) -> DefenceView:
        """Get the state of the scanning tier."""
        return cast("DefenceView", self._call("GET", "/v1/defence"))

    def get_listings(self) -> ListingsView:
        """List blocklists that hold our addresses and domains."""
        return cast("ListingsView", self._call("GET", "/v1/defence/listings"))

    def send_message(self, body: Sending, *, idempotency_key: str | None = None) -> SentView:
        """Send a message."""
        return cast(
            "SentView", self._call("POST", "/v1/send", body=body, idempotency_key=idempotency_key)
        )

    def trace_message(self, message_id: str) -> TraceView:
        """Get the trace of a message."""
        return cast("TraceView", self._call("GET", f"/v1/messages/{quoted(message_id)}/trace"))

    def search_messages(
        self,
        *,
        q: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        subject: str | None = None,
        direction: Literal["inbound", "outbound"] | None = None,
        outcome: Literal[
            "accepted",
            "queued",
            "deferred",
            "held",
            "delivered",
            "relayed",
            "junk",
            "quarantined",
            "refused",
            "bounced",
            "expired",
            "cancelled",
        ]
        | None = None,
        recipient: str | None = None,
        sender: str | None = None,
        reason: str | None = None,
        after: str | None = None,
        before: str | None = None,
        since: str | None = None,
        tenant: str | None = None,
        sort: Literal["received", "-received"] | None = None,
        total: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[FoundMessageView]:
        """Search messages, whatever happened to them."""
        return cast(
            "Page[FoundMessageView]",
            self._call(
                "GET",
                "/v1/messages",
                query={
                    "q": q,
                    "from": from_,
                    "to": to,
                    "subject": subject,
                    "direction": direction,
                    "outcome": outcome,
                    "recipient": recipient,
                    "sender": sender,
                    "reason": reason,
                    "after": after,
                    "before": before,
                    "since": since,
                    "tenant": tenant,
                    "sort": sort,
                    "total": total,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    def list_queue(
        self,
        *,
        domain: str | None = None,
        state: Literal[
            "queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled", "waiting"
        ]
        | None = None,
        sender: str | None = None,
        recipient: str | None = None,
        message: str | None = None,
        older_than: float | None = None,
        younger_than: float | None = None,
        tenant: str | None = None,
        sort: Literal["created", "-created", "due", "-due"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[QueueItemView]:
        """Search the outbound queue."""
        return cast(
            "Page[QueueItemView]",
            self._call(
                "GET",
                "/v1/queue",
                query={
                    "domain": domain,
                    "state": state,
                    "sender": sender,
                    "recipient": recipient,
                    "message": message,
                    "older_than": older_than,
                    "younger_than": younger_than,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def summarize_queue(
        self,
        *,
        domain: str | None = None,
        state: Literal["queued", "sending", "deferred", "held"] | None = None,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
    ) -> Page[QueueGroupView]:
        """Get a summary of the outbound queue by destination."""
        return cast(
            "Page[QueueGroupView]",
            self._call(
                "GET",
                "/v1/queue/summary",
                query={
                    "domain": domain,
                    "state": state,
                    "tenant": tenant,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                },
            ),
        )

    def get_queued(self, queue_id: int) -> QueueItemView:
        """Get a recipient in the queue."""
        return cast("QueueItemView", self._call("GET", f"/v1/queue/{quoted(queue_id)}"))

    def cancel_queued(self, queue_id: int) -> None:
        """Cancel a recipient in the queue."""
        self._call("DELETE", f"/v1/queue/{quoted(queue_id)}")

    def retry_queued(self, queue_id: int, *, idempotency_key: str | None = None) -> QueueItemView:
        """Retry a recipient now."""
        return cast(
            "QueueItemView",
            self._call(
                "POST", f"/v1/queue/{quoted(queue_id)}/retry", idempotency_key=idempotency_key
            ),
        )

    def retry_all_queued(
        self, body: QueueSelection, *, idempotency_key: str | None = None
    ) -> MatchedView:
        """Retry all matching recipients now."""
        return cast(
            "MatchedView",
            self._call("POST", "/v1/queue/retry", body=body, idempotency_key=idempotency_key),
        )

    def hold_queued(self, queue_id: int, *, idempotency_key: str | None = None) -> QueueItemView:
        """Hold a recipient."""
        return cast(
            "QueueItemView",
            self._call(
                "POST", f"/v1/queue/{quoted(queue_id)}/hold", idempotency_key=idempotency_key
            ),
        )

    def hold_all_queued(
        self, body: QueueSelection, *, idempotency_key: str | None = None
    ) -> MatchedView:
        """Hold all matching recipients."""
        return cast(
            "MatchedView",
            self._call("POST", "/v1/queue/hold", body=body, idempotency_key=idempotency_key),
        )

    def release_queued(self, queue_id: int, *, idempotency_key: str | None = None) -> QueueItemView:
        """Release a recipient."""
        return cast(
            "QueueItemView",
            self._call(
                "POST", f"/v1/queue/{quoted(queue_id)}/release", idempotency_key=idempotency_key
            ),
        )

    def release_all_queued(
        self, body: QueueSelection, *, idempotency_key: str | None = None
    ) -> MatchedView:
        """Release all matching recipients."""
        return cast(
            "MatchedView",
            self._call("POST", "/v1/queue/release", body=body, idempotency_key=idempotency_key),
        )

    def cancel_all_queued(
        self, body: QueueSelection, *, idempotency_key: str | None = None
    ) -> MatchedView:
        """Cancel all matching recipients."""
        return cast(
            "MatchedView",
            self._call("POST", "/v1/queue/cancel", body=body, idempotency_key=idempotency_key),
        )

    def list_routes(
        self,
        *,
        sort: Literal["domain", "-domain"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[RouteView]:
        """List routes."""
        return cast(
            "Page[RouteView]",
            self._call(
                "GET",
                "/v1/routes",
                query={"sort": sort, "limit": limit, "cursor": cursor, "q": q, "total": total},
            ),
        )

    def create_route(self, body: RouteCreation, *, idempotency_key: str | None = None) -> RouteView:
        """Create a route."""
        return cast(
            "RouteView",
            self._call("POST", "/v1/routes", body=body, idempotency_key=idempotency_key),
        )

    def get_route(self, domain: str) -> RouteView:
        """Get a route."""
        return cast("RouteView", self._call("GET", f"/v1/routes/{quoted(domain)}"))

    def set_route(
        self, domain: str, body: RouteSetting, *, if_match: str | None = None
    ) -> RouteView:
        """Replace a route."""
        return cast(
            "RouteView",
            self._call("PUT", f"/v1/routes/{quoted(domain)}", body=body, if_match=if_match),
        )

    def delete_route(self, domain: str, *, if_match: str | None = None) -> None:
        """Delete a route."""
        self._call("DELETE", f"/v1/routes/{quoted(domain)}", if_match=if_match)

    def probe_route(
        self, domain: str, body: RouteProbeRequest, *, idempotency_key: str | None = None
    ) -> RouteProbeView:
        """Probe a route."""
        return cast(
            "RouteProbeView",
            self._call(
                "POST",
                f"/v1/routes/{quoted(domain)}/probe",
                body=body,
                idempotency_key=idempotency_key,
            ),
        )

    def list_suppressions(
        self,
        *,
        domain: str | None = None,
        tenant: str | None = None,
        sort: Literal["address", "-address", "created", "-created"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[SuppressionView]:
        """List suppressed addresses."""
        return cast(
            "Page[SuppressionView]",
            self._call(
                "GET",
                "/v1/suppressions",
                query={
                    "domain": domain,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def suppress(
        self, body: SuppressionCreation, *, idempotency_key: str | None = None
    ) -> SuppressionView:
        """Suppress an address."""
        return cast(
            "SuppressionView",
            self._call("POST", "/v1/suppressions", body=body, idempotency_key=idempotency_key),
        )

    def unsuppress(self, address: str) -> None:
        """Remove an address from the suppression list."""
        self._call("DELETE", f"/v1/suppressions/{quoted(address)}")

    def list_dead_letters(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[DeadLetterView]:
        """List parked messages."""
        return cast(
            "Page[DeadLetterView]",
            self._call("GET", "/v1/dead", query={"limit": limit, "cursor": cursor}),
        )

    def retry_dead_letter(self, sequence: int, *, idempotency_key: str | None = None) -> Retried:
        """Retry a parked message."""
        return cast(
            "Retried",
            self._call(
                "POST", f"/v1/dead/{quoted(sequence)}/retry", idempotency_key=idempotency_key
            ),
        )

    def discard_dead_letter(self, sequence: int) -> None:
        """Discard a parked message."""
        self._call("DELETE", f"/v1/dead/{quoted(sequence)}")

    def import_accounts(
        self, content: Body, *, idempotency_key: str | None = None
    ) -> list[ImportAnswer]:
        """Import accounts."""
        return cast(
            "list[ImportAnswer]",
            self._call(
                "POST",
                "/v1/import/accounts",
                content=content,
                media="application/x-ndjson",
                idempotency_key=idempotency_key,
            ),
        )

    def import_aliases(
        self, content: Body, *, idempotency_key: str | None = None
    ) -> list[ImportAnswer]:
        """Import aliases."""
        return cast(
            "list[ImportAnswer]",
            self._call(
                "POST",
                "/v1/import/aliases",
                content=content,
                media="application/x-ndjson",
                idempotency_key=idempotency_key,
            ),
        )

    def plan_account_import(
        self, content: Body, *, idempotency_key: str | None = None
    ) -> list[ImportAnswer]:
        """Check an import of accounts."""
        return cast(
            "list[ImportAnswer]",
            self._call(
                "POST",
                "/v1/import/accounts/plan",
                content=content,
                media="application/x-ndjson",
                idempotency_key=idempotency_key,
            ),
        )

    def plan_alias_import(
        self, content: Body, *, idempotency_key: str | None = None
    ) -> list[ImportAnswer]:
        """Check an import of aliases."""
        return cast(
            "list[ImportAnswer]",
            self._call(
                "POST",
                "/v1/import/aliases/plan",
                content=content,
                media="application/x-ndjson",
                idempotency_key=idempotency_key,
            ),
        )

    def create_webhook(
        self, body: WebhookCreation, *, idempotency_key: str | None = None
    ) -> NewWebhookView:
        """Create a webhook."""
        return cast(
            "NewWebhookView",
            self._call("POST", "/v1/webhooks", body=body, idempotency_key=idempotency_key),
        )

    def list_webhooks(
        self,
        *,
        state: Literal["active", "paused", "failing"] | None = None,
        tenant: str | None = None,
        sort: Literal["created", "-created", "url", "-url"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[WebhookView]:
        """List webhooks."""
        return cast(
            "Page[WebhookView]",
            self._call(
                "GET",
                "/v1/webhooks",
                query={
                    "state": state,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_webhook(self, webhook_id: str) -> WebhookView:
        """Get a webhook."""
        return cast("WebhookView", self._call("GET", f"/v1/webhooks/{quoted(webhook_id)}"))

    def change_webhook(
        self, webhook_id: str, body: WebhookChange, *, if_match: str | None = None
    ) -> WebhookView:
        """Update a webhook."""
        return cast(
            "WebhookView",
            self._call("PATCH", f"/v1/webhooks/{quoted(webhook_id)}", body=body, if_match=if_match),
        )

    def delete_webhook(self, webhook_id: str, *, if_match: str | None = None) -> None:
        """Delete a webhook."""
        self._call("DELETE", f"/v1/webhooks/{quoted(webhook_id)}", if_match=if_match)

    def rotate_webhook_secret(
        self, webhook_id: str, *, idempotency_key: str | None = None
    ) -> NewWebhookView:
        """Rotate the secret of a webhook."""
        return cast(
            "NewWebhookView",
            self._call(
                "POST", f"/v1/webhooks/{quoted(webhook_id)}/rotate", idempotency_key=idempotency_key
            ),
        )

    def test_webhook(self, webhook_id: str, *, idempotency_key: str | None = None) -> DeliveryView:
        """Send a test event."""
        return cast(
            "DeliveryView",
            self._call(
                "POST", f"/v1/webhooks/{quoted(webhook_id)}/test", idempotency_key=idempotency_key
            ),
        )

    def list_webhook_deliveries(
        self,
        webhook_id: str,
        *,
        state: Literal["waiting", "delivered", "failed"] | None = None,
        sort: Literal["created", "-created"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[DeliveryView]:
        """List the deliveries of a webhook."""
        return cast(
            "Page[DeliveryView]",
            self._call(
                "GET",
                f"/v1/webhooks/{quoted(webhook_id)}/deliveries",
                query={
                    "state": state,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_webhook_delivery(self, webhook_id: str, delivery: str) -> DeliveryView:
        """Get a delivery of a webhook."""
        return cast(
            "DeliveryView",
            self._call("GET", f"/v1/webhooks/{quoted(webhook_id)}/deliveries/{quoted(delivery)}"),
        )

    def replay_webhook_delivery(
        self, webhook_id: str, delivery: str, *, idempotency_key: str | None = None
    ) -> DeliveryView:
        """Replay a delivery."""
        return cast(
            "DeliveryView",
            self._call(
                "POST",
                f"/v1/webhooks/{quoted(webhook_id)}/deliveries/{quoted(delivery)}/replay",
                idempotency_key=idempotency_key,
            ),
        )

    def replay_failed_webhook_deliveries(
        self, webhook_id: str, *, idempotency_key: str | None = None
    ) -> ReplayedView:
        """Replay the failed deliveries of a webhook."""
        return cast(
            "ReplayedView",
            self._call(
                "POST",
                f"/v1/webhooks/{quoted(webhook_id)}/deliveries/replay",
                idempotency_key=idempotency_key,
            ),
        )

    def follow_events(
        self,
        *,
        type_: list[Kind] | None = None,
        message: str | None = None,
        tenant: str | None = None,
        after: str | None = None,
    ) -> Iterator[bytes]:
        """Follow the events of messages as they happen."""
        return self._stream(
            "GET",
            "/v1/events/stream",
            query={"type": type_, "message": message, "tenant": tenant, "after": after},
        )

    def list_dmarc_reports(
        self,
        name: str,
        *,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[DmarcFigureView]:
        """Get the figures of DMARC reports about a domain."""
        return cast(
            "Page[DmarcFigureView]",
            self._call(
                "GET",
                f"/v1/domains/{quoted(name)}/reports/dmarc",
                query={"since": since, "until": until, "limit": limit, "cursor": cursor},
            ),
        )

    def list_tls_reports(
        self,
        name: str,
        *,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[TlsFigureView]:
        """Get the figures of TLS reports about a domain."""
        return cast(
            "Page[TlsFigureView]",
            self._call(
                "GET",
                f"/v1/domains/{quoted(name)}/reports/tls",
                query={"since": since, "until": until, "limit": limit, "cursor": cursor},
            ),
        )

    def list_complaints(
        self,
        *,
        domain: str | None = None,
        tenant: str | None = None,
        sort: Literal["created", "-created"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[ComplaintView]:
        """List complaints of recipients."""
        return cast(
            "Page[ComplaintView]",
            self._call(
                "GET",
                "/v1/complaints",
                query={
                    "domain": domain,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def list_stats(
        self,
        *,
        domain: str | None = None,
        since: str | None = None,
        until: str | None = None,
        by: Literal["hour", "day"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[StatsView]:
        """Get message statistics."""
        return cast(
            "Page[StatsView]",
            self._call(
                "GET",
                "/v1/stats",
                query={
                    "domain": domain,
                    "since": since,
                    "until": until,
                    "by": by,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    def get_stats_series(
        self,
        *,
        domain: str | None = None,
        since: str | None = None,
        until: str | None = None,
        by: Literal["hour", "day"] | None = None,
        by_domain: bool | None = None,
    ) -> StatsSeriesView:
        """Get message statistics as series."""
        return cast(
            "StatsSeriesView",
            self._call(
                "GET",
                "/v1/stats/series",
                query={
                    "domain": domain,
                    "since": since,
                    "until": until,
                    "by": by,
                    "by_domain": by_domain,
                },
            ),
        )

    def get_config(self, *, tenant: str | None = None) -> ConfigDocument:
        """Get the configuration of a tenant."""
        return cast("ConfigDocument", self._call("GET", "/v1/config", query={"tenant": tenant}))

    def put_config(
        self,
        body: ConfigDocument,
        *,
        tenant: str | None = None,
        plan: bool | None = None,
        prune: bool | None = None,
        force: list[str] | None = None,
        manager: str | None = None,
        take_over: bool | None = None,
        if_match: str | None = None,
    ) -> ConfigOutcome:
        """Apply a configuration to a tenant."""
        return cast(
            "ConfigOutcome",
            self._call(
                "PUT",
                "/v1/config",
                query={
                    "tenant": tenant,
                    "plan": plan,
                    "prune": prune,
                    "force": force,
                    "manager": manager,
                    "take_over": take_over,
                },
                body=body,
                if_match=if_match,
            ),
        )

    def list_managers(self, *, tenant: str | None = None) -> ManagersView:
        """List the managers of a tenant."""
        return cast(
            "ManagersView", self._call("GET", "/v1/config/managers", query={"tenant": tenant})
        )

    def release_manager(self, manager: str, *, tenant: str | None = None) -> None:
        """Release all objects of a manager."""
        self._call("DELETE", f"/v1/config/managers/{quoted(manager)}", query={"tenant": tenant})

    def list_content_access(
        self,
        address: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[AuditView]:
        """List accesses to the content of mailboxes."""
        return cast(
            "Page[AuditView]",
            self._call(
                "GET",
                f"/v1/accounts/{quoted(address)}/content-access",
                query={"limit": limit, "cursor": cursor, "q": q, "total": total},
            ),
        )

    def list_audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        object_: str | None = None,
        since: str | None = None,
        until: str | None = None,
        tenant: str | None = None,
        sort: Literal["at", "-at"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        q: str | None = None,
        total: bool | None = None,
    ) -> Page[AuditView]:
        """List the audit log."""
        return cast(
            "Page[AuditView]",
            self._call(
                "GET",
                "/v1/audit",
                query={
                    "actor": actor,
                    "action": action,
                    "object": object_,
                    "since": since,
                    "until": until,
                    "tenant": tenant,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                    "q": q,
                    "total": total,
                },
            ),
        )

    def get_status(self) -> StatusView:
        """Get the status of the API."""
        return cast("StatusView", self._call("GET", "/v1/status"))

    def get_system(self) -> SystemView:
        """Get the state of the whole system."""
        return cast("SystemView", self._call("GET", "/v1/system"))
