"""The JSON shapes of requests and answers.

Made from the API's OpenAPI document by ``make client``; do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Page[T](TypedDict):
    """A part of a list."""

    items: list[T]
    next_cursor: str | None


class AccountChange(TypedDict):
    """Fields of an account to be set; what is left out stays."""

    password: NotRequired[str]
    quota_bytes: NotRequired[int | None]
    state: NotRequired[Literal["active", "suspended", "receive-only"]]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    allowed_networks: NotRequired[list[str] | None]


class AccountCreation(TypedDict):
    """An account to be made."""

    address: str
    password: str
    quota_bytes: NotRequired[int | None]


class AccountLine(TypedDict):
    """An account to be made."""

    address: str
    password: NotRequired[str | None]
    password_hash: NotRequired[str | None]
    quota_bytes: NotRequired[int | None]
    state: NotRequired[Literal["active", "suspended", "receive-only"]]


class AccountView(TypedDict):
    """An account."""

    address: str
    quota_bytes: int | None
    used_bytes: int
    used_messages: int
    state: Literal["active", "suspended", "receive-only"]
    max_messages_per_hour: int | None
    max_recipients_per_hour: int | None
    allowed_networks: list[str] | None
    created_at: str
    updated_at: str


class AliasChange(TypedDict):
    """The new targets of an alias."""

    targets: list[str]


class AliasCreation(TypedDict):
    """An alias to be made."""

    address: str
    targets: list[str]


class AliasLine(TypedDict):
    """An alias to be made."""

    address: str
    targets: list[str]


class AliasView(TypedDict):
    """An alias."""

    address: str
    targets: list[str]
    target_states: list[TargetView]
    created_at: str
    updated_at: str


class ApiKeyCreation(TypedDict):
    """An API key to be made."""

    name: str
    role: Literal["platform-admin", "tenant-admin", "read-only", "send-only"]
    tenant: NotRequired[str | None]
    expires_at: NotRequired[str | None]
    message_content: NotRequired[bool | None]


class ApiKeyView(TypedDict):
    """An API key, without the key."""

    id: str
    name: str
    role: Literal["platform-admin", "tenant-admin", "read-only", "send-only"]
    tenant: str | None
    message_content: bool
    expires_at: str | None
    last_used_at: str | None
    created_at: str


class AppPasswordCreation(TypedDict):
    """An app password to be made."""

    name: str
    scopes: list[Literal["smtp", "pop3"]]


class AppPasswordView(TypedDict):
    """An app password, without the password."""

    id: str
    name: str
    scopes: list[Literal["smtp", "pop3"]]
    created_at: str
    last_used_at: str | None


class AttachmentPart(TypedDict):
    """A file that goes with a message."""

    filename: NotRequired[str | None]
    content_type: NotRequired[str]
    content: str
    inline: NotRequired[bool]
    content_id: NotRequired[str | None]


class AuditView(TypedDict):
    """A change that was made, or content that was read, through the API."""

    id: int
    at: str
    tenant: str | None
    actor_id: str
    actor_name: str
    actor_role: str
    action: str
    object: str
    details: dict[str, Any]
    request_id: str


class CheckedRecordView(TypedDict):
    """A record as it stands in DNS."""

    purpose: Literal[
        "ownership",
        "mx",
        "spf",
        "dkim",
        "dmarc",
        "mta-sts",
        "mta-sts-host",
        "tls-rpt",
        "autoconfig",
        "autodiscover",
        "service",
        "ptr",
    ]
    name: str
    type: Literal["MX", "TXT", "CNAME", "SRV", "PTR"]
    values: list[str]
    strings: list[list[str]] | None
    ttl: int
    need: Literal["required", "recommended"]
    state: Literal["pending", "signing", "retired"] | None
    why: str
    verdict: Literal["right", "missing", "wrong", "unknown"]
    found: list[str]
    detail: str
    suggestion: list[str]


class ConfigAccount(TypedDict):
    """An account."""

    address: str
    password_hash: NotRequired[str | None]
    quota_bytes: NotRequired[int | None]
    state: NotRequired[Literal["active", "suspended", "receive-only"]]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    allowed_networks: NotRequired[list[str] | None]


class ConfigAlias(TypedDict):
    """An alias."""

    address: str
    targets: list[str]


class ConfigChange(TypedDict):
    """What is to be done with one object, and what became of that."""

    kind: Literal["domain", "account", "alias", "webhook", "route"]
    object: str
    action: Literal["create", "change", "delete"]
    fields: dict[str, Any]
    outcome: Literal["planned", "done", "failed"]
    detail: str | None
    secret: NotRequired[str | None]


class ConfigDocument(TypedDict):
    """What a tenant is to have."""

    domains: NotRequired[list[ConfigDomain] | None]
    accounts: NotRequired[list[ConfigAccount] | None]
    aliases: NotRequired[list[ConfigAlias] | None]
    webhooks: NotRequired[list[ConfigWebhook] | None]
    routes: NotRequired[list[ConfigRoute] | None]


class ConfigDomain(TypedDict):
    """A domain."""

    catch_all: NotRequired[str | None]
    plus_addressing: NotRequired[bool]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    allowed_networks: NotRequired[list[str] | None]
    max_accounts: NotRequired[int | None]
    quota_bytes: NotRequired[int | None]
    retention_days: NotRequired[int | None]
    undelete_days: NotRequired[int]
    name: str


class ConfigOutcome(TypedDict):
    """A plan, or what became of it."""

    tenant: str
    applied: bool
    changes: list[ConfigChange]
    failed: int
    unlisted: list[ConfigUnlisted]


class ConfigRoute(TypedDict):
    """A route, as a whole: what is left out is as if it had never been set."""

    domain: str
    host: NotRequired[str | None]
    port: NotRequired[int | None]
    tls: NotRequired[Literal["none", "opportunistic", "required", "verified", "implicit"]]
    username: NotRequired[str | None]
    connections: NotRequired[int | None]
    messages_per_minute: NotRequired[int | None]


class ConfigUnlisted(TypedDict):
    """An object that is there and that the document does not name; ``prune=true`` deletes it."""

    kind: Literal["domain", "account", "alias", "webhook", "route"]
    object: str


class ConfigWebhook(TypedDict):
    """A webhook, known by its URL and its domain."""

    url: str
    domain: NotRequired[str | None]
    events: list[
        Literal[
            "*",
            "accepted",
            "delivered",
            "queued",
            "deferred",
            "bounced",
            "notice",
            "held",
            "released",
            "cancelled",
            "retried",
            "read",
        ]
    ]
    state: NotRequired[Literal["active", "paused"]]


class DeadLetterView(TypedDict):
    """A message that could not be delivered."""

    sequence: int
    message_id: str
    reason: str
    parked_at: str
    size: int


class DeletedMessageView(TypedDict):
    """A message that can be brought back."""

    message: MessageView
    deleted_at: str
    until: str


class DeliveryView(TypedDict):
    """One event for one webhook."""

    id: str
    event_type: str
    event: dict[str, Any]
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    next_attempt_at: str | None
    last_status: int | None
    last_reply: str
    created_at: str
    closed_at: str | None


class DkimKeyView(TypedDict):
    """A DKIM key; its private half is shown to nobody."""

    id: str
    selector: str
    algorithm: Literal["rsa", "ed25519"]
    state: Literal["pending", "signing", "retired"]
    signs_from: str
    signs_until: str | None
    published_until: str | None
    created_at: str
    dns: DkimRecordView


class DkimRecordView(TypedDict):
    """A DNS record to be published."""

    type: NotRequired[Literal["TXT"]]
    name: str
    value: str
    strings: list[str]


class DkimRotation(TypedDict):
    """How the keys of a domain are to be replaced."""

    algorithms: NotRequired[list[Literal["rsa", "ed25519"]]]
    selector: NotRequired[str]
    delay_seconds: NotRequired[float | None]
    overlap_seconds: NotRequired[float]


class DkimView(TypedDict):
    """The DKIM keys of a domain, newest first."""

    domain: str
    keys: list[DkimKeyView]


class DnsCheckView(TypedDict):
    """What was found of a domain's records."""

    domain: str
    display_name: str
    checked_at: str
    right: bool
    records: list[CheckedRecordView]
    notes: list[str]


