"""The JSON shapes of requests and answers.

Made from the API's OpenAPI document by ``make client``; do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Page[T](TypedDict):
    """A part of a list."""

    items: list[T]
    next_cursor: str | None
    total: NotRequired[int | None]


class AccountChange(TypedDict):
    """Fields of an account to change; fields that are left out keep their values."""

    password: NotRequired[str]
    password_hash: NotRequired[str]
    quota_bytes: NotRequired[int | None]
    state: NotRequired[Literal["active", "suspended", "receive-only"]]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    allowed_networks: NotRequired[list[str] | None]
    save_sent: NotRequired[bool]
    hidden_imap_capabilities: NotRequired[list[str]]


class AccountCreation(TypedDict):
    """An account to create: with a password, or the hash of one."""

    address: str
    password: NotRequired[str | None]
    password_hash: NotRequired[str | None]
    quota_bytes: NotRequired[int | None]


class AccountLine(TypedDict):
    """An account to create."""

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
    save_sent: bool
    hidden_imap_capabilities: list[str]
    managed_by: ManagedByView | None
    created_at: str
    updated_at: str


class AliasChange(TypedDict):
    """The new targets of an alias."""

    targets: list[str]


class AliasCreation(TypedDict):
    """An alias to create."""

    address: str
    targets: list[str]


class AliasLine(TypedDict):
    """An alias to create."""

    address: str
    targets: list[str]


class AliasView(TypedDict):
    """An alias."""

    address: str
    targets: list[str]
    target_states: list[TargetView]
    account_copy: bool | None
    managed_by: ManagedByView | None
    created_at: str
    updated_at: str


class AllChecksView(TypedDict):
    """A wish to check the DNS records of all domains."""

    due: int


class ApiKeyCreation(TypedDict):
    """An API key to create."""

    name: str
    role: Literal["platform-admin", "tenant-admin", "read-only", "send-only"]
    tenant: NotRequired[str | None]
    expires_at: NotRequired[str | None]
    message_content: NotRequired[bool | None]
    networks: NotRequired[list[str] | None]


class ApiKeyView(TypedDict):
    """An API key, without the key itself."""

    id: str
    name: str
    role: Literal["platform-admin", "tenant-admin", "read-only", "send-only"]
    tenant: str | None
    message_content: bool
    expires_at: str | None
    last_used_at: str | None
    last_used_address: str | None
    networks: list[str] | None
    created_at: str


class AppPasswordCreation(TypedDict):
    """An app password to create."""

    name: str
    scopes: list[Literal["smtp", "imap", "pop3"]]
    expires_at: NotRequired[str | None]
    networks: NotRequired[list[str] | None]


class AppPasswordView(TypedDict):
    """An app password, without the password itself."""

    id: str
    name: str
    scopes: list[Literal["smtp", "imap", "pop3"]]
    created_at: str
    last_used_at: str | None
    last_used_address: str | None
    last_used_protocol: Literal["smtp", "imap", "pop3"] | None
    expires_at: str | None
    networks: list[str] | None


class AttachmentPart(TypedDict):
    """A file attached to a message."""

    filename: NotRequired[str | None]
    content_type: NotRequired[str]
    content: str
    inline: NotRequired[bool]
    content_id: NotRequired[str | None]


class AttemptsView(TypedDict):
    """Numbers of attempts, one for each recipient, by the result."""

    delivered: int
    deferred: int
    refused: int


class AuditView(TypedDict):
    """A change made, or content read, through the API."""

    id: int
    at: str
    tenant: str | None
    actor_id: str
    actor_name: str
    actor_role: str
    action: str
    object: str
    details: dict[str, Any]
    before: NotRequired[dict[str, Any]]
    request_id: str


class AuthenticationView(TypedDict):
    """A result of sender authentication, in the words of RFC 8601."""

    method: str
    result: str
    identity: str
    detail: str


class CheckedRecordView(TypedDict):
    """A record and its present state in DNS."""

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


class ClassificationRequest(TypedDict):
    """What the owner of a message says of it."""

    classification: Literal["spam", "ham", "none"]


class ClassificationView(TypedDict):
    """What was said of a message."""

    message: str
    classification: Literal["spam", "ham", "none"]
    taught: Literal["spam", "ham", "none"]
    mailbox: str


class ClientServerView(TypedDict):
    """A server to set a mail client up with."""

    protocol: Literal["imap", "pop3", "smtp"]
    host: str
    port: int
    security: Literal["tls", "starttls"]


class ClientSettingsView(TypedDict):
    """What a mail client is set up with."""

    address: str
    username: str
    servers: list[ClientServerView]


class ComplaintView(TypedDict):
    """A recipient's complaint about a message, from a feedback loop (RFC 5965)."""

    id: str
    message: str | None
    recipient: str
    domain: str
    feedback_type: str
    reporter: str
    believed: bool
    suppressed: bool
    created_at: str


