"""Every 409 that is documented, and what it says: generated from the OpenAPI document. An operation
that documents one without an example here fails."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tools.client_source import document, operations

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.runtime.ids import new_id
from posthorn_api.http.permissions import RULES
from posthorn_api.tenants.service import hash_of_key
from tests.support.api import Api, problem

ALICE, BOB = "alice@example.test", "bob@example.test"
HOLDER = httpx.BasicAuth(ALICE, "correct horse")
SSO = {"Authorization": "Bearer phs_" + "s" * 43}
"""A session by single sign-on."""
CONFLICTS: dict[str, tuple[str, Any, str]] = {
    "deleteLogin": ("/v1/login", None, "this request is not made with a session"),
    "createLoginLink": ("/v1/login/links", None, "a link signs in as a key; call this with one"),
    "createMyAppPassword": (
        "/v1/me/app-passwords",
        {"name": "phone", "scopes": ["imap"]},
        "there are already 1 app passwords; delete one first",
    ),
    "createMySetUpCode": (
        "/v1/me/client-settings?format=thunderbird-qr",
        {},
        "there are already 1 app passwords; delete one first",
    ),
    "undeleteMyMessage": (
        "/v1/me/deleted/{deleted}/undelete",
        None,
        f"{ALICE} has no room for the 7 bytes of the message",
    ),
    "releaseMyQuarantined": (
        "/v1/me/quarantine/{virus}/release",
        None,
        "a message with a virus is released by an administrator only",
    ),
    "setMyForwards": (
        "/v1/me/forwards",
        {"targets": ["a@far.test"]},
        "this domain does not let its accounts forward their mail",
    ),
    "createTenant": ("/v1/tenants", {"name": "acme"}, "the tenant acme already exists"),
    "changeTenant": (
        "/v1/tenants/acme",
        {"name": "default"},
        "the tenant default already exists",
    ),
    "deleteTenant": ("/v1/tenants/acme", None, "acme.test"),
    "createApiKey": (
        "/v1/api-keys",
        {"name": "more", "role": "read-only", "tenant": "acme"},
        "there are already 1 API keys; delete one first",
    ),
    "createDomain": ("/v1/domains", {"name": "example.test"}, "example.test already exists"),
    "deleteDomain": ("/v1/domains/example.test", None, "example.test"),
    "verifyDomain": (
        "/v1/domains/acme.test/verify",
        None,
        "the ownership of acme.test is not verified: ",
    ),
    "rotateDkimKeys": (
        "/v1/domains/example.test/dkim/rotate",
        {"algorithms": ["ed25519"]},
        "the domain already has 0 DKIM keys that must stay published; wait until",
    ),
    "createAccount": (
        "/v1/accounts",
        {"address": BOB, "password": "correct horse"},
        f"the account {BOB} already exists",
    ),
    "deleteAccount": (
        f"/v1/accounts/{BOB}",
        None,
        f"the alias team@example.test forwards to {BOB}; change or delete it first",
    ),
    "createAppPassword": (
        f"/v1/accounts/{ALICE}/app-passwords",
        {"name": "phone", "scopes": ["imap"]},
        "there are already 1 app passwords; delete one first",
    ),
    "createMailbox": (
        f"/v1/accounts/{ALICE}/mailboxes",
        {"name": "Sent"},
        f"{ALICE} already has a mailbox Sent",
    ),
    "changeMailbox": (
        f"/v1/accounts/{ALICE}/mailboxes/INBOX",
        {"name": "x"},
        "INBOX cannot be renamed; move its messages instead",
    ),
    "deleteMailbox": (
        f"/v1/accounts/{ALICE}/mailboxes/INBOX",
        None,
        "every account has a mailbox INBOX",
    ),
    "undeleteMessage": (
        f"/v1/accounts/{ALICE}/messages/{{deleted}}/undelete",
        None,
        f"{ALICE} has no room for the 7 bytes of the message",
    ),
    "importMail": (
        f"/v1/accounts/{BOB}/import?format=mbox",
        "From a@far.test Mon Jan  1 00:00:00 2024\nA: 1\n\n",
        f"another import into {BOB} is running; wait for its end",
    ),
    "createAlias": (
        "/v1/aliases",
        {"address": "team@example.test", "targets": [ALICE]},
        "the alias team@example.test already exists",
    ),
    "changeAlias": (
        f"/v1/aliases/{ALICE}",
        {"targets": [BOB]},
        f"{ALICE} is an account, whose holder set this forward; delete it",
    ),
    "deleteAlias": (
        "/v1/aliases/team@example.test",
        None,
        "team@example.test is the catch-all of the domain example.test; change that first",
    ),
    "releaseQuarantined": (
        "/v1/quarantine/{virus}/release",
        {},
        f"{ALICE} has no room for the 7 bytes of the message",
    ),
    "cancelQueued": ("/v1/queue/{queued}", None, "does not permit this: "),
    "retryQueued": ("/v1/queue/{queued}/retry", None, "does not permit this: "),
    "holdQueued": ("/v1/queue/{queued}/hold", None, "does not permit this: "),
    "releaseQueued": ("/v1/queue/{queued}/release", None, "does not permit this: "),
    "createRoute": (
        "/v1/routes",
        {"domain": "far.test"},
        "a route for far.test already exists; PUT replaces it",
    ),
    "suppress": (
        "/v1/suppressions",
        {"address": "b@far.test", "reason": "asked"},
        "there are already 1 suppressions; delete some first",
    ),
    "createWebhook": (
        "/v1/webhooks",
        {"url": "https://hooks.test/", "events": ["*"]},
        "there are already 1 webhooks; no more are allowed",
    ),
    "testWebhook": ("/v1/webhooks/{hook}/test", None, "the webhook is paused; activate it first"),
    "replayWebhookDelivery": (
        "/v1/webhooks/{hook}/deliveries/{delivery}/replay",
        None,
        "the webhook is paused; activate it first",
    ),
    "replayFailedWebhookDeliveries": (
        "/v1/webhooks/{hook}/deliveries/replay",
        None,
        "the webhook is paused; activate it first",
    ),
    "getConfig": ("/v1/config", None, "more than 1 objects of a kind do not fit into one document"),
    "putConfig": (
        "/v1/config?manager=argo-cd",
        {"aliases": [{"address": "managed@example.test", "targets": [ALICE]}]},
        "the document names objects of other managers: alias managed@example.test by flux.",
    ),
}
"""Of each operation a path, a body, and what the refusal says."""
BOUNDS = {
    "posthorn.adapters.postgres.directory.app_passwords.MOST_APP_PASSWORDS": 1,
    "posthorn.adapters.postgres.access.api_keys.MOST_KEYS": 1,
    "posthorn.adapters.postgres.directory.dkim_keys.MOST_DKIM_KEYS": 0,
    "posthorn.adapters.postgres.queue.suppressions.MOST_SUPPRESSIONS": 1,
    "posthorn.adapters.postgres.events.webhooks.MOST_WEBHOOKS": 1,
}


@pytest.fixture
async def names(
    api: Api, blobs: FileBlobs, accounts: None, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Objects that conflict; their ids by what the paths call them."""
    virus, delivery = new_id(), new_id()

    async def made(path: str, body: dict[str, Any], method: str = "POST") -> Any:
        answer = await api.client.request(method, f"/v1/{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    await made("tenants", {"name": "acme", "verify_domains": True})
    await api.domain("acme.test", tenant="acme")
    await made("api-keys", {"name": "one", "role": "read-only", "tenant": "acme"})
    await api.alias("team@example.test", BOB)
    await made(
        "domains/example.test", {"catch_all": "team@example.test", "undelete_days": 7}, "PATCH"
    )
    managed = {"aliases": [{"address": "managed@example.test", "targets": [ALICE]}]}
    await made("config?manager=flux", managed, "PUT")
    await made(f"accounts/{ALICE}/app-passwords", {"name": "one", "scopes": ["imap"]})
    deleted = await api.deliver(blobs, b"A: 1\r\n\r")
    answer = await api.client.delete(f"/v1/accounts/{ALICE}/messages/{deleted}")
    assert answer.status_code == 204
    await made(f"accounts/{ALICE}", {"quota_bytes": 1}, "PATCH")
    (alice,) = await api.sql("SELECT id, domain_id FROM accounts WHERE address = $1", ALICE)
    await api.sql(
        "INSERT INTO aliases (domain_id, address, targets, keeps_copy) VALUES ($1, $2, '{a@far.test}', true)",
        *(alice["domain_id"], ALICE),
    )
    await api.sql(
        "INSERT INTO quarantine (id, message_id, tenant_id, account_id, recipient, reason, detail, score, envelope,"
        " size_crlf, expires_at) SELECT $1, $2, d.tenant_id, $3, $4, 'virus', 'found', 0, '', 7, now() + interval '1 d'"
        " FROM domains d WHERE d.name = 'example.test'",
        *(virus, deleted, alice["id"], ALICE),
    )
    (bob,) = await api.sql("SELECT id FROM accounts WHERE address = $1", BOB)
    await api.sql(
        "INSERT INTO leaderships (task, holder, expires_at) VALUES ($1, $2, now() + interval '1 h')",
        *(f"import:{bob['id']}", new_id()),
    )
    await api.enter("x@far.test")
    (queued,) = (await api.client.get("/v1/queue")).json()["items"]
    assert (await api.client.delete(f"/v1/queue/{queued['id']}")).status_code == 204
    await made("routes", {"domain": "far.test"})
    await made("suppressions", {"address": "a@far.test", "reason": "asked"})
    hook = await made("webhooks", {"url": "https://hooks.test/", "events": ["*"]})
    await made(f"webhooks/{hook['id']}", {"state": "paused"}, "PATCH")
    await api.sql(
        "INSERT INTO webhook_deliveries (id, webhook_id, event, event_type, state) VALUES ($1, $2, '{}', 'test', 'failed')",
        *(delivery, hook["id"]),
    )
    await api.sql(
        "INSERT INTO browser_sessions (id, token_hash, owner, name, role, message_content, expires_at)"
        " VALUES ($1, $2, $1, 'oidc:ann', 'platform-admin', false, now() + interval '1 h')",
        *(new_id(), hash_of_key(SSO["Authorization"].removeprefix("Bearer "))),
    )
    for name, most in BOUNDS.items():
        monkeypatch.setattr(name, most)
    return {
        "deleted": deleted,
        "virus": virus,
        "queued": queued["id"],
        "hook": hook["id"],
        "delivery": delivery,
    }


async def test_what_each_conflict_says(
    api: Api, names: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    documented = {
        operation["operationId"]: method
        for method, _, operation in operations(document())
        if "409" in operation["responses"]
    }
    assert documented.keys() == CONFLICTS.keys()
    faults = []
    for name, method in documented.items():
        path, body, said = CONFLICTS[name]
        monkeypatch.setattr("posthorn_api.config.service.MOST", 1 if name == "getConfig" else 99)
        sent: dict[str, Any] = {"content": body} if isinstance(body, str) else {"json": body}
        answer = await api.client.request(
            method,
            path.format_map(names),
            auth=HOLDER if RULES[name].me else None,
            headers=SSO if name == "createLoginLink" else {},
            **({} if body is None else sent),
        )
        if answer.status_code != 409 or said not in answer.json()["detail"]:
            faults.append((name, answer.text))
        else:
            assert problem(answer, 409, "conflict")["title"] == "Conflict", name
    assert faults == []