class DnsRecordView(TypedDict):
    """Records to be published under one name and type."""

    purpose: Literal[
        "ownership",
        "mx",
        "spf",
        "dkim",
        "dmarc",
        "mta-sts",
        "mta-sts-host",
        "tls-rpt",
        "autoconfig",
        "autodiscover",
        "service",
        "ptr",
    ]
    name: str
    type: Literal["MX", "TXT", "CNAME", "SRV", "PTR"]
    values: list[str]
    strings: list[list[str]] | None
    ttl: int
    need: Literal["required", "recommended"]
    state: Literal["pending", "signing", "retired"] | None
    why: str


class DomainChange(TypedDict):
    """Fields of a domain to be set; what is left out stays."""

    catch_all: NotRequired[str | None]
    plus_addressing: NotRequired[bool]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    allowed_networks: NotRequired[list[str] | None]
    max_accounts: NotRequired[int | None]
    quota_bytes: NotRequired[int | None]
    retention_days: NotRequired[int | None]
    undelete_days: NotRequired[int]


class DomainCreation(TypedDict):
    """A domain to be made."""

    name: str
    tenant: NotRequired[str | None]
    catch_all: NotRequired[str | None]
    plus_addressing: NotRequired[bool]


class DomainDnsView(TypedDict):
    """What a domain is to publish."""

    domain: str
    display_name: str
    verified_at: str | None
    records: list[DnsRecordView]
    mta_sts_policy: str | None
    notes: list[str]