class CompleteFilterPolicyView(TypedDict):
    """A filter policy with a value for each field."""

    junk_score: float
    refuse_score: float
    spam_action: Literal["mark", "junk", "quarantine"]
    virus_action: Literal["refuse", "quarantine"]
    enforce_dmarc: bool
    refuse_listed: bool
    greylist: bool
    protect_known: bool
    rspamd: bool
    clamav: bool
    digest: bool
    allow: list[str]
    block: list[str]
    forwarders: list[str]


class ConfigAccount(TypedDict):
    """An account."""

    address: str
    password_hash: NotRequired[str | None]
    quota_bytes: NotRequired[int | None]
    state: NotRequired[Literal["active", "suspended", "receive-only"]]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    allowed_networks: NotRequired[list[str] | None]
    save_sent: NotRequired[bool]
    hidden_imap_capabilities: NotRequired[list[str]]
    filter_policy: NotRequired[FilterPolicyDocument | None]


class ConfigAlias(TypedDict):
    """An alias."""

    address: str
    targets: list[str]


class ConfigChange(TypedDict):
    """A change to one object, and its outcome."""

    kind: Literal["domain", "account", "alias", "webhook", "route"]
    object: str
    action: Literal["create", "change", "delete"]
    fields: dict[str, Any]
    outcome: Literal["planned", "done", "failed"]
    detail: str | None
    secret: NotRequired[str | None]
    managed_by: NotRequired[str | None]


class ConfigDocument(TypedDict):
    """The desired state of a tenant."""

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
    account_forwards: NotRequired[int]
    name: str
    dkim: NotRequired[bool]
    filter_policy: NotRequired[FilterPolicyDocument | None]


class ConfigObject(TypedDict):
    """An object of the document, or of the former one."""

    kind: Literal["domain", "account", "alias", "webhook", "route"]
    object: str


class ConfigOutcome(TypedDict):
    """A plan, or the outcome of applying it."""

    tenant: str
    applied: bool
    changes: list[ConfigChange]
    failed: int
    unlisted: list[ConfigUnlisted]
    manager: NotRequired[str | None]
    marked: NotRequired[list[ConfigObject]]
    released: NotRequired[list[ConfigObject]]


class ConfigRoute(TypedDict):
    """A route as a whole: fields that are left out get their default values."""

    domain: str
    host: NotRequired[str | None]
    port: NotRequired[int | None]
    tls: NotRequired[Literal["none", "opportunistic", "required", "verified", "implicit"]]
    username: NotRequired[str | None]
    connections: NotRequired[int | None]
    messages_per_minute: NotRequired[int | None]


class ConfigUnlisted(TypedDict):
    """An object that exists and that the document does not list; ``prune=true`` deletes it."""

    kind: Literal["domain", "account", "alias", "webhook", "route"]
    object: str


class ConfigWebhook(TypedDict):
    """A webhook, identified by its URL and its domain."""

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
            "complained",
        ]
    ]
    state: NotRequired[Literal["active", "paused"]]


class DeadLetterView(TypedDict):
    """A message that was accepted and could not be delivered."""

    sequence: int
    message_id: str
    reason: str
    parked_at: str
    size: int


class DeadReasonView(TypedDict):
    """A reason for which messages are parked."""

    reason: str
    messages: int


class DeadView(TypedDict):
    """Parked messages."""

    messages: int
    oldest_at: str | None
    reasons: list[DeadReasonView]


class DefenceView(TypedDict):
    """The scanning tier, as one of its processes sees it."""

    scanning: bool
    detail: str
    engines: list[EngineStateView]
    zones: list[ZoneView]
    resolver_up: bool | None
    unscanned: int | None


class DeletedMessageView(TypedDict):
    """A deleted message that can be restored."""

    message: MessageView
    deleted_at: str
    until: str


