"""What the OpenAPI document says beside the operations: an introduction of the API, and one of
each resource."""

from __future__ import annotations

ABOUT = """\
The administration API of Posthorn: tenants, domains, accounts, mailboxes, the outbound queue and what belongs to them.

**Authentication.** Every request under `/v1` carries an API key or, if an OpenID Connect issuer is configured, one of its
tokens: `Authorization: Bearer <key>`. A key belongs to a tenant or to the whole platform. Objects of other tenants are
answered with 404 (not found). A key of a suspended tenant is answered with 403 (forbidden); the accounts of that tenant can
neither log in nor send, but still receive mail. Browsers sign in by `POST /v1/login` and then show a cookie. The holder of an
account authenticates with its address and password, by a session or by HTTP Basic, and reaches only what is its own.

**Errors** are problem documents (RFC 9457) of the media type `application/problem+json`: `type` identifies the kind of
error, `detail` explains it, and `errors` names the fields that failed validation.

**Concurrent changes.** Answers that show one object carry its `ETag`. A change with `If-Match` is made only if the object
has not changed since; otherwise the answer is 412 (precondition failed).

**Managed objects.** An object whose `managed_by` is not null is kept by a tool as its configuration says. It can be changed
and deleted all the same; then the answer has the header `Posthorn-Managed-By` with the name of the tool whose next apply
undoes it.

**Lists** take `limit` (1 to 500) and `cursor`, and answer with `items` and `next_cursor`, which is null on the last page.
A cursor belongs to its list, and where it takes `sort` to its order; `q` searches names, and `total=true` counts what matches.

**Parameters** and fields that an operation does not have are refused with 422, so that a filter that is misspelt does not
choose everything.

**Retries.** Every POST takes an `Idempotency-Key`: a repeated request with the same key gets the stored answer of the first
one.

**Units.** Sizes are in bytes, durations in seconds, times in UTC (RFC 3339).
"""

TAGS = {
    "Sign-in": "Browsers sign in with a key, with the address and password of an account, or at the OpenID Connect issuer,"
    " and get a session as a cookie. Every caller can ask who it is and what it may do.",
    "Own account": "What the holder of an account does without an administrator: password, app passwords, sign-ins, settings"
    " for mail clients, deleted and withheld messages, automatic reply, and who read the mail. Callers authenticate as the"
    " account, by a session or by HTTP Basic.",
    "Tenants": "A tenant owns domains, API keys, webhooks and messages in the queue, and has limits of its own. What belongs"
    " to one tenant is invisible to the others. The tenant `default` always exists.",
    "API keys": "A key authenticates a program or a person to this API. It belongs to a tenant or to the whole platform, has"
    " a role, and may expire. Reading the content of mailboxes is a separate right of a key.",
    "Domains": "Mail is received for domains and sent from them. A domain has accounts and aliases, limits, and settings for"
    " retention. Tenants whose domains must be verified receive mail only after showing that they own the domain.",
    "DNS": "The DNS records that a domain needs (MX, SPF, DKIM, DMARC, MTA-STS and others), a check of the published ones, and"
    " the verification of ownership.",
    "DKIM": "The keys with which outgoing mail of a domain is signed (RFC 6376, RFC 8463), and their rotation.",
    "Accounts": "An account receives mail at its address, and logs in to read and send it.",
    "App passwords": "Additional passwords of an account, one for each mail client or program, each valid for the protocols that"
    " it names. They can be withdrawn one by one.",
    "Mailboxes": "The mailboxes (folders) of an account. INBOX, Junk, Sent and Trash always exist. Drafts and Archive"
    " are made with an account, or at its first login by IMAP.",
    "Messages": "The stored messages of an account: list, search, download, move, delete and restore them. Every access to"
    " content needs a key with the right `message_content`, and is written to the audit log.",
    "Export and import": "Whole mailboxes as mbox, Maildir or EML files, in both directions.",
    "Aliases": "An alias forwards mail to accounts, to other aliases, or to addresses elsewhere, which must confirm that they"
    " want it.",
    "Filter policies": "How incoming mail is filtered: scores, actions, and lists of senders. The system, each tenant, domain and"
    " account has a policy; each may be silent on any field, and the closest one that is not silent decides. Lists add up.",
    "Quarantine": "Copies of messages that were withheld from their recipients, with the reason and the verdict. They can be"
    " released, deleted, or left to expire.",
    "Defence": "The state of the scanning tier, its engines and blocklists, and the lists that hold addresses of ours. For"
    " platform admins.",
    "Sending": "Send messages over HTTP instead of SMTP.",
    "Traces": "What happened to a message: when it was accepted, queued, delivered, deferred or bounced, and why.",
    "Queue": "Recipients on other servers, with the state and the last reply of each. They can be retried, held, released and"
    " cancelled, one by one or all that match a filter.",
    "Routes": "How mail for a domain is sent on, if not to its MX hosts: by a smart host, with a login or a TLS policy of its"
    " own. For platform admins.",
    "Suppressions": "Addresses that get no mail from a tenant, because they bounced permanently, complained, or"
    " were added by hand.",
    "Parked messages": "Messages that were accepted and could not be delivered because of a fault. They are kept until they are"
    " retried or discarded. For platform admins.",
    "Bulk import": "Create or update many accounts and aliases in one request, streamed as lines of JSON.",
    "Webhooks": "Events of messages (delivered, bounced and others), posted to a URL of yours and signed.",
    "Events": "What happens to messages, as it happens: the same events as in traces and webhooks, over a connection that stays"
    " open.",
    "Reports": "What other hosts report: DMARC aggregates and TLS reports as figures by source and result, and complaints"
    " of recipients.",
    "Statistics": "Numbers of messages by hour or day, domain and outcome.",
    "Configuration": "The whole state of a tenant as one document, to be read, compared and applied (GitOps).",
    "Audit log": "Who changed what through this API, and who read the content of which mailbox.",
    "Status": "Whether the API is ready, and the state of the parts that it depends on.",
    "System": "The processes of the whole system with their versions and readiness, what waits, and what is behind. For"
    " platform admins.",
}
"""Introductions by tag, in the order of the reference."""

PROBLEMS = {
    400: ("malformed", "the body is not valid JSON: Expecting value"),
    401: ("unauthorized", "this API key is not known"),
    403: ("forbidden", "the role read-only may not do this"),
    404: ("not-found", "there is no domain example.org"),
    408: ("timeout", "the body did not arrive in time"),
    409: ("conflict", "the domain example.org already exists"),
    412: ("changed", "the object has changed since it was read"),
    413: ("too-large", "the body is larger than 1048576 bytes"),
    415: ("unsupported-media-type", "the body must be JSON: Content-Type: application/json"),
    422: ("invalid", "name: this field is missing"),
    429: ("too-many-requests", "too many requests with this key"),
    500: ("internal", "internal error; logged with the id 01a20715-6d61-7a3e-9f0b-2f3a5c7d9e11"),
    503: ("unavailable", "a part of the system does not answer: postgres; try again"),
}
"""An example of a problem document for each status: the last part of its type, and its detail."""
