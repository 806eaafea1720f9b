"""Every operation, for every role, on objects of one's own and of another tenant: generated from
the table of operations.

What a role may do is told here once more, and not taken from the code, so that the two must agree.
An operation without an example here fails the suite.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from posthorn.model.withheld import encode_withheld
from posthorn.ports.api_keys import Role
from posthorn.runtime.ids import new_id
from posthorn_api.app import operations
from posthorn_api.http import permissions as access
from tests.support.api import Api
from tests.support.builders import make_message

ADMIN, READ, SEND = "admins", "readers", "senders"
ANYONE, ACCOUNT, PUBLIC = "anyone", "accounts", "the public"
PLATFORM, PLATFORM_READ, CONTENT = "platform", "platform readers", "readers of content"

MAY = {
    ADMIN: {"platform-admin", "tenant-admin"},
    READ: {"platform-admin", "tenant-admin", "read-only", "platform read-only", "content reader"},
    CONTENT: {"platform-admin", "tenant-admin", "content reader"},
    SEND: {"platform-admin", "tenant-admin", "send-only"},
    PLATFORM: {"platform-admin"},
    ACCOUNT: set(),
    PLATFORM_READ: {"platform-admin", "platform read-only"},
}
ROLES = (
    "platform-admin",
    "platform read-only",
    "tenant-admin",
    "read-only",
    "content reader",
    "send-only",
)

MAY[ANYONE] = MAY[PUBLIC] = set(ROLES)
UNAUDITED = {"sendMessage", "createLogin", "deleteLogin"}

Body = dict[str, Any] | str | None


@dataclass(frozen=True)
class Example:
    """One call of an operation. ``{d}`` stands for the domain, and so the fields of
    ``TenantObjects``."""

    who: str
    path: str = ""
    body: Body = None
    hides: int | None = 404
    """What another tenant's admin is answered; None: it is a list, or makes something, and shows
    nothing of the other."""


QUEUED = Example(ADMIN, "/v1/queue/{queued}")
MBOX = "From a@elsewhere.test Mon Jan  1 00:00:00 2024\nSubject: s\n\ntext\n"
ALL = {"domain": "{d}.elsewhere.test"}
POLICY = {"junk_score": 7, "block": ["{d}.elsewhere.test"]}

EXAMPLES: dict[str, Example] = {
    "getLoginMethods": Example(PUBLIC, hides=None),
    "createLogin": Example(PUBLIC, body={}, hides=None),
    "deleteLogin": Example(ANYONE, hides=None),
    "createLoginLink": Example(PLATFORM, hides=None),
    "endSessions": Example(PLATFORM, body={"subject": "nobody"}, hides=None),
    "getMe": Example(ANYONE, hides=None),
    "changeMyPassword": Example(ACCOUNT, body={"current_password": "x", "password": "long enough"}),
    "listMyAppPasswords": Example(ACCOUNT),
    "createMyAppPassword": Example(ACCOUNT, body={"name": "phone", "scopes": ["imap"]}),
    "deleteMyAppPassword": Example(
        ACCOUNT, "/v1/me/app-passwords/00000000-0000-7000-8000-000000000009"
    ),
    "listMySignIns": Example(ACCOUNT),
    "listMyReads": Example(ACCOUNT),
    "getMyClientSettings": Example(ACCOUNT),
    "createMySetUpCode": Example(ACCOUNT, body={}),
    "listMyMailboxes": Example(ACCOUNT),
    "exportMyMail": Example(ACCOUNT, "/v1/me/export?format=mbox"),
    "listMyDeletedMessages": Example(ACCOUNT),
    "undeleteMyMessage": Example(ACCOUNT, "/v1/me/deleted/{deleted}/undelete"),
    "listMyQuarantine": Example(ACCOUNT),
    "releaseMyQuarantined": Example(ACCOUNT, "/v1/me/quarantine/{withheld}/release"),
    "getMyForwards": Example(ACCOUNT),
    "setMyForwards": Example(ACCOUNT, body={"targets": ["x@elsewhere.test"]}),
    "deleteMyForwards": Example(ACCOUNT),
    "getMyVacation": Example(ACCOUNT),
    "setMyVacation": Example(ACCOUNT, body={"enabled": False, "subject": "s", "text": "t"}),
    "createTenant": Example(PLATFORM, body={"name": "new-{d}"}, hides=None),
    "listTenants": Example(READ, hides=None),
    "getTenant": Example(READ, "/v1/tenants/{tenant}"),
    "changeTenant": Example(PLATFORM, "/v1/tenants/{tenant}", {"max_domains": 9}),
    "deleteTenant": Example(PLATFORM, "/v1/tenants/{tenant}"),
    "createApiKey": Example(
        ADMIN, body={"name": "n", "role": "read-only", "tenant": "{tenant}"}, hides=422
    ),
    "listApiKeys": Example(READ, hides=None),
    "getApiKey": Example(READ, "/v1/api-keys/{key}"),
    "deleteApiKey": Example(ADMIN, "/v1/api-keys/{key}"),
    "listAudit": Example(READ, "/v1/audit", hides=None),
    "listSignIns": Example(READ, "/v1/accounts/alice@{d}/sign-ins"),
    "listContentAccess": Example(READ, "/v1/accounts/alice@{d}/content-access"),
    "importAccounts": Example(
        ADMIN, body='{"address": "i@{d}", "password": "correct horse"}', hides=None
    ),
    "importAliases": Example(
        ADMIN, body='{"address": "j@{d}", "targets": ["alice@{d}"]}', hides=None
    ),
    "planAccountImport": Example(
        ADMIN, "/v1/import/accounts/plan", '{"address": "i@{d}", "password": "correct horse"}', None
    ),
    "planAliasImport": Example(
        ADMIN, "/v1/import/aliases/plan", '{"address": "j@{d}", "targets": ["alice@{d}"]}', None
    ),
    "createDomain": Example(ADMIN, body={"name": "new.{d}", "tenant": "{tenant}"}, hides=422),
    "listDomains": Example(READ, hides=None),
    "getDomain": Example(READ, "/v1/domains/{d}"),
    "changeDomain": Example(ADMIN, "/v1/domains/{d}", {"catch_all": "alice@{d}"}),
    "deleteDomain": Example(ADMIN, "/v1/domains/{d}"),
    "getDns": Example(READ, "/v1/domains/{d}/dns"),
    "checkDns": Example(READ, "/v1/domains/{d}/dns/check"),
    "checkAllDns": Example(ADMIN, "/v1/domains/dns/check?tenant={tenant}", hides=422),
    "verifyDomain": Example(ADMIN, "/v1/domains/{d}/verify"),
    "listDkimKeys": Example(READ, "/v1/domains/{d}/dkim"),
    "rotateDkimKeys": Example(ADMIN, "/v1/domains/{d}/dkim/rotate", {"algorithms": ["ed25519"]}),
    "getSystemFilterPolicy": Example(PLATFORM_READ, hides=None),
    "setSystemFilterPolicy": Example(PLATFORM, body=POLICY, hides=None),
    "unsetSystemFilterPolicy": Example(PLATFORM, hides=None),
    **{
        f"{verb}{level}FilterPolicy": Example(
            READ if verb.startswith("get") else ADMIN,
            f"/v1/{path}/filter-policy{'/effective' if verb == 'getEffective' else ''}",
            POLICY if verb == "set" else None,
        )
        for level, path in (
            ("Tenant", "tenants/{tenant}"),
            ("Domain", "domains/{d}"),
            ("Account", "accounts/alice@{d}"),
        )
        for verb in ("get", "set", "unset", "getEffective")
        if (level, verb) != ("Tenant", "getEffective")
    },
    "listQuarantine": Example(READ, "/v1/quarantine", hides=None),
    "getQuarantined": Example(READ, "/v1/quarantine/{withheld}"),
    "getRawQuarantined": Example(CONTENT, "/v1/quarantine/{withheld}/raw"),
    "releaseQuarantined": Example(ADMIN, "/v1/quarantine/{withheld}/release", {"classify": "ham"}),
    "releaseAllQuarantined": Example(
        ADMIN, "/v1/quarantine/release", {"message": "{queued_message}"}
    ),
    "deleteQuarantined": Example(ADMIN, "/v1/quarantine/{withheld}"),
    "createAccount": Example(
        ADMIN, body={"address": "new@{d}", "password": "correct horse"}, hides=422
    ),
    "listAccounts": Example(READ, "/v1/accounts?domain={d}", hides=None),
    "getAccount": Example(READ, "/v1/accounts/alice@{d}"),
    "changeAccount": Example(ADMIN, "/v1/accounts/alice@{d}", {"state": "active"}),
    "deleteAccount": Example(ADMIN, "/v1/accounts/alice@{d}"),
    "createAppPassword": Example(
        ADMIN, "/v1/accounts/alice@{d}/app-passwords", {"name": "n", "scopes": ["pop3"]}
    ),
    "listAppPasswords": Example(READ, "/v1/accounts/alice@{d}/app-passwords"),
    "deleteAppPassword": Example(ADMIN, "/v1/accounts/alice@{d}/app-passwords/{app_password}"),
    "listMessages": Example(CONTENT, "/v1/accounts/alice@{d}/messages"),
    "getMessage": Example(CONTENT, "/v1/accounts/alice@{d}/messages/{message}"),
    "getRawMessage": Example(CONTENT, "/v1/accounts/alice@{d}/messages/{message}/raw"),
    "getMessageStructure": Example(CONTENT, "/v1/accounts/alice@{d}/messages/{message}/structure"),
    "getMessagePart": Example(CONTENT, "/v1/accounts/alice@{d}/messages/{message}/parts/1"),
    "deleteMessage": Example(ADMIN, "/v1/accounts/alice@{d}/messages/{message}"),
    "moveMessage": Example(
        ADMIN, "/v1/accounts/alice@{d}/messages/{message}/move", {"mailbox": "Trash"}
    ),
    "changeMessage": Example(
        ADMIN, "/v1/accounts/alice@{d}/messages/{message}", {"flags": ["seen"]}
    ),
    "classifyMessage": Example(
        ADMIN,
        "/v1/accounts/alice@{d}/messages/{message}/classification",
        {"classification": "ham"},
    ),
    "listDeletedMessages": Example(CONTENT, "/v1/accounts/alice@{d}/deleted"),
    "undeleteMessage": Example(ADMIN, "/v1/accounts/alice@{d}/messages/{deleted}/undelete"),
    "listMailboxes": Example(READ, "/v1/accounts/alice@{d}/mailboxes"),
    "createMailbox": Example(ADMIN, "/v1/accounts/alice@{d}/mailboxes", {"name": "New"}),
    "changeMailbox": Example(ADMIN, "/v1/accounts/alice@{d}/mailboxes/Old", {"subscribed": True}),
    "deleteMailbox": Example(ADMIN, "/v1/accounts/alice@{d}/mailboxes/Old"),
    "exportMail": Example(CONTENT, "/v1/accounts/alice@{d}/export?format=mbox"),
    "importMail": Example(ADMIN, "/v1/accounts/alice@{d}/import?format=mbox", MBOX),
    "createAlias": Example(ADMIN, body={"address": "new@{d}", "targets": ["alice@{d}"]}, hides=422),
    "listAliases": Example(READ, "/v1/aliases?domain={d}", hides=None),
    "getAlias": Example(READ, "/v1/aliases/team@{d}"),
    "changeAlias": Example(ADMIN, "/v1/aliases/team@{d}", {"targets": ["alice@{d}"]}),
    "deleteAlias": Example(ADMIN, "/v1/aliases/team@{d}"),
    "confirmForward": Example(ADMIN, body={"token": "{token}"}, hides=422),
    "sendMessage": Example(
        SEND,
        body={"from": "alice@{d}", "to": ["x@elsewhere.test"], "subject": "s", "text": "t"},
        hides=None,
    ),
    "traceMessage": Example(READ, "/v1/messages/{queued_message}/trace", hides=None),
    "searchMessages": Example(READ, "/v1/messages", hides=None),
    "listQueue": Example(READ, hides=None),
    "summarizeQueue": Example(READ, hides=None),
    "getQueued": Example(READ, QUEUED.path),
    "cancelQueued": QUEUED,
    "retryQueued": Example(ADMIN, f"{QUEUED.path}/retry"),
    "holdQueued": Example(ADMIN, f"{QUEUED.path}/hold"),
    "releaseQueued": Example(ADMIN, f"{QUEUED.path}/release"),
    "cancelAllQueued": Example(ADMIN, body=ALL, hides=None),
    "retryAllQueued": Example(ADMIN, body=ALL, hides=None),
    "holdAllQueued": Example(ADMIN, body=ALL, hides=None),
    "releaseAllQueued": Example(ADMIN, body=ALL, hides=None),
    "listRoutes": Example(PLATFORM_READ, hides=None),
    "createRoute": Example(PLATFORM, body={"domain": "new.{d}", "host": "mx.test"}, hides=None),
    "getRoute": Example(PLATFORM_READ, "/v1/routes/{d}.route", hides=None),
    "setRoute": Example(PLATFORM, "/v1/routes/{d}.route", {"host": "mx.test"}, hides=None),
    "deleteRoute": Example(PLATFORM, "/v1/routes/{d}.route", hides=None),
    "probeRoute": Example(PLATFORM, "/v1/routes/{d}.route/probe", {}, hides=None),
    "createWebhook": Example(
        ADMIN, body={"url": "http://127.0.0.1:1/", "events": ["*"], "tenant": "{tenant}"}, hides=422
    ),
    "listWebhooks": Example(READ, hides=None),
    "getWebhook": Example(READ, "/v1/webhooks/{webhook}"),
    "changeWebhook": Example(ADMIN, "/v1/webhooks/{webhook}", {"domain": "{d}"}),
    "deleteWebhook": Example(ADMIN, "/v1/webhooks/{webhook}"),
    "rotateWebhookSecret": Example(ADMIN, "/v1/webhooks/{webhook}/rotate"),
    "testWebhook": Example(ADMIN, "/v1/webhooks/{webhook}/test"),
    "listWebhookDeliveries": Example(READ, "/v1/webhooks/{webhook}/deliveries"),
    "getWebhookDelivery": Example(READ, "/v1/webhooks/{webhook}/deliveries/{told}"),
    "replayWebhookDelivery": Example(ADMIN, "/v1/webhooks/{webhook}/deliveries/{told}/replay"),
    "replayFailedWebhookDeliveries": Example(ADMIN, "/v1/webhooks/{webhook}/deliveries/replay"),
    "listStats": Example(READ, "/v1/stats", hides=None),
    "getStatsSeries": Example(READ, "/v1/stats/series", hides=None),
    "followEvents": Example(READ, "/v1/events/stream?tenant={tenant}", hides=422),
    "getStatus": Example(READ, "/v1/status", hides=None),
    "listDmarcReports": Example(READ, "/v1/domains/{d}/reports/dmarc"),
    "listTlsReports": Example(READ, "/v1/domains/{d}/reports/tls"),
    "listComplaints": Example(READ, "/v1/complaints", hides=None),
    "getDefence": Example(PLATFORM_READ, "/v1/defence", hides=None),
    "getListings": Example(PLATFORM_READ, "/v1/defence/listings", hides=None),
    "getSystem": Example(PLATFORM_READ, "/v1/system", hides=None),
    "getConfig": Example(READ, "/v1/config?tenant={tenant}"),
    "putConfig": Example(
        ADMIN,
        "/v1/config?tenant={tenant}",
        {"aliases": [{"address": "team@{d}", "targets": ["alice@{d}", "x@e.test"]}]},
    ),
    "listManagers": Example(READ, "/v1/config/managers?tenant={tenant}"),
    "releaseManager": Example(ADMIN, "/v1/config/managers/argo-cd?tenant={tenant}"),
    "listSuppressions": Example(READ, hides=None),
    "suppress": Example(ADMIN, body={"address": "s@elsewhere.test", "reason": "r"}, hides=None),
    "unsuppress": Example(ADMIN, "/v1/suppressions/bounced@{d}"),
    "listDeadLetters": Example(PLATFORM_READ, "/v1/dead", hides=None),
    "retryDeadLetter": Example(PLATFORM, "/v1/dead/1/retry", hides=None),
    "discardDeadLetter": Example(PLATFORM, "/v1/dead/1", hides=None),
}

TABLE = {route.operation_id or route.path: route for route in operations()}


@dataclass
class TenantObjects:
    """What a tenant has, for the examples."""

    tenant: str
    d: str
    key: str
    app_password: str
    message: str
    queued_message: str
    deleted: str
    withheld: str
    queued: str
    webhook: str
    told: str
    token: str
    shows: dict[str, dict[str, str]]

    def fill(self, text: str) -> str:
        names = (
            "tenant",
            "d",
            "key",
            "app_password",
            "message",
            "queued_message",
            "deleted",
            "withheld",
            "queued",
            "webhook",
            "told",
            "token",
        )
        for name in names:
            text = text.replace(f"{{{name}}}", str(getattr(self, name)))
        return text


async def tenant_objects(api: Api, name: str) -> TenantObjects:
    domain = f"{name}.test"
    tenant = await api.tenant(name)
    await api.domain(domain, tenant=name)
    await api.account(f"alice@{domain}")
    await api.alias(f"team@{domain}", f"alice@{domain}")
    key = await api.client.post(
        "/v1/api-keys", json={"name": "victim", "role": "read-only", "tenant": name}
    )
    made = await api.client.post(
        f"/v1/accounts/alice@{domain}/app-passwords", json={"name": "phone", "scopes": ["pop3"]}
    )
    queued_message = await api.enter(
        f"bob@{domain}.elsewhere.test", sender=f"alice@{domain}", tenant=tenant
    )
    (row,) = await api.sql(
        "SELECT id FROM outbound_recipients WHERE message_id = $1", queued_message
    )
    await api.sql(
        "INSERT INTO suppressions (tenant_id, address, reason, source) VALUES ($1, $2, '', 'bounce')",
        tenant,
        f"bounced@{domain}",
    )
    await api.client.put(f"/v1/routes/{domain}.route", json={"host": "mx.test"})
    (account,) = await api.sql("SELECT id FROM accounts WHERE address = $1", f"alice@{domain}")
    await api.sql(
        "INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date)"
        " VALUES ($1, 1, 1, $2, 1000, now())",
        account["id"],
        queued_message,
    )
    await api.sql("UPDATE messages SET refs = refs + 1 WHERE id = $1", queued_message)
    await api.sql(
        "UPDATE accounts SET used_bytes = 1000, used_messages = 1 WHERE id = $1", account["id"]
    )
    await api.sql(
        "INSERT INTO filter_policies (tenant_id, domain_id, account_id, document)"
        " SELECT *, jsonb_build_object('allow', jsonb_build_array('friend.' || $2)) FROM ("
        " VALUES ($1::uuid, NULL::bigint, NULL::bigint),"
        " (NULL, (SELECT id FROM domains WHERE name = $2::text), NULL), (NULL, NULL, $3::bigint)) AS owner",
        *(tenant, domain, account["id"]),
    )
    webhook, told = new_id(), new_id()
    await api.sql(
        "INSERT INTO webhooks (id, tenant_id, url, secret, events) VALUES ($1, $2, $3, $4, $5)",
        *(webhook, tenant, f"http://127.0.0.1/{name}", b"", ["*"]),
    )
    await api.sql(
        "INSERT INTO webhook_deliveries (id, webhook_id, event, event_type) VALUES ($1, $2, '{}', 'test')",
        told,
        webhook,
    )
    await api.sql(
        "INSERT INTO statistics (tenant_id, domain, hour, outcome, messages) VALUES ($1, $2, $3, 'delivered', 1)",
        *(tenant, domain, datetime.now(UTC).replace(minute=0, second=0, microsecond=0)),
    )
    await api.sql(
        "INSERT INTO managed_objects (tenant_id, manager, account_id, fields) VALUES ($1, 'argo-cd', $2, '{}')",
        *(tenant, account["id"]),
    )
    deleted = await api.enter(
        f"carol@{domain}.elsewhere.test", sender=f"alice@{domain}", tenant=tenant
    )
    await api.sql("UPDATE domains SET undelete_days = 7 WHERE name = $1", domain)
    await api.sql(
        "INSERT INTO deleted_entries (account_id, message_id, mailbox_id, size_crlf, internal_date)"
        " VALUES ($1, $2, 1, 1000, now())",
        account["id"],
        deleted,
    )
    await api.sql("UPDATE messages SET refs = refs + 1 WHERE id = $1", deleted)
    withheld = new_id()
    await api.sql(
        "INSERT INTO quarantine (id, message_id, tenant_id, account_id, recipient, reason, detail, score, envelope,"
        " size_crlf, expires_at) VALUES ($1, $2, $3, $4, $5, 'score', '', 9, $6, 1000, now() + interval '1 day')",
        *(withheld, queued_message, tenant, account["id"], f"alice@{domain}"),
        encode_withheld(make_message(()).envelope, f"alice@{domain}", ()),
    )
    await api.sql("UPDATE messages SET refs = refs + 1 WHERE id = $1", queued_message)
    await api.client.post(f"/v1/accounts/alice@{domain}/mailboxes", json={"name": "Old"})
    target = new_id()
    await api.sql(
        "INSERT INTO alias_targets (id, alias_id, target) SELECT $1, id, 'x@e.test' FROM aliases WHERE address = $2",
        *(target, f"team@{domain}"),
    )
    shows = {
        "platform-admin": await api.key(Role.PLATFORM_ADMIN),
        "platform read-only": await api.key(Role.READ_ONLY),
        **{
            role.value: await api.key(role, tenant)
            for role in (Role.TENANT_ADMIN, Role.READ_ONLY, Role.SEND_ONLY)
        },
        "content reader": await api.key(Role.READ_ONLY, tenant, message_content=True),
    }
    return TenantObjects(
        name,
        domain,
        key.json()["id"],
        made.json()["id"],
        str(queued_message),
        str(queued_message),
        str(deleted),
        str(withheld),
        str(row["id"]),
        str(webhook),
        str(told),
        api.forwards.token(target),
        shows,
    )


async def call(
    api: Api, operation: str, objects: TenantObjects, headers: dict[str, str]
) -> httpx.Response:
    example, route = EXAMPLES[operation], TABLE[operation]
    path = objects.fill(example.path or route.path)
    method = next(iter(route.methods or ()))
    content: str | None = None
    media = {}
    if isinstance(example.body, str):
        content, media = objects.fill(example.body), {"Content-Type": "application/x-ndjson"}
    elif example.body is not None:
        content, media = (
            objects.fill(json.dumps(example.body)),
            {"Content-Type": "application/json"},
        )
    return await api.client.request(method, path, content=content, headers={**headers, **media})


def test_every_operation_has_a_rule_and_an_example() -> None:
    assert TABLE.keys() == EXAMPLES.keys()
    assert TABLE.keys() == access.RULES.keys()
    assert len(TABLE) == sum(1 for _ in operations()), "two operations have one id"
    for name, route in TABLE.items():
        assert route.path.startswith("/v1/"), name
        is_read = route.methods == {"GET"}
        if EXAMPLES[name].who not in (ANYONE, ACCOUNT, PUBLIC):
            assert (EXAMPLES[name].who in (READ, PLATFORM_READ, CONTENT)) == is_read, name
        if not is_read and name not in UNAUDITED:
            assert access.RULES[name].action, f"{name} leaves nothing in the audit log"


def test_an_operation_without_a_rule_cannot_be_made() -> None:
    from posthorn_api.http.operations import router

    async def nothing() -> None: ...

    with pytest.raises(RuntimeError, match="has no rule"):
        router("new").add_api_route("/v1/new", nothing, operation_id="forgotten", methods=["GET"])
    assert isinstance(next(iter(TABLE.values())), APIRoute)


READS = [
    name for name, example in EXAMPLES.items() if example.who in (READ, PLATFORM_READ, CONTENT)
]
"""They change nothing, so that many are asked of the same objects."""


@pytest.mark.parametrize("operation", [name for name in EXAMPLES if name not in READS])
async def test_who_may_do_what_and_to_whom(api: Api, operation: str) -> None:
    ours, theirs = await tenant_objects(api, "ours"), await tenant_objects(api, "theirs")
    await check_rights(api, operation, ours, theirs, await everything_of(api, "theirs"))


@pytest.mark.parametrize(
    "reads", list(batched(READS, 12, strict=False)), ids=lambda reads: reads[0]
)
async def test_who_may_read_what_and_of_whom(api: Api, reads: tuple[str, ...]) -> None:
    ours, theirs = await tenant_objects(api, "ours"), await tenant_objects(api, "theirs")
    before = await everything_of(api, "theirs")
    for operation in reads:
        await check_rights(api, operation, ours, theirs, before)


async def check_rights(
    api: Api,
    operation: str,
    ours: TenantObjects,
    theirs: TenantObjects,
    before: list[list[Any]],
) -> None:
    """Call an operation in every role, on what is of the role's tenant and on what is not and
    must stay as it was before."""
    example = EXAMPLES[operation]
    for role in ROLES:  # a foreign object first, while everything is there
        if role.startswith("platform"):
            continue
        answer = await call(api, operation, theirs, ours.shows[role])
        if role not in MAY[example.who]:
            assert answer.status_code == 403, (operation, role, answer.text)
        elif example.hides is not None:
            assert answer.status_code == example.hides, (operation, role, answer.text)
        if example.hides is None and answer.status_code == 200:
            assert "theirs" not in shown(answer, operation), (operation, answer.text)
    assert await everything_of(api, "theirs") == before, operation

    for role in ROLES:
        answer = await call(api, operation, ours, ours.shows[role])
        if role in MAY[example.who]:
            assert answer.status_code not in (401, 403), (operation, role, answer.text)
        else:
            assert answer.status_code == 403, (operation, role, answer.text)
            assert answer.json()["type"] == "urn:posthorn:problem:forbidden"
    assert await everything_of(api, "theirs") == before, operation


async def test_who_is_not_known_is_told_nothing(api: Api) -> None:
    nobody = TenantObjects(
        "ours",
        "ours.test",
        str(new_id()),
        str(new_id()),
        str(new_id()),
        str(new_id()),
        str(new_id()),
        str(new_id()),
        "1",
        str(new_id()),
        str(new_id()),
        "no token",
        {},
    )
    for operation, example in EXAMPLES.items():
        if example.who == PUBLIC:
            continue  # test_login.py
        for headers in ({"Authorization": ""}, {"Authorization": f"Bearer ph_{'x' * 43}"}):
            answer = await call(api, operation, nobody, headers)
            assert answer.status_code == 401, (operation, answer.text)


async def everything_of(api: Api, name: str) -> list[list[Any]]:
    """All that a tenant has, as the database holds it."""
    (tenant,) = await api.sql("SELECT id FROM tenants WHERE name = $1", name)
    queries = (
        "SELECT t::text FROM tenants t WHERE id = $1",
        "SELECT d::text FROM domains d WHERE tenant_id = $1 ORDER BY id",
        "SELECT a::text FROM accounts a JOIN domains d ON d.id = domain_id WHERE tenant_id = $1 ORDER BY a.id",
        "SELECT a::text FROM aliases a JOIN domains d ON d.id = domain_id WHERE tenant_id = $1 ORDER BY a.id",
        "SELECT k.id::text, k.role FROM api_keys k WHERE tenant_id = $1 ORDER BY id",
        "SELECT p.id::text FROM app_passwords p JOIN accounts a ON a.id = account_id JOIN domains d ON d.id = domain_id"
        " WHERE tenant_id = $1 ORDER BY p.id",
        "SELECT k.id::text FROM dkim_keys k JOIN domains d ON d.id = domain_id WHERE tenant_id = $1 ORDER BY k.id",
        "SELECT e::text FROM mailbox_entries e JOIN accounts a ON a.id = account_id JOIN domains d ON d.id = domain_id"
        " WHERE tenant_id = $1 ORDER BY account_id, uid",
        "SELECT e::text FROM deleted_entries e JOIN accounts a ON a.id = account_id JOIN domains d ON d.id = domain_id"
        " WHERE tenant_id = $1 ORDER BY account_id, message_id",
        "SELECT m::text FROM mailboxes m JOIN accounts a ON a.id = account_id JOIN domains d ON d.id = domain_id"
        " WHERE tenant_id = $1 ORDER BY account_id, mailbox_id",
        "SELECT p::text FROM filter_policies p LEFT JOIN accounts a ON a.id = p.account_id"
        " LEFT JOIN domains d ON d.id IN (p.domain_id, a.domain_id)"
        " WHERE $1 IN (p.tenant_id, d.tenant_id) ORDER BY p.id",
        "SELECT r::text FROM outbound_recipients r WHERE tenant_id = $1 ORDER BY id",
        "SELECT w::text FROM webhooks w WHERE tenant_id = $1 ORDER BY id",
        "SELECT v::text FROM webhook_deliveries v JOIN webhooks w ON w.id = webhook_id WHERE tenant_id = $1 ORDER BY v.id",
        "SELECT s::text FROM statistics s WHERE tenant_id = $1 ORDER BY domain",
        "SELECT s::text FROM suppressions s WHERE tenant_id = $1 ORDER BY address",
        "SELECT o::text FROM managed_objects o WHERE tenant_id = $1 ORDER BY id",
        "SELECT a::text FROM audit a WHERE tenant_id = $1 ORDER BY id",
    )
    return [[tuple(row) for row in await api.sql(query, tenant["id"])] for query in queries]


def shown(answer: httpx.Response, operation: str) -> str:
    """What an answer tells, without what it repeats of the question."""
    if operation.startswith(("import", "plan")):
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lines[0]["status"] == "failed"
        assert "there is no domain theirs.test here" in json.dumps(lines[0])
        return ""
    return answer.text