class DeliveryView(TypedDict):
    """An event for a webhook."""

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
    """A DKIM key."""

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
    """A DNS record to publish."""

    type: NotRequired[Literal["TXT"]]
    name: str
    value: str
    strings: list[str]


class DkimRotation(TypedDict):
    """How to replace the keys of a domain."""

    algorithms: NotRequired[list[Literal["rsa", "ed25519"]]]
    selector: NotRequired[str]
    delay_seconds: NotRequired[float | None]
    overlap_seconds: NotRequired[float]


class DkimView(TypedDict):
    """The DKIM keys of a domain, newest first."""

    domain: str
    keys: list[DkimKeyView]


class DmarcFigureView(TypedDict):
    """Messages in the domain's name from one source, as a receiver judged them."""

    source: str
    reporter: str
    believed: bool
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    messages: int
    first_day: str
    last_day: str


class DnsCheckView(TypedDict):
    """The result of checking the DNS records of a domain."""

    domain: str
    display_name: str
    checked_at: str
    right: bool
    records: list[CheckedRecordView]
    notes: list[str]


class DnsRecordView(TypedDict):
    """DNS records to publish under one name and type."""

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


class DnsVerdictView(TypedDict):
    """The verdict of the last check on the DNS records of one name and type."""

    purpose: str
    name: str
    type: str
    need: Literal["required", "recommended"]
    verdict: Literal["right", "missing", "wrong", "unknown"]


class DomainChange(TypedDict):
    """Fields of a domain to change; fields that are left out keep their values."""

    catch_all: NotRequired[str | None]
    plus_addressing: NotRequired[bool]
    max_messages_per_hour: NotRequired[int | None]
    max_recipients_per_hour: NotRequired[int | None]
    allowed_networks: NotRequired[list[str] | None]
    max_accounts: NotRequired[int | None]
    quota_bytes: NotRequired[int | None]
    retention_days: NotRequired[int | None]
    undelete_days: NotRequired[int]
    account_forwards: NotRequired[int]


class DomainCreation(TypedDict):
    """A domain to create."""

    name: str
    tenant: NotRequired[str | None]
    catch_all: NotRequired[str | None]
    plus_addressing: NotRequired[bool]
    dkim: NotRequired[bool]


class DomainDnsView(TypedDict):
    """The DNS records that a domain needs."""

    domain: str
    display_name: str
    verified_at: str | None
    records: list[DnsRecordView]
    mta_sts_policy: str | None
    client_servers: list[ClientServerView]
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
    account_forwards: int
    postmaster: str | None
    verified_at: str | None
    dns_state: Literal["right", "wrong", "unknown"] | None
    dns_checked_at: str | None
    dns_verdicts: list[DnsVerdictView]
    dkim_signs_from: NotRequired[str | None]
    accounts: NotRequired[int]
    promised_bytes: NotRequired[int | None]
    managed_by: ManagedByView | None
    created_at: str
    updated_at: str


class EffectiveFilterPolicyView(TypedDict):
    """The filter policy that follows from all levels."""

    policy: CompleteFilterPolicyView
    origins: list[PolicyOriginView]


class EngineStateView(TypedDict):
    """An engine of the scanning tier."""

    name: str
    up: bool
    detail: str


class EngineView(TypedDict):
    """An engine's part in a verdict."""

    name: str
    state: str
    milliseconds: int
    detail: str


class EventView(TypedDict):
    """An event in the life of a message."""

    at: str
    kind: str
    detail: dict[str, Any]
    meaning: NotRequired[str | None]


class FilingView(TypedDict):
    """What a filter policy decided on a copy."""

    action: str
    reason: str
    score: float
    detail: str


class FilterPolicyDocument(TypedDict):
    """A filter policy."""

    junk_score: NotRequired[float | None]
    refuse_score: NotRequired[float | None]
    spam_action: NotRequired[Literal["mark", "junk", "quarantine"] | None]
    virus_action: NotRequired[Literal["refuse", "quarantine"] | None]
    enforce_dmarc: NotRequired[bool | None]
    refuse_listed: NotRequired[bool | None]
    greylist: NotRequired[bool | None]
    protect_known: NotRequired[bool | None]
    rspamd: NotRequired[bool | None]
    clamav: NotRequired[bool | None]
    digest: NotRequired[bool | None]
    allow: NotRequired[list[str] | None]
    block: NotRequired[list[str] | None]
    forwarders: NotRequired[list[str] | None]


