"""Examples of what the API is asked for, and of the answers that come with them, for its OpenAPI
document."""

from __future__ import annotations

from typing import Any

_MESSAGE = "01a2071a-03c4-7c55-8a6e-0b1d4f6a8c22"
_THEN, _LATER = "2026-11-23T09:00:00Z", "2026-11-23T10:30:00Z"
_SPF = "v=spf1 ip4:192.0.2.25 -all"
_RECORD = {
    "purpose": "spf",
    "name": "example.org",
    "type": "TXT",
    "values": [_SPF],
    "strings": [[_SPF]],
    "ttl": 3600,
    "need": "required",
    "state": None,
    "why": "Names the servers that send mail of this domain.",
}
_NAMES = {"domain": "example.org", "display_name": "example.org"}
_HOST = {
    "host": "smart.example.com",
    "port": 587,
    "tls": "verified",
    "username": "relay",
    "password": "correct horse",
}
_ACCOUNT = {"address": "carol@example.org", "quota_bytes": 1_000_000_000}
_ALIAS = {"address": "sales@example.org", "targets": ["carol@example.org"]}

REQUEST_EXAMPLES: dict[str, dict[str, Any]] = {
    "PasswordChange": {
        "current_password": "correct horse battery",
        "password": "another good one",
    },
    "SetUpCode": {"name": "phone", "display_name": "Carol"},
    "OwnForwardDocument": {"targets": ["carol@elsewhere.example"], "keep_copy": True},
    "VacationDocument": {
        "enabled": True,
        "subject": "Away until January",
        "text": "Thank you for your message. I read it when I am back.",
        "starts_at": _THEN,
        "ends_at": "2027-01-04T00:00:00Z",
    },
    "LoginRequest": {"account": "carol@example.org", "password": "correct horse battery"},
    "SessionsEnd": {"subject": "ann"},
    "TenantCreation": {
        "name": "acme",
        "max_domains": 10,
        "max_accounts": 500,
        "quota_bytes": 500_000_000_000,
    },
    "TenantChange": {"max_accounts": 1000, "verify_domains": True},
    "ApiKeyCreation": {
        "name": "deploy",
        "role": "tenant-admin",
        "tenant": "acme",
        "expires_at": "2027-11-23T00:00:00Z",
    },
    "DomainCreation": {"name": "example.org", "tenant": "acme"},
    "AccountCreation": {**_ACCOUNT, "password": "correct horse battery"},
    "AccountChange": {
        "quota_bytes": 2_000_000_000,
        "max_messages_per_hour": 500,
        "save_sent": True,
    },
    "FilterPolicyDocument": {
        "junk_score": 5.0,
        "spam_action": "quarantine",
        "digest": True,
        "allow": ["newsletter.example.com", "dave@example.net"],
        "block": ["192.0.2.0/24"],
    },
    "QuarantineRelease": {"classify": "ham"},
    "QuarantineSelection": {"message": _MESSAGE, "ids": None, "classify": None},
    "AliasCreation": {
        "address": "sales@example.org",
        "targets": ["carol@example.org", "dave@example.net"],
    },
    "AliasChange": {"targets": ["carol@example.org"]},
    "ForwardConfirmation": {"token": "q1Zb0n5vJt8e4kUu2c3x9A"},
    "AppPasswordCreation": {"name": "laptop", "scopes": ["imap", "smtp"]},
    "DkimRotation": {
        "algorithms": ["rsa", "ed25519"],
        "delay_seconds": 86_400,
        "overlap_seconds": 604_800,
    },
    "MailboxCreation": {"name": "Archive/2026"},
    "ClassificationRequest": {"classification": "spam"},
    "MailboxChange": {"name": "Work/2026", "subscribed": True},
    "MessageChange": {"flags": ["seen", "flagged"], "keywords": ["$Forwarded"]},
    "MessageMove": {"mailbox": "Archive/2026"},
    "Sending": {
        "from": "Carol <carol@example.org>",
        "to": ["dave@example.net"],
        "subject": "The plans",
        "text": "Hello Dave,\n\nhere are the plans.\n",
        "attachments": [
            {
                "filename": "plans.txt",
                "content_type": "text/plain",
                "content": "SGVyZSB0aGV5IGFyZS4K",
            }
        ],
    },
    "AttachmentPart": {
        "filename": "plans.txt",
        "content_type": "text/plain",
        "content": "SGVyZSB0aGV5IGFyZS4K",
    },
    "QueueSelection": {"domain": "example.net", "state": "deferred"},
    "RouteCreation": {"domain": "example.net", **_HOST},
    "RouteSetting": {**_HOST},
    "RouteProbeRequest": {"recipient": "postmaster@example.net"},
    "SuppressionCreation": {"address": "gone@example.net", "reason": "asked to be removed"},
    "WebhookCreation": {
        "url": "https://hooks.example.org/mail",
        "events": ["delivered", "bounced"],
        "domain": "example.org",
    },
    "WebhookChange": {"events": ["*"], "state": "active"},
    "ConfigDocument": {
        "domains": [{"name": "example.org", "catch_all": None}],
        "accounts": [_ACCOUNT],
        "aliases": [_ALIAS],
    },
    "ConfigChange": {
        "kind": "account",
        "object": "carol@example.org",
        "action": "create",
        "fields": {"quota_bytes": 1_000_000_000},
        "outcome": "done",
        "detail": None,
        "secret": None,
        "managed_by": None,
    },
    "ConfigUnlisted": {"kind": "alias", "object": "old@example.org"},
    "ConfigObject": {"kind": "account", "object": "carol@example.org"},
    "ConfigOutcome": {
        "tenant": "acme",
        "applied": True,
        "failed": 0,
        "manager": "argo-cd",
        "released": [],
    },
    "AccountLine": {**_ACCOUNT, "password": "correct horse battery"},
    "AliasLine": _ALIAS,
    "ImportAnswer": {
        "line": 1,
        "address": "carol@example.org",
        "status": "created",
        "errors": None,
    },
    "DnsRecordView": _RECORD,
    "ClientServerView": {
        "protocol": "imap",
        "host": "mail.example.org",
        "port": 993,
        "security": "tls",
    },
    "DomainDnsView": {**_NAMES, "verified_at": _LATER, "mta_sts_policy": None, "notes": []},
    "CheckedRecordView": {
        **_RECORD,
        "verdict": "missing",
        "found": [],
        "detail": "the domain has no SPF record",
        "suggestion": [],
    },
    "DnsCheckView": {**_NAMES, "checked_at": _LATER, "right": False, "notes": []},
    "EventView": {
        "at": _LATER,
        "kind": "delivered",
        "detail": {
            "recipient": "dave@example.net",
            "host": "mx.example.net (192.0.2.25)",
            "reply": "250 2.0.0 ok",
        },
    },
    "TraceView": {},
    "AuditView": {
        "id": 4711,
        "at": _THEN,
        "tenant": None,
        "actor_id": "01a20715-6d61-7a3e-9f0b-2f3a5c7d9e11",
        "actor_name": "deploy",
        "actor_role": "platform-admin",
        "action": "account.change",
        "object": "carol@example.org",
        "details": {"quota_bytes": 2_000_000_000},
        "before": {"quota_bytes": 1_000_000_000},
        "request_id": _MESSAGE,
    },
}
