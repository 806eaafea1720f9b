"""Aliases that lead elsewhere over the REST API: how many targets, and which must confirm before
they get anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.directory_entry import AddressEntry, RecipientStatus
from posthorn.model.envelope import Envelope
from posthorn.ports.api_keys import Role
from posthorn.ports.errors import Unavailable
from posthorn.ports.forwards import ForwardPolicy
from posthorn_api.forwards.service import PAGE_PATH
from tests.support.api import Api, problem
from tests.support.databases import pool


@dataclass
class Kept:
    """Keeps what would go to INGEST, or fails."""

    messages: list[tuple[Envelope, bytes]] = field(default_factory=list)
    fails: bool = False

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        if self.fails:
            raise Unavailable("nats", "down")
        assert body is not None
        self.messages.append((envelope, body))

    async def probe(self) -> None:
        """Always well."""


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"policy": ForwardPolicy(most_targets=3, tenants_confirm=True)}


@pytest.fixture
async def api(api: Api) -> Api:
    await api.tenant("acme")
    await api.domain("acme.test", tenant="acme")
    await api.account("alice@acme.test")
    return api


@pytest.fixture
def kept(api: Api) -> Kept:
    ears = Kept()
    api.ingest.set(ears)
    return ears


@pytest.fixture
async def admin(api: Api) -> dict[str, str]:
    """The key of a tenant's admin."""
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'acme'")
    return await api.key(Role.TENANT_ADMIN, row["id"])


async def make(api: Api, headers: dict[str, str] | None, *targets: str, name: str = "team") -> Any:
    body = {"address": f"{name}@acme.test", "targets": list(targets)}
    return await api.client.post("/v1/aliases", json=body, headers=headers)


async def states(api: Api, name: str = "team") -> dict[str, str]:
    answer = await api.client.get(f"/v1/aliases/{name}@acme.test")
    return {each["address"]: each["state"] for each in answer.json()["target_states"]}


async def forwards(api: Api) -> dict[str, str]:
    """Where delivery would forward to, with why it does not."""
    async with pool(api.database_url) as database:
        found = await PostgresMailboxes(database).resolve(["team@acme.test"], [])
    return {each.address: each.withheld for each in found.forwards["team@acme.test"]}


async def standing(api: Api) -> RecipientStatus:
    async with pool(api.database_url) as database:
        truth = {
            subject: entry
            async for subject, entry in PostgresDirectorySource(database).everything()
        }
    entry = truth["team@acme.test"]
    assert isinstance(entry, AddressEntry)
    return entry.standing


async def test_what_a_tenants_key_names_elsewhere_gets_nothing_before_it_confirms(
    api: Api, kept: Kept, admin: dict[str, str]
) -> None:
    answer = await make(api, admin, "friend@far.test", "alice@acme.test")
    assert answer.status_code == 201, answer.text
    assert await states(api) == {"friend@far.test": "unconfirmed", "alice@acme.test": "active"}
    assert await forwards(api) == {"friend@far.test": "unconfirmed"}
    await api.forwards.ask()
    await api.forwards.ask()
    ((envelope, body),) = kept.messages
    assert (envelope.recipients, envelope.reverse_path, envelope.signer) == (
        ("friend@far.test",),
        "",
        "acme.test",
    )
    token = next(
        line.strip()
        for line in body.decode().splitlines()
        if line.startswith("  ") and "/" not in line
    )
    assert (
        f"https://web.post.test{PAGE_PATH}{token}" in body.decode()
        or f"{PAGE_PATH}{token}" in body.decode()
    )

    page = f"{PAGE_PATH}{token}"
    anybody = {"Authorization": ""}
    shown = await api.client.get(page, headers=anybody)
    assert shown.status_code == 200 and '<form method="post">' in shown.text
    assert await states(api) == {"friend@far.test": "unconfirmed", "alice@acme.test": "active"}, (
        "links are followed"
    )
    before = (await api.client.get("/v1/aliases/team@acme.test")).headers["etag"]
    for _ in range(2):
        assert (await api.client.post(page, headers=anybody)).status_code == 200
    assert await states(api) == {"friend@far.test": "active", "alice@acme.test": "active"}
    assert await forwards(api) == {"friend@far.test": ""}
    assert (await api.client.get("/v1/aliases/team@acme.test")).headers["etag"] != before
    ((actor,),) = await api.sql("SELECT actor_name FROM audit WHERE action = 'alias.confirm'")
    assert actor == "friend@far.test"