type Format = Literal["mbox", "maildir", "eml"]
"""Format of an exported or imported file."""


class ForwardConfirmation(TypedDict):
    """The confirmation that was sent to a target of an alias."""

    token: str


class FoundMessageView(TypedDict):
    """A message and what happened to it for one recipient."""

    message: str
    at: str
    kind: str
    detail: dict[str, Any]
    received_at: str
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
    direction: Literal["inbound", "outbound", "internal"]
    tenant: str | None
    sender: str
    author: str
    recipient: str
    targets: list[str]
    subject: str
    message_id: str
    size_bytes: int


class ImportAnswer(TypedDict):
    """The result of one line."""

    line: int
    address: str | None
    status: Literal["created", "unchanged", "failed"]
    errors: NotRequired[list[ProblemField] | None]
    managed_by: NotRequired[str | None]


class ImportFailure(TypedDict):
    """A message that was not imported."""

    message: int
    name: NotRequired[str | None]
    reason: str


class ImportSummary(TypedDict):
    """The result of an import."""

    messages: int
    imported: int
    duplicates: int
    failed: int
    imported_bytes: int
    failures: list[ImportFailure]
    left_out: int
    left_out_records: list[ImportFailure]
    from_lines_left: int


class IngestView(TypedDict):
    """Accepted messages that are not in their mailboxes yet."""

    messages: int
    size_bytes: int
    oldest_at: str | None
    retrying: int


class InstanceView(TypedDict):
    """A process of the system."""

    part: str
    instance: str
    version: str
    since: str
    state: Literal["ready", "not-ready", "draining", "silent"]
    reasons: dict[str, str]
    last_heartbeat_at: str
    certificate_ends_at: str | None


type Kind = Literal[
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
    "scanned",
    "refused",
    "filed",
    "quarantined",
    "restored",
    "classified",
    "listed",
    "dns-changed",
    "complained",
]
"""Kind."""


class LagsView(TypedDict):
    """How far behind work in the background is, in seconds; null: not known."""

    directory_seconds: float | None
    events_seconds: float | None
    webhooks_seconds: float | None


class ListingView(TypedDict):
    """A blocklist that holds an address or a domain of ours."""

    zone: str
    subject: str
    code: str
    reason: str


class ListingsView(TypedDict):
    """What is watched, and which lists hold it."""

    addresses: list[str]
    domains: list[str]
    zones: list[ZoneView]
    listings: list[ListingView]


class LoginLinkView(TypedDict):
    """A one-time link to sign in by."""

    link: str
    path: str
    expires_at: str


class LoginMethodsView(TypedDict):
    """The ways to sign in."""

    key: bool
    account: bool
    oidc: OidcMethodView | None


class LoginRequest(TypedDict):
    """What to sign in with: a key, an account and its password, or a link."""

    key: NotRequired[str | None]
    account: NotRequired[str | None]
    password: NotRequired[str | None]
    link: NotRequired[str | None]


class MailboxChange(TypedDict):
    """What of a mailbox to change; fields that are left out keep their values."""

    name: NotRequired[str]
    subscribed: NotRequired[bool]


class MailboxCreation(TypedDict):
    """A mailbox to create."""

    name: str


class MailboxView(TypedDict):
    """A mailbox of an account."""

    name: str
    role: Literal["inbox", "junk", "sent", "trash", "drafts", "archive"] | None
    messages: int
    unseen: int
    size_bytes: int
    uidvalidity: int
    uidnext: int
    subscribed: bool


class MailboxesView(TypedDict):
    """All mailboxes of an account."""

    items: list[MailboxView]
    next_cursor: NotRequired[None]


class ManagedByView(TypedDict):
    """The manager of an object: a tool whose applied configuration names it."""

    manager: str
    since: str
    fields: list[str]


class ManagedObjectsView(TypedDict):
    """Numbers of managed objects by kind."""

    domains: int
    accounts: int
    aliases: int
    webhooks: int
    routes: int


class ManagerView(TypedDict):
    """A manager: a tool that applies configurations under its name."""

    name: str
    since: str
    objects: ManagedObjectsView


class ManagersView(TypedDict):
    """The managers of a tenant."""

    items: list[ManagerView]


class MatchedView(TypedDict):
    """The result of an action on many recipients."""

    matched: int
    more: bool
    passed_over: int
    left: int


class MeAccountView(TypedDict):
    """The account that calls."""

    id: int
    address: str


