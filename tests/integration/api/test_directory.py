"""Domains, accounts and aliases over the REST API, on a real socket and a real Postgres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.imap.folders import PostgresFolders
from posthorn.ports.api_keys import Role
from posthorn_api.sending.service import SendingLimits
from tests.support.api import Api, problem, running_api
from tests.support.databases import pool


async def outbox(api: Api) -> list[str]:
    return [
        row["subject"] for row in await api.sql("SELECT subject FROM directory_outbox ORDER BY id")
    ]


async def pages(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = await api.client.get(path, params=query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert set(document) == {"items", "next_cursor", "total"}
        assert len(document["items"]) <= query.get("limit", 50)
        items += document["items"]
        cursor = document["next_cursor"]
        if cursor is None:
            return items


async def test_a_domain_is_made_in_canonical_form_and_read_back(api: Api) -> None:
    made = await api.client.post("/v1/domains", json={"name": "Bücher.Example."})
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/domains/xn--bcher-kva.example"
    document = made.json()
    assert {each["purpose"] for each in document.pop("dns_records")} >= {"mx", "dkim"}
    assert document["name"] == "xn--bcher-kva.example"
    assert document["display_name"] == "bücher.example"
    assert document["tenant"] == "default"
    assert document["catch_all"] is None
    assert document["plus_addressing"] is True
    assert document["created_at"].endswith("Z")
    for path in (made.headers["location"], "/v1/domains/bücher.EXAMPLE"):
        assert (await api.client.get(path)).json() == document
    assert await outbox(api) == ["@xn--bcher-kva.example"]


async def test_a_domain_is_changed_and_the_directory_is_told(api: Api) -> None:
    await api.domain()
    await api.account("alice@example.test")
    answer = await api.client.patch(
        "/v1/domains/example.test",
        json={"catch_all": "Alice@Example.test", "plus_addressing": False},
    )
    assert answer.status_code == 200
    assert answer.json()["catch_all"] == "alice@example.test"
    assert answer.json()["plus_addressing"] is False
    assert (await outbox(api))[-1] == "@example.test"
    kept = await api.client.patch("/v1/domains/example.test", json={"catch_all": None})
    assert kept.json()["catch_all"] is None
    assert kept.json()["plus_addressing"] is False
    told = len(await outbox(api))
    assert (await api.client.patch("/v1/domains/example.test", json={})).status_code == 200
    assert len(await outbox(api)) == told


async def test_a_domain_may_be_born_with_a_catch_all_elsewhere(api: Api) -> None:
    await api.domain()
    await api.account("alice@example.test")
    await api.domain("second.test", catch_all="alice@example.test", plus_addressing=False)
    problem(await api.client.delete("/v1/accounts/alice@example.test"), 409, "conflict")


async def test_a_domain_says_who_takes_the_mail_for_its_postmaster(
    database_url: str, tmp_path: Path
) -> None:
    limits = SendingLimits("mx.host.test")
    async with running_api(database_url, FileBlobs(tmp_path), limits=limits) as api:

        async def postmaster() -> str | None:
            (listed,) = [
                each for each in await pages(api, "/v1/domains") if each["name"] == "example.test"
            ]
            shown = (await api.client.get("/v1/domains/example.test")).json()
            assert shown["postmaster"] == listed["postmaster"]
            found: str | None = shown["postmaster"]
            return found

        made = await api.client.post("/v1/domains", json={"name": "example.test"})
        assert made.json()["postmaster"] is None
        await api.account("zoe@example.test")
        await api.account("anna@example.test")
        assert await postmaster() == "zoe@example.test", "the oldest account"
        await api.domain("host.test")
        await api.account("postmaster@host.test")
        assert await postmaster() == "postmaster@host.test", "the one of the host's domains"
        change = await api.client.patch(
            "/v1/domains/example.test", json={"catch_all": "anna@example.test"}
        )
        assert change.json()["postmaster"] == "anna@example.test" == await postmaster()
        await api.alias("postmaster@example.test", "zoe@example.test")
        assert await postmaster() == "postmaster@example.test"
    limits = SendingLimits("mx.host.test", postmaster="anna+pm@example.test")
    async with running_api(database_url, FileBlobs(tmp_path), limits=limits) as api:
        assert await postmaster() == "postmaster@example.test"
        await api.client.delete("/v1/aliases/postmaster@example.test")
        await api.client.patch("/v1/domains/example.test", json={"catch_all": None})
        assert await postmaster() == "anna@example.test", "the one that the setting names"


BAD_DOMAINS: list[tuple[dict[str, Any], str]] = [
    ({"name": "no spaces.test"}, "name"),
    ({"name": ""}, "name"),
    ({"name": "x" * 1001}, "name"),
    ({"name": "[192.0.2.1]"}, "name"),
    ({"name": "a..test"}, "name"),
    ({"name": "\ud800.test"}, "name"),
    ({"name": 5}, "name"),
    ({}, "name"),
    ({"name": "a.test", "colour": "red"}, "colour"),
    ({"name": "a.test", "plus_addressing": "yes"}, "plus_addressing"),
    ({"name": "a.test", "tenant": "nobody"}, "tenant"),
    ({"name": "a.test", "catch_all": "nobody"}, "catch_all"),
    ({"name": "a.test", "catch_all": "nobody@a.test"}, "catch_all"),
]


async def test_a_domain_that_cannot_be_is_refused_by_field(api: Api) -> None:
    for body, field in BAD_DOMAINS:
        problem(await api.post("/v1/domains", body), 422, "invalid", field)
    assert await outbox(api) == []


async def test_a_domain_is_made_once(api: Api) -> None:
    await api.domain()
    problem(await api.client.post("/v1/domains", json={"name": "EXAMPLE.test"}), 409, "conflict")


async def test_a_domain_with_addresses_is_not_deleted(api: Api) -> None:
    await api.domain()
    await api.account("alice@example.test")
    await api.alias("info@example.test", "alice@example.test")
    refused = problem(await api.client.delete("/v1/domains/example.test"), 409, "conflict")
    assert "alice@example.test" in refused["detail"]
    assert (await api.client.delete("/v1/aliases/info@example.test")).status_code == 204
    assert (await api.client.delete("/v1/accounts/alice@example.test")).status_code == 204
    gone = await api.client.delete("/v1/domains/example.test")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await outbox(api))[-1] == "@example.test"
    problem(await api.client.get("/v1/domains/example.test"), 404, "not-found")
    problem(await api.client.delete("/v1/domains/example.test"), 404, "not-found")
    problem(
        await api.client.patch("/v1/domains/example.test", json={"catch_all": None}),
        404,
        "not-found",
    )


async def test_an_account_is_made_with_its_folders(api: Api) -> None:
    await api.domain()
    body = {"address": "Carol@Example.TEST", "password": "correct horse", "quota_bytes": 1000}
    made = await api.client.post("/v1/accounts", json=body)
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/accounts/carol@example.test"
    assert "correct horse" not in made.text
    assert "password" not in made.text
    document = made.json()
    assert document["address"] == "carol@example.test"
    assert document["quota_bytes"] == 1000
    assert (document["used_bytes"], document["used_messages"], document["state"]) == (
        0,
        0,
        "active",
    )
    assert (await api.client.get("/v1/accounts/CAROL@example.test")).json() == document
    folders = await api.sql(
        "SELECT mailbox_id, name, role, uidvalidity, uidnext FROM mailboxes ORDER BY mailbox_id"
    )
    assert [tuple(row)[:3] for row in folders] == [
        (1, "INBOX", "inbox"),
        (2, "Junk", "junk"),
        (3, "Sent", "sent"),
        (4, "Trash", "trash"),
        (5, "Drafts", None),
        (6, "Archive", None),
    ], "the API of the release before knows no other roles"
    assert all(0 < row["uidvalidity"] < 2**32 and row["uidnext"] == 1 for row in folders)
    (account,) = await api.sql("SELECT id FROM accounts")
    async with pool(api.database_url) as database:
        await PostgresFolders(database).prepare(account["id"])
    shown = (await api.client.get("/v1/accounts/carol@example.test/mailboxes")).json()["items"]
    assert {
        each["name"]: each["role"] for each in shown if each["role"] != each["name"].lower()
    } == {}
    assert len(shown) == 6
    stored = (await api.sql("SELECT password_hash FROM accounts"))[0]["password_hash"]
    assert stored.startswith("$argon2id$")
    assert PasswordHasher().verify(stored, "correct horse")
    assert await outbox(api) == ["@example.test", "carol@example.test"]


async def test_an_address_made_again_gets_a_greater_uidvalidity(api: Api) -> None:
    await api.domain()
    seen: list[int] = []
    for _ in range(3):
        await api.account("carol@example.test")
        seen += [
            row["uidvalidity"]
            for row in await api.sql("SELECT min(uidvalidity) AS uidvalidity FROM mailboxes")
        ]
        assert (await api.client.delete("/v1/accounts/carol@example.test")).status_code == 204
    assert seen == sorted(set(seen))


BAD_ACCOUNTS: list[tuple[dict[str, Any], str]] = [
    ({"address": "carol", "password": "correct horse"}, "address"),
    ({"address": "c arol@example.test", "password": "correct horse"}, "address"),
    ({"address": "carol@elsewhere.test", "password": "correct horse"}, "address"),
    ({"address": "c\0@example.test", "password": "correct horse"}, "address"),
    ({"address": f"{'x' * 64}@{'.'.join(['y' * 60] * 4)}", "password": "correct horse"}, "address"),
    ({"address": "carol@example.test", "password": "short77"}, "password"),
    ({"address": "carol@example.test", "password": "p" * 257}, "password"),
    ({"address": "carol@example.test", "password": "with\nnewline"}, "password"),
    ({"address": "carol@example.test", "password": "\ud800surrogate"}, "password"),
    ({"address": "carol@example.test", "password": None}, "password"),
    ({"address": "carol@example.test"}, "password"),
    (
        {"address": "carol@example.test", "password": "correct horse", "quota_bytes": -1},
        "quota_bytes",
    ),
    (
        {"address": "carol@example.test", "password": "correct horse", "quota_bytes": "9"},
        "quota_bytes",
    ),
    (
        {"address": "carol@example.test", "password": "correct horse", "quota_bytes": 2**63},
        "quota_bytes",
    ),
    ({"address": "carol@example.test", "password": "correct horse", "admin": True}, "admin"),
]


async def test_an_account_that_cannot_be_is_refused_by_field(api: Api) -> None:
    await api.domain()
    for body, field in BAD_ACCOUNTS:
        answer = await api.post("/v1/accounts", body)
        problem(answer, 422, "invalid", field)
        assert str(body.get("password", "-")) not in answer.text.replace("application/problem", "")
    assert await api.sql("SELECT 1 FROM accounts") == []


async def test_an_address_belongs_to_one_account_or_alias(api: Api) -> None:
    await api.domain()
    await api.account("alice@example.test")
    await api.alias("info@example.test", "alice@example.test")
    for address in ("Alice@example.test", "info@example.test"):
        answer = await api.client.post(
            "/v1/accounts", json={"address": address, "password": "correct horse"}
        )
        problem(answer, 409, "conflict")
        answer = await api.client.post(
            "/v1/aliases", json={"address": address, "targets": ["alice@example.test"]}
        )
        problem(answer, 409, "conflict")


async def test_an_account_is_changed(api: Api) -> None:
    await api.domain()
    await api.account("carol@example.test", quota_bytes=5)
    path = "/v1/accounts/carol@example.test"
    before = (await api.sql("SELECT password_hash FROM accounts"))[0]["password_hash"]
    told = len(await outbox(api))
    assert (await api.client.patch(path, json={"password": "another horse"})).status_code == 200
    after = (await api.sql("SELECT password_hash FROM accounts"))[0]["password_hash"]
    assert after != before
    assert PasswordHasher().verify(after, "another horse")
    assert len(await outbox(api)) == told, "a password is no matter of the directory"
    for state in ("suspended", "receive-only", "active"):
        answer = await api.client.patch(path, json={"state": state})
        assert (answer.json()["state"], answer.json()["quota_bytes"]) == (state, 5)
    assert (await api.client.patch(path, json={"quota_bytes": None})).json()["quota_bytes"] is None
    assert (await outbox(api))[told:] == ["carol@example.test"] * 4
    for body, field in (
        ({"state": "asleep"}, "state"),
        ({"password": None}, "password"),
        ({"password": "short"}, "password"),
        ({"quota_bytes": -1}, "quota_bytes"),
        ({"address": "x@example.test"}, "address"),
    ):
        problem(await api.client.patch(path, json=body), 422, "invalid", field)
    problem(
        await api.client.patch("/v1/accounts/x@example.test", json={"state": "active"}),
        404,
        "not-found",
    )
    problem(await api.client.get("/v1/accounts/x@example.test"), 404, "not-found")
    problem(await api.client.get("/v1/accounts/nonsense"), 422, "invalid", "address")


async def test_an_account_that_something_leads_to_is_not_deleted(api: Api) -> None:
    await api.domain()
    await api.account("carol@example.test")
    await api.alias("info@example.test", "carol@example.test")
    path = "/v1/accounts/carol@example.test"
    assert "info@example.test" in problem(await api.client.delete(path), 409, "conflict")["detail"]
    await api.client.delete("/v1/aliases/info@example.test")
    await api.client.patch("/v1/domains/example.test", json={"catch_all": "carol@example.test"})
    assert "example.test" in problem(await api.client.delete(path), 409, "conflict")["detail"]
    await api.client.patch("/v1/domains/example.test", json={"catch_all": None})
    assert (await api.client.delete(path)).status_code == 204
    assert (await outbox(api))[-1] == "carol@example.test"
    problem(await api.client.delete(path), 404, "not-found")
    assert await api.sql("SELECT 1 FROM mailboxes") == []


async def test_an_address_with_slashes_and_signs_has_a_path(api: Api) -> None:
    await api.domain()
    for address, path in (
        ("a/b/messages@example.test", "/v1/accounts/a%2Fb%2Fmessages@example.test"),
        ("m?#%@example.test", "/v1/accounts/m%3F%23%25@example.test"),
        ("grüße@example.test", "/v1/accounts/gr%C3%BC%C3%9Fe@example.test"),
    ):
        made = await api.client.post(
            "/v1/accounts", json={"address": address, "password": "correct horse"}
        )
        assert made.headers["location"] == path
        assert (await api.client.get(path)).json()["address"] == address
        assert (await api.client.get(f"{path}/messages")).json()["items"] == []
        assert (await api.client.delete(path)).status_code == 204


async def test_an_alias_lives(api: Api) -> None:
    await api.domain()
    await api.account("alice@example.test")
    await api.account("bob@example.test")
    body = {"address": "Team@example.test", "targets": ["Alice@example.test", "bob@EXAMPLE.test"]}
    made = await api.client.post("/v1/aliases", json=body)
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/aliases/team@example.test"
    assert made.json()["targets"] == ["alice@example.test", "bob@example.test"]
    path = "/v1/aliases/team@example.test"
    assert (await api.client.get(path)).json() == made.json()
    changed = await api.client.patch(path, json={"targets": ["bob@example.test"]})
    assert changed.json()["targets"] == ["bob@example.test"]
    await api.alias("all@example.test", "team@example.test")
    assert "all@example.test" in problem(await api.client.delete(path), 409, "conflict")["detail"]
    assert (await api.client.delete("/v1/aliases/all@example.test")).status_code == 204
    assert (await api.client.delete(path)).status_code == 204
    problem(await api.client.get(path), 404, "not-found")
    problem(await api.client.delete(path), 404, "not-found")
    problem(await api.client.patch(path, json={"targets": ["bob@example.test"]}), 404, "not-found")
    told = await outbox(api)
    assert told[3:] == ["team@example.test"] * 2 + ["all@example.test"] * 2 + ["team@example.test"]


BAD_TARGETS: list[tuple[Any, str, str]] = [
    ([], "targets", "at least 1"),
    (["alice@example.test", "nobody@example.test"], "targets[1]", "no account or alias"),
    (["someone@other.test"], "targets[0]", "another tenant"),
    (["alice@example.test", "Alice@example.test"], "targets[1]", "twice"),
    (["alice@example.test", "nonsense"], "targets[1]", "@"),
    (["info@example.test"], "targets[0]", "leads back"),
    ([5], "targets[0]", "string"),
    ("alice@example.test", "targets", "list"),
    (["x@example.test"] * 101, "targets", "100"),
]


async def test_targets_that_cannot_be_are_refused_by_place(api: Api) -> None:
    await api.domain()
    await api.sql("INSERT INTO tenants (id, name) VALUES (gen_random_uuid(), 'other')")
    await api.sql(
        "INSERT INTO domains (tenant_id, name) SELECT id, 'other.test' FROM tenants WHERE name = 'other'"
    )
    await api.account("alice@example.test")
    for targets, field, word in BAD_TARGETS:
        answer = await api.client.post(
            "/v1/aliases", json={"address": "info@example.test", "targets": targets}
        )
        assert word in problem(answer, 422, "invalid", field)["errors"][0]["message"]


async def test_an_alias_may_lead_out_of_here(api: Api) -> None:
    await api.domain()
    await api.account("alice@example.test")
    targets = ["alice@example.test", "someone@gmail.example"]
    made = await api.client.post(
        "/v1/aliases", json={"address": "info@example.test", "targets": targets}
    )
    assert (made.status_code, made.json()["targets"]) == (201, targets)
    changed = await api.client.patch(
        "/v1/aliases/info@example.test", json={"targets": ["x@gmail.example"]}
    )
    assert changed.json()["targets"] == ["x@gmail.example"]


async def test_a_domain_that_is_made_or_removed_has_the_aliases_into_it_published_anew(
    api: Api,
) -> None:
    await api.domain()
    await api.alias("out@example.test", "someone@later.test")
    await api.alias("far@example.test", "someone@notlater.test")
    before = len(await outbox(api))
    await api.domain("later.test")
    assert (await api.client.delete("/v1/domains/later.test")).status_code == 204
    assert (await outbox(api))[before:] == ["out@example.test", "@later.test"] * 2


async def test_a_catch_all_stays_inside(api: Api) -> None:
    await api.domain()
    answer = await api.client.patch(
        "/v1/domains/example.test", json={"catch_all": "someone@gmail.example"}
    )
    problem(answer, 422, "invalid", "catch_all")


async def test_aliases_make_no_loop_and_no_endless_chain(api: Api) -> None:
    await api.domain()
    await api.account("alice@example.test")
    await api.alias("a0@example.test", "alice@example.test")
    for number in range(1, 8):
        await api.alias(f"a{number}@example.test", f"a{number - 1}@example.test")
    looping = await api.client.patch(
        "/v1/aliases/a0@example.test", json={"targets": ["a3@example.test"]}
    )
    assert "leads back" in problem(looping, 422, "invalid", "targets[0]")["errors"][0]["message"]
    body = {"address": "a8@example.test", "targets": ["alice@example.test", "a7@example.test"]}
    longest = await api.client.post("/v1/aliases", json=body)
    assert (
        "follow one another"
        in problem(longest, 422, "invalid", "targets[1]")["errors"][0]["message"]
    )
    # and a chain does not grow in its middle or at its end either
    await api.alias("tail@example.test", "alice@example.test")
    grown = await api.client.patch(
        "/v1/aliases/a0@example.test", json={"targets": ["tail@example.test"]}
    )
    problem(grown, 422, "invalid", "targets[0]")


async def test_lists_come_to_the_end_without_gaps(api: Api) -> None:
    await api.domain("a.test")
    await api.domain("b.test")
    await api.sql(
        "INSERT INTO accounts (domain_id, address, password_hash)"
        " SELECT d.id, 'u' || n || '@' || d.name, 'x' FROM domains d, generate_series(1, 7) n"
    )
    for number in range(3):
        await api.alias(f"z{number}@a.test", "u1@a.test")
    everyone = sorted(f"u{n}@{d}.test" for n in range(1, 8) for d in "ab")
    of_b = [address for address in everyone if address.endswith("@b.test")]
    for limit in (1, 3, 7, 50):
        found = await pages(api, "/v1/accounts", limit=limit)
        assert [item["address"] for item in found] == everyone
        found = await pages(api, "/v1/accounts", limit=limit, domain="B.test")
        assert [item["address"] for item in found] == of_b
        assert await pages(api, "/v1/accounts", limit=limit, domain="c.test") == []
        assert [item["name"] for item in await pages(api, "/v1/domains", limit=limit)] == [
            "a.test",
            "b.test",
        ]
        found = await pages(api, "/v1/aliases", limit=limit)
        assert [item["address"] for item in found] == [f"z{number}@a.test" for number in range(3)]


async def test_a_page_holds_while_items_come_and_go(api: Api) -> None:
    await api.domain()
    for name in ("b", "d", "f"):
        await api.account(f"{name}@example.test")
    first = (await api.client.get("/v1/accounts", params={"limit": 2})).json()
    await api.client.delete("/v1/accounts/d@example.test")
    await api.account("a@example.test")
    await api.account("e@example.test")
    rest = (
        await api.client.get("/v1/accounts", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    assert [item["address"] for item in rest["items"]] == ["e@example.test", "f@example.test"]
    assert rest["next_cursor"] is None


BAD_QUERIES: list[tuple[dict[str, Any], str]] = [
    ({"limit": 0}, "limit"),
    ({"limit": 501}, "limit"),
    ({"limit": "many"}, "limit"),
    ({"cursor": "!!"}, "cursor"),
    ({"cursor": "WzEsNV0"}, "cursor"),  # a number, where this list goes by name
    ({"cursor": "x" * 2001}, "cursor"),
    ({"domain": "a b"}, "domain"),
]


async def test_a_list_refuses_what_it_cannot_take(api: Api) -> None:
    for query, field in BAD_QUERIES:
        problem(await api.client.get("/v1/accounts", params=query), 422, "invalid", field)


async def test_a_tenant_sees_and_touches_only_its_own(api: Api) -> None:
    ours, theirs = await api.tenant("ours"), await api.tenant("theirs")
    admin, reader = (
        await api.key(Role.TENANT_ADMIN, ours),
        await api.key(Role.READ_ONLY, ours, message_content=True),
    )
    await api.domain("theirs.test", tenant="theirs")
    await api.account("eve@theirs.test")
    await api.alias("info@theirs.test", "eve@theirs.test")
    made = await api.client.post("/v1/domains", json={"name": "ours.test"}, headers=admin)
    assert (made.status_code, made.json()["tenant"]) == (201, "ours")
    body = {"address": "al@ours.test", "password": "correct horse"}
    assert (await api.client.post("/v1/accounts", json=body, headers=admin)).status_code == 201
    for who in (admin, reader):
        for path in ("/v1/domains", "/v1/accounts", "/v1/aliases"):
            assert "theirs" not in (await api.client.get(path, headers=who)).text
        for path in (
            "/v1/domains/theirs.test",
            "/v1/accounts/eve@theirs.test",
            "/v1/accounts/eve@theirs.test/messages",
            "/v1/aliases/info@theirs.test",
        ):
            problem(await api.client.get(path, headers=who), 404, "not-found")
    for path, change in (
        ("/v1/domains/theirs.test", {"plus_addressing": False}),
        ("/v1/accounts/eve@theirs.test", {"state": "suspended"}),
        ("/v1/aliases/info@theirs.test", {"targets": ["al@ours.test"]}),
    ):
        problem(await api.client.patch(path, json=change, headers=admin), 404, "not-found")
        problem(await api.client.delete(path, headers=admin), 404, "not-found")
    refused: list[tuple[str, dict[str, Any], str]] = [
        (
            "/v1/accounts",
            {"address": "mallory@theirs.test", "password": "correct horse"},
            "address",
        ),
        ("/v1/aliases", {"address": "x@theirs.test", "targets": ["al@ours.test"]}, "address"),
        ("/v1/aliases", {"address": "x@ours.test", "targets": ["eve@theirs.test"]}, "targets[0]"),
        ("/v1/domains", {"name": "more.test", "tenant": "theirs"}, "tenant"),
        ("/v1/domains", {"name": "more.test", "tenant": str(theirs)}, "tenant"),
        ("/v1/domains", {"name": "more.test", "catch_all": "eve@theirs.test"}, "catch_all"),
    ]
    for path, document, field in refused:
        problem(await api.client.post(path, json=document, headers=admin), 422, "invalid", field)
    problem(await api.client.get("/v1/dead", headers=admin), 403, "forbidden")
    everything = await api.client.get("/v1/accounts")
    assert [item["address"] for item in everything.json()["items"]] == [
        "al@ours.test",
        "eve@theirs.test",
    ]


async def test_a_platform_admin_names_a_tenant_by_name_or_id(api: Api) -> None:
    tenant = await api.tenant("acme")
    for name, given in (
        ("a.test", "acme"),
        ("b.test", str(tenant)),
        ("c.test", str(tenant).upper()),
    ):
        made = await api.client.post("/v1/domains", json={"name": name, "tenant": given})
        assert (made.status_code, made.json()["tenant"]) == (201, "acme")


async def test_a_role_does_no_more_than_it_says(api: Api) -> None:
    await api.domain()
    for role, reading in ((Role.READ_ONLY, 200), (Role.SEND_ONLY, 403)):
        who = await api.key(role)
        for path in ("/v1/domains", "/v1/domains/example.test", "/v1/accounts"):
            assert (await api.client.get(path, headers=who)).status_code == reading
        for answer in (
            await api.client.post("/v1/domains", json={"name": "x.test"}, headers=who),
            await api.client.patch("/v1/domains/example.test", json={}, headers=who),
            await api.client.delete("/v1/domains/example.test", headers=who),
            await api.client.post("/v1/dead/1/retry", headers=who),
        ):
            problem(answer, 403, "forbidden")


async def test_a_domain_shows_how_many_accounts_it_has_and_what_they_are_promised(api: Api) -> None:
    for name in ("a.test", "b.test"):
        await api.domain(name)
    await api.account("x@a.test", quota_bytes=5)
    await api.account("y@a.test", quota_bytes=7)
    await api.account("z@a.test")
    whole = (await api.client.get("/v1/domains")).json()["items"]
    assert [(each["name"], each["accounts"], each["promised_bytes"]) for each in whole] == [
        ("a.test", 3, None),
        ("b.test", 0, None),
    ]
    one = (await api.client.get("/v1/domains/a.test")).json()
    assert (one["accounts"], one["promised_bytes"]) == (3, 12)
