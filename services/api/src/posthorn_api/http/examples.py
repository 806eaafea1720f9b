"""Examples of what the API answers, for its description: of each answer's own fields; those that
hold others are put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from posthorn_api.http.request_examples import REQUEST_EXAMPLES

_ID = "01a20715-6d61-7a3e-9f0b-2f3a5c7d9e11"
_MESSAGE = "01a2071a-03c4-7c55-8a6e-0b1d4f6a8c22"
_THEN, _LATER = "2026-11-23T09:00:00Z", "2026-11-23T10:30:00Z"
_LIMITS = {
    "max_messages_per_hour": 500,
    "max_recipients_per_hour": None,
    "allowed_networks": ["192.0.2.0/24"],
}
_KEY = {
    "id": _ID,
    "name": "deploy",
    "role": "tenant-admin",
    "tenant": "acme",
    "message_content": True,
    "expires_at": "2027-11-23T00:00:00Z",
    "last_used_at": _LATER,
    "last_used_address": "192.0.2.7",
    "networks": ["192.0.2.0/24"],
    "created_at": _THEN,
}
_DNS_VERDICT = {
    "purpose": "spf",
    "name": "example.org",
    "type": "TXT",
    "need": "required",
    "verdict": "missing",
}
_MARK = {
    "manager": "argo-cd",
    "since": _THEN,
    "fields": ["plus_addressing", "retention_days"],
}
_DOMAIN = {
    "accounts": 240,
    "promised_bytes": 240_000_000_000,
    "name": "example.org",
    "display_name": "example.org",
    "tenant": "acme",
    "catch_all": "office@example.org",
    "plus_addressing": True,
    "postmaster": "office@example.org",
    **_LIMITS,
    "max_accounts": 100,
    "quota_bytes": 100_000_000_000,
    "retention_days": None,
    "undelete_days": 14,
    "account_forwards": 1,
    "verified_at": _LATER,
    "dns_state": "wrong",
    "dns_checked_at": _LATER,
    "dns_verdicts": [_DNS_VERDICT],
    "dkim_signs_from": _THEN,
    "managed_by": _MARK,
    "created_at": _THEN,
    "updated_at": _LATER,
}
_INGEST = {"messages": 12, "size_bytes": 98_304, "oldest_at": _LATER, "retrying": 0}
_DEAD_REASON = {"reason": "the record cannot be decoded", "messages": 1}
_DEAD = {"messages": 1, "oldest_at": _THEN, "reasons": [_DEAD_REASON]}
_PROBE_FAILURE = {
    "stage": "rcpt",
    "code": 450,
    "status": "4.2.2",
    "reply": "450 4.2.2 over quota",
    "meaning": "The mailbox is full.",
    "permanent": False,
}
_RUNBOOKS = "https://github.com/posthorn/posthorn/blob/main/docs/runbooks"
_ATTEMPTS = {"delivered": 1204, "deferred": 12, "refused": 3}
_PROBED_TLS = {
    "version": "TLSv1.3",
    "cipher": "TLS_AES_256_GCM_SHA384",
    "verdict": "verified",
    "names": ["smart.example.com"],
    "issuer": "CN=Example CA,O=Example",
    "expires_at": _LATER,
    "problem": None,
}
_PASSWORD = {
    "id": _ID,
    "name": "laptop",
    "scopes": ["imap", "smtp"],
    "created_at": _THEN,
    "last_used_at": _LATER,
    "last_used_address": "192.0.2.7",
    "last_used_protocol": "imap",
    "expires_at": None,
    "networks": None,
}
_UNUSED = {"last_used_at": None, "last_used_address": None, "last_used_protocol": None}
_WEBHOOK = {
    "id": _ID,
    "tenant": "acme",
    "url": "https://hooks.example.org/mail",
    "events": ["delivered", "bounced"],
    "domain": "example.org",
    "state": "active",
    "managed_by": None,
    "created_at": _THEN,
    "updated_at": _LATER,
}

_ANSWERS: dict[str, dict[str, Any]] = {
    "OidcMethodView": {"name": "Example ID"},
    "LoginMethodsView": {"key": True, "account": True, "oidc": {"name": "Example ID"}},
    "LoginLinkView": {
        "link": "shown once, here",
        "path": "/console/#link=shown-once-here",
        "expires_at": _LATER,
    },
    "SessionsEndedView": {"ended": 2},
    "MeTenantView": {"id": _ID, "name": "acme"},
    "MeAccountView": {"id": 17, "address": "carol@example.org"},
    "ClientSettingsView": {"address": "carol@example.org", "username": "carol@example.org"},
    "SetUpCodeView": {
        "payload": '[1,[1,1],[0,"imap.example.org",993,3,1,"carol@example.org","carol@example.org","phap_…"],'
        '[[[0,"smtp.example.org",465,3,1,"carol@example.org","phap_…"],["carol@example.org","Carol"]]]]',
        "app_password": _ID,
    },
    "OwnForwardView": {
        "targets": [{"address": "carol@elsewhere.example", "state": "unconfirmed"}],
        "keep_copy": True,
        "permitted": 1,
    },
    "VacationView": {**REQUEST_EXAMPLES["VacationDocument"]},
    "MeView": {
        "kind": "key",
        "name": "deploy",
        "role": "tenant-admin",
        "tenant": {"id": _ID, "name": "acme"},
        "account": None,
        "expires_at": _LATER,
        "operations": ["getMe", "listDomains"],
        "version": "1.0.0",
    },
    "TenantView": {
        "id": _ID,
        "name": "acme",
        "state": "active",
        "max_domains": 10,
        "max_accounts": 500,
        "quota_bytes": 500_000_000_000,
        "max_messages_per_hour": 5000,
        "max_recipients_per_hour": None,
        "verify_domains": True,
        "min_password_length": 12,
        "domains": 2,
        "accounts": 41,
        "promised_bytes": 41_000_000_000,
        "created_at": _THEN,
        "updated_at": _LATER,
    },
    "ApiKeyView": _KEY,
    "NewApiKeyView": {
        **_KEY,
        "last_used_at": None,
        "last_used_address": None,
        "key": "shown once, here",
    },
    "DnsVerdictView": _DNS_VERDICT,
    "DomainView": _DOMAIN,
    "AllChecksView": {"due": 14},
    "ManagedByView": _MARK,
    "ManagersView": {},
    "ManagerView": {"name": "argo-cd", "since": _THEN},
    "ManagedObjectsView": {
        "domains": 2,
        "accounts": 40,
        "aliases": 7,
        "webhooks": 1,
        "routes": 0,
    },
    "NewDomainView": {
        **_DOMAIN,
        "managed_by": None,
        "dns_state": None,
        "dns_checked_at": None,
        "dns_verdicts": [],
    },
    "DomainChange": {"catch_all": None, "retention_days": 365, "undelete_days": 14},
    "AccountView": {
        "address": "carol@example.org",
        "quota_bytes": 1_000_000_000,
        "used_bytes": 48_213_771,
        "used_messages": 1204,
        "state": "active",
        **_LIMITS,
        "save_sent": True,
        "hidden_imap_capabilities": [],
        "managed_by": None,
        "created_at": _THEN,
        "updated_at": _LATER,
    },
    "CompleteFilterPolicyView": {
        "junk_score": 5.0,
        "refuse_score": 15.0,
        "spam_action": "quarantine",
        "virus_action": "refuse",
        "enforce_dmarc": True,
        "refuse_listed": False,
        "greylist": False,
        "protect_known": True,
        "rspamd": True,
        "clamav": True,
        "digest": True,
        "allow": ["newsletter.example.com", "dave@example.net"],
        "block": [],
        "forwarders": [],
    },
    "PolicyOriginView": {"field": "junk_score", "source": "domain", "value": 5.0},
    "EffectiveFilterPolicyView": {},
    "FoundMessageView": {
        "message": _MESSAGE,
        "at": _LATER,
        "kind": "refused",
        "received_at": _LATER,
        "outcome": "refused",
        "direction": "inbound",
        "tenant": "acme",
        "sender": "dave@example.net",
        "author": "dave@example.net",
        "recipient": "carol@example.org",
        "targets": [],
        "subject": "Your invoice",
        "message_id": "<42@example.net>",
        "size_bytes": 4096,
        "detail": {
            "recipient": "carol@example.org",
            "recipients": ["carol@example.org"],
            "reason": "dmarc",
            "rule": "p=reject of example.net",
            "reply": "550 5.7.26 refused by the DMARC policy of example.net",
            "reverse_path": "dave@example.net",
            "author": "dave@example.net",
            "client": "192.0.2.25",
        },
    },
    "RuleView": {"name": "DMARC_FAIL", "points": 4.0, "detail": "p=none of example.net"},
    "EngineView": {"name": "builtin", "state": "ok", "milliseconds": 3, "detail": ""},
    "AuthenticationView": {
        "method": "spf",
        "result": "softfail",
        "identity": "example.net",
        "detail": "~all",
    },
    "VerdictView": {
        "score": 4.0,
        "virus": None,
        "scanned_at": _LATER,
        "complete": True,
        "gave_up": False,
    },
    "FilingView": {"action": "junk", "reason": "score", "score": 7.5, "detail": "7.5 points"},
    "QuarantinedView": {
        "id": _ID,
        "message": _MESSAGE,
        "account": "carol@example.org",
        "recipient": "carol@example.org",
        "reason": "score",
        "detail": "16.5 points",
        "score": 16.5,
        "size": 4213,
        "received_at": _THEN,
        "created_at": _THEN,
        "expires_at": "2026-12-23T09:00:00Z",
        "reverse_path": "dave@example.net",
        "from": "Dave <dave@example.net>",
        "subject": "The plans",
        "date": "Mon, 23 Nov 2026 08:59:58 +0000",
        "message_id": "<plans@example.net>",
        "verdict": None,
    },
    "ReleasedView": {
        "id": _ID,
        "recipient": "carol@example.org",
        "released": True,
        "detail": None,
    },
    "ReleasesView": {"more": False},
    "TargetView": {"address": "dave@example.net", "state": "unconfirmed"},
    "AliasView": {
        "address": "sales@example.org",
        "targets": ["carol@example.org", "dave@example.net"],
        "target_states": [
            {"address": "carol@example.org", "state": "active"},
            {"address": "dave@example.net", "state": "unconfirmed"},
        ],
        "account_copy": None,
        "managed_by": None,
        "created_at": _THEN,
        "updated_at": _LATER,
    },
    "AppPasswordView": _PASSWORD,
    "SignInView": {
        "protocol": "imap",
        "address": "192.0.2.7",
        "app_password": _ID,
        "app_password_name": "laptop",
        "result": "accepted",
        "attempts": 14,
        "first_at": _THEN,
        "last_at": _LATER,
    },
    "NewAppPasswordView": {
        **_PASSWORD,
        **_UNUSED,
        "password": "shown once, here",
    },
    "DkimRecordView": {
        "type": "TXT",
        "name": "ph-20261123-ed5d9e11._domainkey.example.org",
        "value": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "strings": ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
    },
    "DkimKeyView": {
        "id": _ID,
        "selector": "ph-20261123-ed5d9e11",
        "algorithm": "ed25519",
        "state": "signing",
        "signs_from": _THEN,
        "signs_until": None,
        "published_until": None,
        "created_at": _THEN,
    },
    "DkimView": {"domain": "example.org"},
    "MailboxView": {
        "name": "INBOX",
        "role": "inbox",
        "messages": 1204,
        "unseen": 3,
        "size_bytes": 48_213_771,
        "uidvalidity": 1795424400,
        "uidnext": 1311,
        "subscribed": True,
    },
    "MessageView": {
        "id": _MESSAGE,
        "mailbox": "INBOX",
        "uid": 1310,
        "size": 4213,
        "received_at": _LATER,
        "from": "Dave <dave@example.net>",
        "subject": "The plans",
        "date": "Mon, 23 Nov 2026 10:29:58 +0000",
        "message_id": "<plans@example.net>",
        "reverse_path": "dave@example.net",
        "flags": ["seen"],
        "keywords": [],
    },
    "ClassificationView": {
        "message": _MESSAGE,
        "classification": "spam",
        "taught": "none",
        "mailbox": "Junk",
    },
    "MessagePartView": {
        "number": "2",
        "depth": 1,
        "type": "application/pdf",
        "charset": None,
        "name": "plans.pdf",
        "disposition": "attachment",
        "is_attachment": True,
        "content_id": None,
        "description": None,
        "encoding": "base64",
        "header_offset": 1204,
        "body_offset": 1370,
        "body_bytes": 2734,
        "decoded_bytes": 1997,
        "lines": 35,
    },
    "StructureView": {"size_bytes": 4213, "is_complete": True},
    "DeletedMessageView": {"deleted_at": _LATER, "until": "2026-12-07T10:30:00Z"},
    "ImportFailure": {
        "message": 17,
        "name": None,
        "reason": "it is larger than the limit for a message",
    },
    "ImportSummary": {
        "messages": 1200,
        "imported": 1187,
        "duplicates": 12,
        "failed": 1,
        "imported_bytes": 48_213_771,
        "left_out": 0,
        "from_lines_left": 0,
    },
    "SentView": {"id": _MESSAGE, "recipients": ["dave@example.net"]},
    "QueueItemView": {
        "id": 4711,
        "message": _MESSAGE,
        "state": "deferred",
        "sender": "carol@example.org",
        "recipient": "dave@example.net",
        "domain": "example.net",
        "forwarded_for": None,
        "subject": "The plans",
        "size": 4213,
        "attempts": 2,
        "next_attempt_at": "2026-11-23T10:45:00Z",
        "last_attempt_at": _LATER,
        "last_host": "mx.example.net (192.0.2.25)",
        "last_status": "4.2.0",
        "last_reply": "450 4.2.0 greylisted, try again later",
        "last_tls": "TLSv1.3",
        "created_at": _THEN,
        "expires_at": "2026-11-28T09:00:00Z",
        "next_hop_closed_until": None,
        "next_hop_host": None,
        "next_hop_reply": None,
    },
    "MatchedView": {"matched": 212, "more": False, "passed_over": 3, "left": 0},
    "SeriesView": {
        "domain": None,
        "outcome": "delivered",
        "reason": None,
        "messages": [12, 0],
        "size_bytes": [49_152, 0],
        "total": 12,
    },
    "StatsSeriesView": {"at": ["2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z"]},
    "QueueGroupView": {
        "domain": "example.org",
        "state": "deferred",
        "reply_class": "4.7",
        "recipients": 212,
        "oldest_at": _THEN,
        "next_attempt_at": _LATER,
        "sample": 4711,
        "sample_host": "mx1.example.org (192.0.2.25)",
        "sample_reply": "421 4.7.0 try again later",
        "next_hop_closed_until": None,
        "next_hop_reply": None,
    },
    "RouteView": {
        "domain": "example.net",
        "host": "smart.example.com",
        "port": 587,
        "tls": "verified",
        "username": "relay",
        "password_set": True,
        "connections": 5,
        "messages_per_minute": None,
        "last_hour": _ATTEMPTS,
        "managed_by": None,
    },
    "AttemptsView": _ATTEMPTS,
    "RouteProbeView": {
        "domain": "example.net",
        "outcome": "deferred",
        "failure": _PROBE_FAILURE,
        "seconds": 0.184,
    },
    "ProbeFailureView": _PROBE_FAILURE,
    "ProbedTlsView": _PROBED_TLS,
    "ProbedConnectionView": {
        "host": "smart.example.com",
        "address": "192.0.2.25",
        "port": 587,
        "tls": _PROBED_TLS,
        "authentication": "accepted",
        "extensions": ["PIPELINING", "SIZE 36700160", "AUTH PLAIN LOGIN"],
    },
    "ProbeStepView": {
        "stage": "rcpt",
        "command": "RCPT TO:<postmaster@example.net>",
        "code": 450,
        "status": "4.2.2",
        "reply": "450 4.2.2 over quota",
        "meaning": "The mailbox is full.",
        "seconds": 0.021,
    },
    "SuppressionView": {
        "address": "gone@example.net",
        "reason": "550 5.1.1 no such user",
        "source": "bounce",
        "message": _MESSAGE,
        "created_at": _LATER,
    },
    "InstanceView": {
        "part": "smtp-in",
        "instance": "posthorn-smtp-in-6f7c9d5b8-x2k4q",
        "version": "1.0.0",
        "since": _THEN,
        "state": "ready",
        "reasons": {},
        "last_heartbeat_at": _LATER,
        "certificate_ends_at": "2027-02-21T09:00:00Z",
    },
    "IngestView": _INGEST,
    "DeadReasonView": _DEAD_REASON,
    "DeadView": _DEAD,
    "LagsView": {"directory_seconds": 0.0, "events_seconds": 0.4, "webhooks_seconds": 0.0},
    "SystemProblemView": {
        "area": "dead",
        "subject": "",
        "detail": "1 messages are parked on DEAD; retry or discard them",
        "runbook_url": f"{_RUNBOOKS}/posthorndeadmail.md",
    },
    "SystemView": {
        "well": False,
        "version": "1.0.0",
        "schema_version": "0017",
        "listening_since": _THEN,
        "ingest": _INGEST,
        "dead": _DEAD,
        "runbooks_url": _RUNBOOKS,
    },
    "EngineStateView": {
        "name": "clamav",
        "up": True,
        "detail": "ClamAV 1.5.4/27825, signatures of 2026-11-23",
    },
    "ZoneView": {"zone": "zen.spamhaus.org", "healthy": True, "detail": ""},
    "DefenceView": {"scanning": True, "detail": "", "resolver_up": True, "unscanned": 0},
    "ListingView": {
        "zone": "zen.spamhaus.org",
        "subject": "192.0.2.25",
        "code": "127.0.0.2",
        "reason": "https://check.example.org/192.0.2.25",
    },
    "ListingsView": {"addresses": ["192.0.2.25"], "domains": ["mail.example.org", "example.org"]},
    "DeadLetterView": {
        "sequence": 12,
        "message_id": _MESSAGE,
        "reason": "its record is malformed",
        "parked_at": _LATER,
        "size": 4213,
    },
    "Retried": {"sequence": 12, "state": "queued"},
    "WebhookView": _WEBHOOK,
    "NewWebhookView": {**_WEBHOOK, "secret": "whsec_… shown once, here"},
    "DeliveryView": {
        "id": _ID,
        "event_type": "delivered",
        "event": {
            "type": "delivered",
            "timestamp": _LATER,
            "data": {"message": _MESSAGE, "recipient": "dave@example.net"},
        },
        "state": "delivered",
        "attempts": 1,
        "next_attempt_at": None,
        "last_status": 204,
        "last_reply": "",
        "created_at": _LATER,
        "closed_at": _LATER,
    },
    "ReplayedView": {"replayed": 1000, "left": 212},
    "StatusView": {"ready": True},
    "PartView": {"name": "postgres", "state": "ok"},
    "DmarcFigureView": {
        "source": "192.0.2.25",
        "reporter": "example.net",
        "believed": True,
        "disposition": "none",
        "dkim_aligned": True,
        "spf_aligned": False,
        "messages": 412,
        "first_day": "2026-11-01",
        "last_day": "2026-11-23",
    },
    "TlsFigureView": {
        "reporter": "example.net",
        "believed": True,
        "policy_type": "sts",
        "result_type": "certificate-expired",
        "receiving_host": "mx.example.com",
        "sessions": 3,
        "first_day": "2026-11-22",
        "last_day": "2026-11-23",
    },
    "ComplaintView": {
        "id": _ID,
        "message": _MESSAGE,
        "recipient": "dave@example.net",
        "domain": "example.org",
        "feedback_type": "abuse",
        "reporter": "example.net",
        "believed": True,
        "suppressed": True,
        "created_at": _LATER,
    },
    "StatsView": {
        "at": _THEN,
        "domain": "example.org",
        "outcome": "delivered",
        "messages": 412,
        "size_bytes": 1_730_112,
    },
}
EXAMPLES = _ANSWERS | REQUEST_EXAMPLES
_TEXTS = {
    "text/dns": "example.org. 3600 IN MX 10 mx.example.com.\n",
    "application/octet-stream": "Here they are.\r\n",
    "message/rfc822": "From: dave@example.net\r\nTo: carol@example.org\r\nSubject: The plans\r\n\r\nHere they are.\r\n",
    "application/mbox": "From dave@example.net Mon Nov 23 10:29:58 2026\nSubject: The plans\n\nHere they are.\n\n",
}


def put_into(document: dict[str, Any]) -> None:
    """Return what is answered, and what has none of its own, an example in the OpenAPI document."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    for name in EXAMPLES:
        schemas[name]["examples"] = [_whole(schemas, name)]
    for _, media, content in _contents(document):
        if media in _TEXTS:
            content.setdefault("example", _TEXTS[media])
    for name, schema in schemas.items():
        item = (
            schema.get("properties", {})
            .get("items", {})
            .get("items", {})
            .get("$ref", "")
            .rpartition("/")[2]
        )
        if name.startswith(("Page_", "MailboxesView")) and item in EXAMPLES:
            schema["examples"] = [{"items": [_whole(schemas, item)], "next_cursor": None}]


def _contents(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in document["paths"].values():
        for operation in path.values():
            bodies = [operation.get("requestBody", {}), *operation.get("responses", {}).values()]
            for body in bodies:
                for media, content in body.get("content", {}).items():
                    yield operation["operationId"], media, content


def _whole(schemas: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the example of a schema, with those of the schemas that it holds."""
    found = dict(EXAMPLES[name])
    for field, schema in schemas[name]["properties"].items():
        held = (schema.get("$ref") or schema.get("items", {}).get("$ref") or "").rpartition("/")[2]
        if field not in found and held in EXAMPLES:
            part = _whole(schemas, held)
            found[field] = part if "$ref" in schema else [part]
    return found