class MeTenantView(TypedDict):
    """The caller's tenant."""

    id: str
    name: str | None


class MeView(TypedDict):
    """Who the caller is and what it may do."""

    kind: Literal["key", "token", "account"]
    name: str
    role: str
    tenant: MeTenantView | None
    account: MeAccountView | None
    expires_at: str | None
    operations: list[str]
    version: str


class MessageChange(TypedDict):
    """Flags of a message to change; fields that are left out keep their values."""

    flags: NotRequired[list[Literal["seen", "answered", "flagged", "deleted", "draft"]]]
    keywords: NotRequired[list[str]]


class MessageMove(TypedDict):
    """The target of a move."""

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
        "verdict": "NotRequired[VerdictView | None]",
        "filed": "NotRequired[FilingView | None]",
    },
)
"""A message in a mailbox."""


class NewApiKeyView(TypedDict):
    """An API key that was just created."""

    id: str
    name: str
    role: Literal["platform-admin", "tenant-admin", "read-only", "send-only"]
    tenant: str | None
    message_content: bool
    expires_at: str | None
    last_used_at: str | None
    last_used_address: str | None
    networks: list[str] | None
    created_at: str
    key: str | None


class NewAppPasswordView(TypedDict):
    """An app password that was just created."""

    id: str
    name: str
    scopes: list[Literal["smtp", "imap", "pop3"]]
    created_at: str
    last_used_at: str | None
    last_used_address: str | None
    last_used_protocol: Literal["smtp", "imap", "pop3"] | None
    expires_at: str | None
    networks: list[str] | None
    password: str | None


class NewDomainView(TypedDict):
    """A domain that was just created, with the DNS records to publish for it."""

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
    account_forwards: int
    postmaster: str | None
    verified_at: str | None
    dns_state: Literal["right", "wrong", "unknown"] | None
    dns_checked_at: str | None
    dns_verdicts: list[DnsVerdictView]
    dkim_signs_from: NotRequired[str | None]
    accounts: NotRequired[int]
    promised_bytes: NotRequired[int | None]
    managed_by: ManagedByView | None
    created_at: str
    updated_at: str
    dns_records: list[DnsRecordView]


class NewWebhookView(TypedDict):
    """A webhook with its secret."""

    id: str
    tenant: str | None
    url: str
    events: list[str]
    domain: str | None
    state: Literal["active", "failing", "paused"]
    managed_by: ManagedByView | None
    created_at: str
    updated_at: str
    secret: str | None


class OidcMethodView(TypedDict):
    """Sign-in at the OpenID Connect issuer."""

    name: str


class OwnForwardDocument(TypedDict):
    """Where the mail of an account is to be forwarded to."""

    targets: list[str]
    keep_copy: NotRequired[bool]


class OwnForwardView(TypedDict):
    """Where the mail of an account is forwarded to."""

    targets: list[OwnTargetView]
    keep_copy: bool
    permitted: int


class OwnTargetView(TypedDict):
    """An address that mail is forwarded to."""

    address: str
    state: Literal["active", "unconfirmed", "suppressed", "not-permitted"]


class PartView(TypedDict):
    """A part of the system that the API depends on."""

    name: str
    state: str


class PasswordChange(TypedDict):
    """A new password of the account."""

    current_password: str
    password: str


class PolicyOriginView(TypedDict):
    """Where the value of a field comes from."""

    field: str
    source: Literal["default", "system", "tenant", "domain", "account"]
    value: float | bool | str | list[str]


class ProbeFailureView(TypedDict):
    """Why mail would not be sent by the route now."""

    stage: Literal[
        "dns",
        "connect",
        "tls",
        "greeting",
        "ehlo",
        "starttls",
        "auth",
        "mail",
        "rcpt",
        "rset",
        "quit",
    ]
    code: int | None
    status: str | None
    reply: str
    meaning: str | None
    permanent: bool


class ProbeStepView(TypedDict):
    """A command and its reply."""

    stage: Literal[
        "dns",
        "connect",
        "tls",
        "greeting",
        "ehlo",
        "starttls",
        "auth",
        "mail",
        "rcpt",
        "rset",
        "quit",
    ]
    command: str
    code: int | None
    status: str | None
    reply: str
    meaning: str | None
    seconds: float


class ProbedConnectionView(TypedDict):
    """A connection to one address of one host."""

    host: str
    address: str
    port: int
    tls: ProbedTlsView | None
    authentication: Literal["accepted", "refused"] | None
    extensions: list[str]
    steps: list[ProbeStepView]