class DomainView(TypedDict):
    """A domain."""

    name: str
    display_name: str
    tenant: str
    catch_all: str | None
    plus_addressing: bool
    max_messages_per_hour: int | None
    max_recipients_per_hour: int | None
    allowed_networks: list[str] | None
    max_accounts: int | None
    quota_bytes: int | None
    retention_days: int | None
    undelete_days: int
    postmaster: str | None
    verified_at: str | None
    created_at: str
    updated_at: str


class EventView(TypedDict):
    """Something that happened to a message."""

    at: str
    kind: str
    detail: dict[str, Any]


type Format = Literal["mbox", "maildir", "eml"]
"""How the mail of an account is written to a file."""


class ForwardConfirmation(TypedDict):
    """What the message to a target of an alias holds."""

    token: str


class ImportAnswer(TypedDict):
    """What became of a line."""

    line: int
    address: str | None
    status: Literal["created", "unchanged", "failed"]
    errors: NotRequired[list[ProblemField] | None]


class ImportFailure(TypedDict):
    """A message that was not imported."""

    message: int
    name: NotRequired[str | None]
    reason: str


class ImportSummary(TypedDict):
    """What became of the messages of an import."""

    messages: int
    imported: int
    duplicates: int
    failed: int
    octets: int
    failures: list[ImportFailure]
    left_out: int
    left_out_records: list[ImportFailure]
    from_lines_left: int


class MailboxCreation(TypedDict):
    """A mailbox to be made."""

    name: str


class MailboxView(TypedDict):
    """A mailbox of an account."""

    name: str
    role: Literal["inbox", "junk", "sent", "trash"] | None
    messages: int
    unseen: int
    octets: int
    uidvalidity: int
    uidnext: int


class MailboxesView(TypedDict):
    """All mailboxes of an account."""

    items: list[MailboxView]
    next_cursor: NotRequired[None]


class MatchedView(TypedDict):
    """What an action on many did."""

    matched: int
    more: bool


class MessageMove(TypedDict):
    """Where a message is to go."""

    mailbox: str


class MessagePartView(TypedDict):
    """A part of a message."""

    number: str | None
    depth: int
    type: str
    charset: str | None
    name: str | None
    disposition: str | None
    is_attachment: bool
    content_id: str | None
    description: str | None
    encoding: str
    header_offset: int
    body_offset: int
    body_bytes: int
    decoded_bytes: int
    lines: int