async def test_the_tenant_may_hand_the_token_in_and_no_other_token_counts(
    api: Api, kept: Kept, admin: dict[str, str]
) -> None:
    await make(api, admin, "friend@far.test")
    assert await standing(api) is RecipientStatus.SUSPENDED, "it leads nowhere yet"
    ((number,),) = await api.sql("SELECT id FROM alias_targets")
    token = api.forwards.token(number)
    for wrong in (
        "x",
        f"{number.hex}.x",
        token[:-1],
        token.replace(token[0], "0" if token[0] != "0" else "1", 1),
    ):
        problem(
            await api.client.post("/v1/aliases/confirm", json={"token": wrong}, headers=admin),
            422,
            "invalid",
            "token",
        )
        assert (await api.client.post(f"{PAGE_PATH}{wrong}")).status_code == 404
    answer = await api.client.post("/v1/aliases/confirm", json={"token": token}, headers=admin)
    assert answer.status_code == 200, answer.text
    assert answer.json()["target_states"] == [{"address": "friend@far.test", "state": "active"}]
    assert await standing(api) is RecipientStatus.DELIVERABLE
    await api.forwards.ask()
    assert kept.messages == []


async def test_a_target_that_is_taken_off_and_named_again_must_confirm_again(
    api: Api, kept: Kept, admin: dict[str, str]
) -> None:
    await make(api, admin, "friend@far.test", "other@far.test")
    for (number,) in await api.sql("SELECT id FROM alias_targets"):
        await api.forwards.confirm(None, api.forwards.token(number))
    path = "/v1/aliases/team@acme.test"
    await api.client.patch(path, json={"targets": ["other@far.test"]}, headers=admin)
    await api.client.patch(
        path, json={"targets": ["other@far.test", "friend@far.test"]}, headers=admin
    )
    assert await states(api) == {"other@far.test": "active", "friend@far.test": "unconfirmed"}
    # by the platform
    await api.client.patch(path, json={"targets": ["friend@far.test", "more@far.test"]})
    assert await states(api) == {"friend@far.test": "unconfirmed", "more@far.test": "active"}


async def test_nobody_is_written_to_without_end(
    api: Api, kept: Kept, admin: dict[str, str]
) -> None:
    for number in range(5):
        assert (await make(api, admin, "friend@far.test", name=f"n{number}")).status_code == 201
    kept.fails = True
    with pytest.raises(Unavailable):
        await api.forwards.ask()
    kept.fails = False
    for _ in range(3):
        await api.forwards.ask()
    assert len(kept.messages) <= 3
    assert len({envelope.id for envelope, _ in kept.messages}) == len(kept.messages)
    late = await api.sql("SELECT id FROM alias_targets WHERE due_at > now() + interval '1 hour'")
    assert len(late) == 5 - len(kept.messages)


async def test_a_tenants_key_names_so_many_addresses_elsewhere_and_a_platform_key_more(
    api: Api, admin: dict[str, str]
) -> None:
    many = [f"u{number}@far.test" for number in range(4)]
    problem(await make(api, admin, *many), 422, "invalid", "targets")
    assert (await make(api, admin, *many[:3], "alice@acme.test")).status_code == 201
    assert (await make(api, None, *many, name="more")).status_code == 201
    path = "/v1/aliases/more@acme.test"
    answer = await api.client.patch(
        path, json={"targets": [*many[:3], "new@far.test"]}, headers=admin
    )
    assert answer.status_code == 200, "what is there may be changed, not widened"
    problem(
        await api.client.patch(path, json={"targets": [*many, "new@far.test"]}, headers=admin),
        422,
        "invalid",
        "targets",
    )