class ProbedTlsView(TypedDict):
    """TLS of a connection, and the certificate that the host showed."""

    version: str
    cipher: str
    verdict: Literal["verified", "dane", "unverified", "rejected"]
    names: list[str]
    issuer: str | None
    expires_at: str | None
    problem: str | None


class ProblemField(TypedDict):
    """What is wrong with one field."""

    field: str
    message: str


class QuarantineRelease(TypedDict):
    """How to release a copy."""

    classify: NotRequired[Literal["ham"] | None]


class QuarantineSelection(TypedDict):
    """Copies to release: those with the ids, or all of a message."""

    ids: NotRequired[list[str] | None]
    message: NotRequired[str | None]
    classify: NotRequired[Literal["ham"] | None]


QuarantinedView = TypedDict(
    "QuarantinedView",
    {
        "id": "str",
        "message": "str",
        "account": "str | None",
        "recipient": "str",
        "reason": "str",
        "detail": "str",
        "score": "float",
        "size": "int",
        "received_at": "str",
        "created_at": "str",
        "expires_at": "str",
        "reverse_path": "str",
        "from": "str",
        "subject": "str",
        "date": "str",
        "message_id": "str",
        "verdict": "VerdictView | None",
    },
)
"""A copy of a message in quarantine."""


class QueueGroupView(TypedDict):
    """Recipients that wait for one destination, in one state, after replies of one class."""

    domain: str
    state: Literal["queued", "sending", "deferred", "held"]
    reply_class: str | None
    recipients: int
    oldest_at: str
    next_attempt_at: str | None
    sample: int
    sample_host: str | None
    sample_reply: str | None
    next_hop_closed_until: str | None
    next_hop_reply: str | None


class QueueItemView(TypedDict):
    """A recipient of an outgoing message."""

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
    """Selects the recipients that match every given field."""

    domain: NotRequired[str | None]
    state: NotRequired[
        Literal[
            "queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled", "waiting"
        ]
        | None
    ]
    sender: NotRequired[str | None]
    recipient: NotRequired[str | None]
    message: NotRequired[str | None]
    older_than: NotRequired[float | None]
    younger_than: NotRequired[float | None]
    tenant: NotRequired[str | None]
    ids: NotRequired[list[int] | None]
    all: NotRequired[bool]


class ReleasedView(TypedDict):
    """The result for a copy."""

    id: str
    recipient: str | None
    released: bool
    detail: str | None


class ReleasesView(TypedDict):
    """The results for several copies."""

    items: list[ReleasedView]
    more: bool


class ReplayedView(TypedDict):
    """The result of a replay of failed deliveries."""

    replayed: int
    left: int


class Retried(TypedDict):
    """A parked message that is queued again."""

    sequence: int
    state: NotRequired[Literal["queued"]]


class RouteCreation(TypedDict):
    """A route to create."""

    host: NotRequired[str | None]
    port: NotRequired[int | None]
    tls: NotRequired[Literal["none", "opportunistic", "required", "verified", "implicit"]]
    username: NotRequired[str | None]
    password: NotRequired[str | None]
    connections: NotRequired[int | None]
    messages_per_minute: NotRequired[int | None]
    domain: str


class RouteProbeRequest(TypedDict):
    """What a probe of a route names."""

    recipient: NotRequired[str | None]


class RouteProbeView(TypedDict):
    """What a probe of a route found."""

    domain: str
    outcome: Literal["accepted", "deferred", "refused"]
    failure: ProbeFailureView | None
    connections: list[ProbedConnectionView]
    seconds: float


class RouteSetting(TypedDict):
    """How mail for a domain is routed."""

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
    last_hour: NotRequired[AttemptsView | None]
    managed_by: ManagedByView | None


class RuleView(TypedDict):
    """A rule that matched."""

    name: str
    points: float
    detail: str


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
"""A message to send: composed from its parts, or whole in ``raw``."""


class SentView(TypedDict):
    """A message that was accepted."""

    id: str
    recipients: list[str]


class SeriesView(TypedDict):
    """Messages with one outcome, in each interval."""

    domain: str | None
    outcome: str
    reason: str | None
    messages: list[int]
    size_bytes: list[int]
    total: int


class SessionsEnd(TypedDict):
    """Whose sessions are to end."""

    subject: str