MessageView = TypedDict(
    "MessageView",
    {
        "id": "str",
        "mailbox": "str",
        "uid": "int",
        "size": "int",
        "received_at": "str",
        "from": "str",
        "subject": "str",
        "date": "str",
        "message_id": "str",
        "reverse_path": "str",
        "flags": "list[Literal['seen', 'answered', 'flagged', 'deleted', 'draft']]",
        "keywords": "list[str]",
    },
)
"""A message in a mailbox."""


class NewApiKeyView(TypedDict):
    """An API key just made."""

    id: str
    name: str
    role: Literal["platform-admin", "tenant-admin", "read-only", "send-only"]
    tenant: str | None
    message_content: bool
    expires_at: str | None
    last_used_at: str | None
    created_at: str
    key: str | None


class NewAppPasswordView(TypedDict):
    """An app password just made."""

    id: str
    name: str
    scopes: list[Literal["smtp", "pop3"]]
    created_at: str
    last_used_at: str | None
    password: str | None


class NewWebhookView(TypedDict):
    """A webhook with its secret."""

    id: str
    tenant: str | None
    url: str
    events: list[str]
    domain: str | None
    state: Literal["active", "failing", "paused"]
    created_at: str
    updated_at: str
    secret: str | None


class PartView(TypedDict):
    """A part that the API needs."""

    name: str
    state: str


class ProblemField(TypedDict):
    """What is wrong with one field."""

    field: str
    message: str


class QueueItemView(TypedDict):
    """One recipient of a message on its way out."""

    id: int
    message: str
    state: Literal["queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled"]
    sender: str
    recipient: str
    domain: str
    forwarded_for: str | None
    subject: str
    size: int
    attempts: int
    next_attempt_at: str | None
    last_attempt_at: str | None
    last_host: str | None
    last_status: str | None
    last_reply: str | None
    last_tls: str | None
    created_at: str
    expires_at: str
    next_hop_closed_until: NotRequired[str | None]
    next_hop_host: NotRequired[str | None]
    next_hop_reply: NotRequired[str | None]


class QueueSelection(TypedDict):
    """Which recipients of the queue are meant: those that match every field given."""

    domain: NotRequired[str | None]
    state: NotRequired[Literal["queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled"] | None]
    sender: NotRequired[str | None]
    recipient: NotRequired[str | None]
    message: NotRequired[str | None]
    older_than: NotRequired[float | None]
    younger_than: NotRequired[float | None]
    tenant: NotRequired[str | None]
    all: NotRequired[bool]


class Retried(TypedDict):
    """A dead letter that is on its way again."""

    sequence: int
    state: NotRequired[Literal["queued"]]


class RouteCreation(TypedDict):
    """A route to be made."""

    host: NotRequired[str | None]
    port: NotRequired[int | None]
    tls: NotRequired[Literal["none", "opportunistic", "required", "verified", "implicit"]]
    username: NotRequired[str | None]
    password: NotRequired[str | None]
    connections: NotRequired[int | None]
    messages_per_minute: NotRequired[int | None]
    domain: str


class RouteSetting(TypedDict):
    """How the mail of a domain is to travel."""

    host: NotRequired[str | None]
    port: NotRequired[int | None]
    tls: NotRequired[Literal["none", "opportunistic", "required", "verified", "implicit"]]
    username: NotRequired[str | None]
    password: NotRequired[str | None]
    connections: NotRequired[int | None]
    messages_per_minute: NotRequired[int | None]


class RouteView(TypedDict):
    """A route."""

    domain: str
    host: str | None
    port: int | None
    tls: Literal["none", "opportunistic", "required", "verified", "implicit"]
    username: str | None
    password_set: bool
    connections: int | None
    messages_per_minute: int | None