async def test_imported_aliases_follow_the_same_rules(api: Api, admin: dict[str, str]) -> None:
    lines = '{"address": "one@acme.test", "targets": ["friend@far.test"]}\n'
    answer = await api.client.post(
        "/v1/import/aliases",
        content=lines,
        headers={**admin, "Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 200, answer.text
    assert await states(api, "one") == {"friend@far.test": "unconfirmed"}


async def test_what_the_release_before_has_made_counts_as_confirmed(api: Api) -> None:
    await api.sql(
        "INSERT INTO aliases (domain_id, address, targets)"
        " SELECT id, 'team@acme.test', ARRAY['old@far.test'] FROM domains WHERE name = 'acme.test'"
    )
    assert await states(api) == {"old@far.test": "active"}
    assert await forwards(api) == {"old@far.test": ""}


async def test_an_address_in_a_domain_that_is_only_named_must_confirm_like_others(
    api: Api, kept: Kept, admin: dict[str, str]
) -> None:
    await api.sql("UPDATE tenants SET verify_domains = true WHERE name = 'acme'")
    await api.domain("far.test", tenant="acme")
    await api.account("victim@far.test")
    assert (await make(api, admin, "victim@far.test")).status_code == 201
    assert await forwards(api) == {"victim@far.test": "unconfirmed"}
    await api.forwards.ask()
    assert kept.messages == [], "nobody is asked for what is to be local"

    await api.client.patch(
        "/v1/aliases/team@acme.test", json={"targets": ["alice@acme.test"]}, headers=admin
    )
    await api.client.patch(
        "/v1/aliases/team@acme.test", json={"targets": ["victim@far.test"]}, headers=admin
    )
    assert await forwards(api) == {"victim@far.test": "unconfirmed"}

    await api.sql("UPDATE tenants SET verify_domains = false WHERE name = 'acme'")
    assert (await api.client.post("/v1/domains/far.test/verify")).status_code == 200
    assert await states(api) == {"victim@far.test": "active"}

    assert (await make(api, admin, "alice@new.test", name="new")).status_code == 201
    assert await states(api, "new") == {"alice@new.test": "unconfirmed"}
    await api.domain("new.test", tenant="acme")
    assert await states(api, "new") == {"alice@new.test": "active"}, "it is local now"
    assert await standing(api) is RecipientStatus.DELIVERABLE, "it takes mail"
    assert (await api.sql("SELECT count(*) FROM alias_targets"))[0]["count"] == 2


async def test_what_was_local_must_confirm_once_its_domain_is_deleted(
    api: Api, kept: Kept, admin: dict[str, str]
) -> None:
    assert (await make(api, admin, "friend@far.test", "yes@far.test")).status_code == 201
    await api.sql("UPDATE alias_targets SET confirmed_at = now() WHERE target = 'yes@far.test'")
    # as those are whose domain had not been verified before such targets had to confirm
    await api.sql("DELETE FROM alias_targets WHERE target = 'friend@far.test'")
    await api.domain("far.test")
    await api.account("friend@far.test")
    assert await states(api) == {"friend@far.test": "active", "yes@far.test": "active"}
    await api.client.delete("/v1/accounts/friend@far.test")
    assert (await api.client.delete("/v1/domains/far.test")).status_code == 204
    assert await states(api) == {"friend@far.test": "unconfirmed", "yes@far.test": "active"}
    assert await forwards(api) == {"friend@far.test": "unconfirmed", "yes@far.test": ""}
    await api.forwards.ask()
    ((envelope, _),) = kept.messages
    assert envelope.recipients == ("friend@far.test",)


@pytest.mark.parametrize("api_options", [{"policy": ForwardPolicy()}])
async def test_where_no_target_confirms_none_must_when_its_domain_is_deleted(api: Api) -> None:
    assert (await make(api, None, "friend@far.test")).status_code == 201
    await api.domain("far.test")
    assert (await api.client.delete("/v1/domains/far.test")).status_code == 204
    assert await states(api) == {"friend@far.test": "active"}