class SessionsEndedView(TypedDict):
    """How many sessions ended."""

    ended: int


class SetUpCode(TypedDict):
    """A code to set up a mail client with."""

    name: NotRequired[str]
    display_name: NotRequired[str]
    expires_at: NotRequired[str | None]


class SetUpCodeView(TypedDict):
    """The content of a QR code that sets up a mail client."""

    payload: str | None
    app_password: str


class SignInView(TypedDict):
    """Sign-ins on one day (UTC) that have protocol, client, credential and result in common."""

    protocol: Literal["imap", "pop3", "smtp", "api"]
    address: str
    app_password: str | None
    app_password_name: str | None
    result: str
    attempts: int
    first_at: str
    last_at: str


class StatsSeriesView(TypedDict):
    """Statistics as series."""

    at: list[str]
    series: list[SeriesView]


class StatsView(TypedDict):
    """Number of messages with one outcome, in one hour or day, for one domain."""

    at: str
    domain: str | None
    outcome: Literal[
        "accepted",
        "delivered",
        "relayed",
        "deferred",
        "bounced",
        "cancelled",
        "refused",
        "quarantined",
        "junk",
    ]
    reason: NotRequired[str | None]
    messages: int
    size_bytes: int


class StatusView(TypedDict):
    """Whether this process of the API is ready, and the parts it depends on."""

    ready: bool
    parts: list[PartView]


class StructureView(TypedDict):
    """The MIME structure of a message."""

    size_bytes: int
    is_complete: bool
    parts: list[MessagePartView]


class SuppressionCreation(TypedDict):
    """An address to suppress."""

    address: str
    reason: NotRequired[str]


class SuppressionView(TypedDict):
    """An address that gets no mail from the tenant."""

    address: str
    reason: str
    source: Literal["bounce", "api", "complaint"]
    message: str | None
    created_at: str


class SystemProblemView(TypedDict):
    """Something that needs a look."""

    area: Literal[
        "part",
        "store",
        "ingest",
        "dead",
        "directory",
        "events",
        "webhooks",
        "certificate",
        "version",
    ]
    subject: str
    detail: str
    runbook_url: str | None


class SystemView(TypedDict):
    """The state of the whole system."""

    well: bool
    problems: list[SystemProblemView]
    version: str
    schema_version: str | None
    listening_since: str | None
    instances: list[InstanceView]
    ingest: IngestView | None
    dead: DeadView | None
    lags: LagsView
    runbooks_url: str | None


class TargetView(TypedDict):
    """A target of an alias, and whether it gets mail."""

    address: str
    state: Literal["active", "unconfirmed", "suppressed"]


class TenantChange(TypedDict):
    """Fields of a tenant to change; fields that are left out keep their values."""

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
    """A tenant to create."""

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


class TlsFigureView(TypedDict):
    """Sessions of one sender with the domain's hosts, by result."""

    reporter: str
    believed: bool
    policy_type: str
    result_type: str | None
    receiving_host: str
    sessions: int
    first_day: str
    last_day: str


class TraceView(TypedDict):
    """The events of a message in chronological order."""

    items: list[EventView]
    next_cursor: NotRequired[None]
    trace_url: NotRequired[str | None]


class VacationDocument(TypedDict):
    """The automatic reply of an account (RFC 3834)."""

    enabled: bool
    subject: str
    text: str
    starts_at: NotRequired[str | None]
    ends_at: NotRequired[str | None]


class VacationView(TypedDict):
    """The automatic reply of an account."""

    enabled: bool
    subject: str
    text: str
    starts_at: str | None
    ends_at: str | None


class VerdictView(TypedDict):
    """What the scanning tier found about a message."""

    score: float
    virus: str | None
    scanned_at: str
    complete: bool
    gave_up: bool
    rules: list[RuleView]
    engines: list[EngineView]
    authentication: list[AuthenticationView]


class WebhookChange(TypedDict):
    """Fields of a webhook to change; fields that are left out keep their values."""

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
                "complained",
            ]
        ]
    ]
    domain: NotRequired[str | None]
    state: NotRequired[Literal["active", "paused"]]


class WebhookCreation(TypedDict):
    """A webhook to create."""

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
            "complained",
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
    managed_by: ManagedByView | None
    created_at: str
    updated_at: str


class ZoneView(TypedDict):
    """A blocklist or an allow list."""

    zone: str
    healthy: bool
    detail: str