Sending = TypedDict(
    "Sending",
    {
        "from": "str",
        "to": "NotRequired[list[str]]",
        "cc": "NotRequired[list[str]]",
        "bcc": "NotRequired[list[str]]",
        "reply_to": "NotRequired[list[str]]",
        "subject": "NotRequired[str | None]",
        "text": "NotRequired[str | None]",
        "html": "NotRequired[str | None]",
        "headers": "NotRequired[dict[str, str]]",
        "attachments": "NotRequired[list[AttachmentPart]]",
        "raw": "NotRequired[str | None]",
    },
)
"""A message to be sent: composed from its parts, or whole in ``raw``."""


class SentView(TypedDict):
    """A message that is on its way."""

    id: str
    recipients: list[str]


class StatsView(TypedDict):
    """How many messages of one outcome, in one hour or day, of one domain."""

    at: str
    domain: str | None
    outcome: Literal["accepted", "delivered", "relayed", "deferred", "bounced", "cancelled"]
    messages: int
    octets: int


class StatusView(TypedDict):
    """Whether this process of the API is ready, and its parts."""

    ready: bool
    parts: list[PartView]


class StructureView(TypedDict):
    """What a message consists of."""

    size_bytes: int
    is_complete: bool
    parts: list[MessagePartView]


class SuppressionCreation(TypedDict):
    """An address that is to get no more mail."""

    address: str
    reason: NotRequired[str]


class SuppressionView(TypedDict):
    """An address that gets no mail from the tenant."""

    address: str
    reason: str
    source: Literal["bounce", "api"]
    message: str | None
    created_at: str


class TargetView(TypedDict):
    """A target of an alias and whether it gets mail."""

    address: str
    state: Literal["active", "unconfirmed", "suppressed"]


class TenantChange(TypedDict):
    """Fields of a tenant to be set; what is left out stays."""

    name: NotRequired[str]
    state: NotRequired[Literal["active", "suspended"]]
    max_domains: NotRequired[int | None]
    max_accounts: NotRequired[int | None]
    quota_bytes: NotRequired[int | None]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    verify_domains: NotRequired[bool]
    min_password_length: NotRequired[int]


class TenantCreation(TypedDict):
    """A tenant to be made."""

    name: str
    max_domains: NotRequired[int | None]
    max_accounts: NotRequired[int | None]
    quota_bytes: NotRequired[int | None]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    verify_domains: NotRequired[bool]
    min_password_length: NotRequired[int]


class TenantView(TypedDict):
    """A tenant."""

    id: str
    name: str
    state: Literal["active", "suspended"]
    max_domains: int | None
    max_accounts: int | None
    quota_bytes: int | None
    max_messages_per_hour: int | None
    max_recipients_per_hour: int | None
    verify_domains: bool
    min_password_length: int
    domains: int
    accounts: int
    promised_bytes: int
    created_at: str
    updated_at: str


class TraceView(TypedDict):
    """What happened to a message, in the order of time."""

    items: list[EventView]
    next_cursor: NotRequired[None]


class WebhookChange(TypedDict):
    """Fields of a webhook to be set; what is left out stays."""

    url: NotRequired[str]
    events: NotRequired[
        list[
            Literal[
                "*",
                "accepted",
                "delivered",
                "queued",
                "deferred",
                "bounced",
                "notice",
                "held",
                "released",
                "cancelled",
                "retried",
                "read",
            ]
        ]
    ]
    domain: NotRequired[str | None]
    state: NotRequired[Literal["active", "paused"]]


class WebhookCreation(TypedDict):
    """A webhook to be made."""

    url: str
    events: list[
        Literal[
            "*",
            "accepted",
            "delivered",
            "queued",
            "deferred",
            "bounced",
            "notice",
            "held",
            "released",
            "cancelled",
            "retried",
            "read",
        ]
    ]
    domain: NotRequired[str | None]
    tenant: NotRequired[str | None]


class WebhookView(TypedDict):
    """A webhook."""

    id: str
    tenant: str | None
    url: str
    events: list[str]
    domain: str | None
    state: Literal["active", "failing", "paused"]
    created_at: str
    updated_at: str
