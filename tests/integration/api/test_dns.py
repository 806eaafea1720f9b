"""The DNS of domains over HTTP: what to publish, what a name server of the tests' own says of
it, ownership, public pages."""

from __future__ import annotations

import asyncio
import plistlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import dns.zone
import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.directory_entry import RecipientStatus
from posthorn.ports.accounts import AccountState
from posthorn.ports.api_keys import Role
from posthorn.runtime.settings import NatsSettings
from posthorn.wire.address import parse_address
from posthorn_api.directory.publisher import Publisher
from posthorn_api.dns import service as dns_service
from posthorn_local.embedded import Nats
from tests.support.api import Api, problem
from tests.support.builders import PRESENCE
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS

NAME = "xn--mnchen-3ya.test"
CHALLENGE = "_posthorn-challenge.example.test"


async def records(api: Api, domain: str = "example.test") -> list[dict[str, Any]]:
    answer = await api.client.get(f"/v1/domains/{domain}/dns")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["records"]
    return found


async def checked(api: Api, domain: str = "example.test") -> dict[str, Any]:
    answer = await api.client.get(f"/v1/domains/{domain}/dns/check")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def publish(api: Api, found: list[dict[str, Any]]) -> None:
    """Publish what is asked for, as the owner of the zone would."""
    for record in found:
        values = record["values"]
        if record["type"] == "TXT":
            values = [
                " ".join(f'"{string}"' for string in strings) for strings in record["strings"]
            ]
        else:
            values = [value if value.endswith(" .") else f"{value}." for value in values]
        api.dns.add(record["name"], record["type"], *values)
    for host in (*PRESENCE.mx, PRESENCE.web):
        api.dns.add(host, "A", "192.0.2.1")
    api.dns.add("out.post.test", "A", "192.0.2.25")
    api.dns.add("out.post.test", "AAAA", "2001:db8::25")


async def demanding(api: Api, **fields: Any) -> None:
    """Have the default tenant's domains be verified, and make one."""
    answer = await api.client.patch("/v1/tenants/default", json={"verify_domains": True})
    assert answer.status_code == 200, answer.text
    await api.domain(**fields)


# records and checks


async def test_what_is_published_as_shown_is_right(api: Api) -> None:
    await api.domain()
    await api.client.post("/v1/domains/example.test/dkim/rotate", json={})
    found = await records(api)
    assert sum(record["purpose"] == "dkim" for record in found) == 2
    publish(api, found)
    answer = await checked(api)
    assert [record for record in answer["records"] if record["verdict"] != "right"] == []
    assert answer["right"] is True
    assert answer["notes"] == []


async def test_an_empty_zone_is_missing_everything_and_a_second_look_sees_what_has_come(
    api: Api,
) -> None:
    await api.domain()
    before = await checked(api)
    assert {record["verdict"] for record in before["records"]} == {"missing"}
    assert before["right"] is False
    assert any("rotate its keys" in note for note in before["notes"])
    publish(api, await records(api))
    assert (await checked(api))["right"] is True


async def test_an_international_domain_is_published_in_a_labels(api: Api) -> None:
    await api.domain("münchen.test")
    answer = await api.client.get("/v1/domains/münchen.test/dns")
    document = answer.json()
    assert (document["domain"], document["display_name"]) == (NAME, "münchen.test")
    assert all(record["name"].isascii() for record in document["records"])
    assert f"_dmarc.{NAME}" in [record["name"] for record in document["records"]]
    publish(api, document["records"])
    assert (await checked(api, "münchen.test"))["right"] is True


async def test_the_spf_record_that_is_there_is_merged_and_not_replaced(api: Api) -> None:
    await api.domain()
    api.dns.add(
        "example.test", "TXT", '"v=spf1 include:other.test " "-all"', '"site-verification=x"'
    )
    api.dns.add("other.test", "TXT", '"v=spf1 ip4:198.51.100.1 -all"')
    (spf,) = (record for record in await records(api) if record["purpose"] == "spf")
    assert spf["values"] == ["v=spf1 include:other.test ip4:192.0.2.25 ip6:2001:db8::25 -all"]
    (found,) = (record for record in (await checked(api))["records"] if record["purpose"] == "spf")
    assert found["verdict"] == "wrong"
    assert found["found"] == ["v=spf1 include:other.test -all"]
    assert found["suggestion"] == spf["values"]
    assert "does not let mail from here" in found["detail"]


async def test_the_zone_file_reads(api: Api) -> None:
    await api.domain()
    await api.client.post("/v1/domains/example.test/dkim/rotate", json={"algorithms": ["rsa"]})
    answer = await api.client.get("/v1/domains/example.test/dns", params={"format": "zone"})
    assert answer.headers["content-type"] == "text/dns; charset=utf-8"
    zone = dns.zone.from_text(answer.text, origin="example.test.", check_origin=False)
    assert zone.get_rdataset("@", "MX") is not None
    assert zone.get_rdataset("_imap._tcp", "SRV") is not None
    problem(
        await api.client.get("/v1/domains/example.test/dns?format=xml"), 422, "invalid", "format"
    )


async def test_lookups_that_fail_make_records_unknown_and_end_in_time(api: Api) -> None:
    await api.domain()
    publish(api, await records(api))
    api.dns.silence("example.test", "MX")
    api.dns.babble("_dmarc.example.test", "TXT")
    answer = await asyncio.wait_for(checked(api), BUSY_SECONDS)
    verdicts = {
        record["purpose"]: (record["verdict"], record["detail"]) for record in answer["records"]
    }
    assert verdicts["mx"][0] == "unknown"
    assert (
        verdicts["mx"][1]
        == "it cannot be known now: MX of example.test: no name server answered in time"
    )
    assert verdicts["dmarc"][0] == "unknown"
    assert verdicts["spf"][0] == "right"
    assert answer["right"] is False


async def test_a_resolver_that_fails_is_told_from_a_domain_that_does(api: Api) -> None:
    await api.domain()
    await checked(api)
    failing = list(api.dns.asked)
    for name, kind in failing:
        api.dns.fail(name, kind)
    with capture_logs() as lines:
        answer = await checked(api)  # the domain's servers fail
        assert {record["verdict"] for record in answer["records"]} == {"unknown"}
        assert not [note for note in answer["notes"] if "resolver" in note]
        api.dns.fail(".", "NS")
        for _ in range(2):
            answer = await checked(api)
            [note] = [note for note in answer["notes"] if "resolver" in note]
            assert "nothing is known of the domain's records" in note and "SERVFAIL" in note
            assert {record["verdict"] for record in answer["records"]} == {"unknown"}
        for name, kind in failing:
            api.dns.fail(name, kind, None)
        answer = await checked(api)
        assert not [note for note in answer["notes"] if "resolver" in note]
    said = [line["event"] for line in lines if "looked up" in line["event"]]
    assert said == ["no name can be looked up", "names are looked up again"]


async def test_a_check_ends_in_time_when_no_name_server_says_anything(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_service, "CHECK_SECONDS", 0.5)
    await api.domain()
    for record in await records(api):
        api.dns.silence(record["name"], record["type"])
    answer = await checked(api)
    assert {record["verdict"] for record in answer["records"]} == {"unknown"}
    assert (
        answer["records"][0]["detail"]
        == "it cannot be known now: MX of example.test: no answer in time"
    )  # the resolver would say more


async def test_a_check_asks_for_each_name_once(api: Api) -> None:
    await api.domain()
    publish(api, await records(api))
    api.dns.asked.clear()
    await checked(api)
    twice = {question: times for question, times in api.dns.asked.items() if times > 1}
    assert twice == {}


async def test_a_send_only_key_and_another_tenant_learn_nothing(api: Api) -> None:
    await api.domain()
    other = await api.key(Role.TENANT_ADMIN, await api.tenant("other"))
    for path in ("dns", "dns/check"):
        problem(
            await api.client.get(f"/v1/domains/example.test/{path}", headers=other),
            404,
            "not-found",
        )
    problem(
        await api.client.post("/v1/domains/example.test/verify", headers=other), 404, "not-found"
    )


# ownership


async def test_ownership_is_shown_by_a_record(api: Api) -> None:
    await demanding(api)
    (ownership,) = (record for record in await records(api) if record["purpose"] == "ownership")
    assert ownership["name"] == CHALLENGE

    refused = problem(await api.client.post("/v1/domains/example.test/verify"), 409, "conflict")
    assert ownership["values"][0] in refused["detail"]
    api.dns.add(CHALLENGE, "TXT", '"posthorn-verification=guess"')
    problem(await api.client.post("/v1/domains/example.test/verify"), 409, "conflict")
    api.dns.silence(CHALLENGE, "TXT")
    problem(await api.client.post("/v1/domains/example.test/verify"), 503, "unavailable")
    api.dns.silence(CHALLENGE, "TXT", 0)

    before = await api.client.get("/v1/domains/example.test")
    assert before.json()["verified_at"] is None
    publish(api, [ownership])
    answer = await api.client.post("/v1/domains/example.test/verify")
    assert answer.status_code == 200, answer.text
    assert answer.json()["verified_at"] is not None
    assert answer.headers["etag"] != before.headers["etag"]
    assert all(record["purpose"] != "ownership" for record in await records(api))
    (line,) = (await api.client.get("/v1/audit?action=domain.verify")).json()["items"]
    assert line["object"] == "example.test"

    api.dns.remove(CHALLENGE, "TXT")
    again = await api.client.post("/v1/domains/example.test/verify")
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_where_nothing_is_demanded_a_domain_is_verified_by_asking(api: Api) -> None:
    await demanding(api)
    await api.client.patch("/v1/tenants/default", json={"verify_domains": False})
    assert (await api.client.post("/v1/domains/example.test/verify")).json()[
        "verified_at"
    ] is not None
    await api.domain("second.test")
    assert (await api.client.get("/v1/domains/second.test")).json()["verified_at"] is not None


async def tenant_admin(api: Api, name: str) -> dict[str, str]:
    """Make a tenant through the API. Return what its admin shows."""
    answer = await api.client.post("/v1/tenants", json={"name": name})
    assert answer.json()["verify_domains"] is True
    body = {"name": "admin", "role": "tenant-admin", "tenant": name}
    key = (await api.client.post("/v1/api-keys", json=body)).json()["key"]
    return {"Authorization": f"Bearer {key}"}


async def test_whoever_owns_a_domain_takes_it_from_a_tenant_that_has_only_named_it(
    api: Api,
) -> None:
    squatter, owner = await tenant_admin(api, "squatter"), await tenant_admin(api, "owner")
    await api.client.post("/v1/domains", json={"name": "example.test"}, headers=squatter)
    body = {"address": "ceo@example.test", "password": "correct horse"}
    assert (await api.client.post("/v1/accounts", json=body, headers=squatter)).status_code == 201
    verify = "/v1/domains/example.test/verify"
    told = problem(
        await api.client.post("/v1/domains", json={"name": "example.test"}, headers=owner),
        409,
        "conflict",
    )
    found = re.search(r"TXT record (\"posthorn-verification=[0-9a-f]{32}\")", told["detail"])
    assert found
    assert CHALLENGE in told["detail"]
    problem(await api.client.post(verify, headers=owner), 409, "conflict")
    problem(await api.client.get("/v1/domains/example.test", headers=owner), 404, "not-found")

    api.dns.add(CHALLENGE, "TXT", found[1])
    # the record speaks for the owner alone
    problem(await api.client.post(verify, headers=squatter), 409, "conflict")
    answer = await api.client.post(verify, headers=owner)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["tenant"], answer.json()["verified_at"] is not None) == ("owner", True)
    problem(
        await api.client.get("/v1/accounts/ceo@example.test", headers=squatter), 404, "not-found"
    )
    problem(await api.client.post(verify, headers=squatter), 404, "not-found")
    problem(await api.client.post("/v1/domains/none.test/verify", headers=owner), 404, "not-found")
    for who in (squatter, owner):
        lines = (await api.client.get("/v1/audit?action=domain.verify", headers=who)).json()[
            "items"
        ]
        assert [line["object"] for line in lines] == ["example.test"]


async def test_a_domain_whose_ownership_is_shown_is_not_claimed(api: Api) -> None:
    first, second = await tenant_admin(api, "first"), await tenant_admin(api, "second")
    await api.client.post("/v1/domains", json={"name": "example.test"}, headers=first)
    answer = await api.client.get("/v1/domains/example.test/dns", headers=first)
    publish(
        api, [record for record in answer.json()["records"] if record["purpose"] == "ownership"]
    )
    assert (
        await api.client.post("/v1/domains/example.test/verify", headers=first)
    ).status_code == 200
    refused = await api.client.post("/v1/domains", json={"name": "example.test"}, headers=second)
    assert "posthorn-verification" not in problem(refused, 409, "conflict")["detail"]
    problem(
        await api.client.post("/v1/domains/example.test/verify", headers=second), 404, "not-found"
    )


async def test_a_new_tenant_cannot_turn_off_that_its_domains_are_verified(api: Api) -> None:
    admin = await tenant_admin(api, "acme")
    problem(
        await api.client.patch("/v1/tenants/acme", json={"verify_domains": False}, headers=admin),
        403,
        "forbidden",
    )
    await api.client.post("/v1/domains", json={"name": "example.test"}, headers=admin)
    problem(
        await api.client.post("/v1/domains/example.test/verify", headers=admin), 409, "conflict"
    )
    await api.client.patch("/v1/tenants/acme", json={"verify_domains": False})
    assert (
        await api.client.post("/v1/domains/example.test/verify", headers=admin)
    ).status_code == 200
    assert (await api.client.get("/v1/tenants/default")).json()["verify_domains"] is False


@asynccontextmanager
async def published(api: Api, nats: Nats) -> AsyncIterator[NatsDirectory]:
    """The directory as smtp-in reads it, with a publisher at work."""
    async with (
        pool(api.database_url) as database,
        connect_nats(NatsSettings(nats_url=SecretStr(nats.url)), "test") as connection,
    ):
        publisher = Publisher(
            PostgresDirectorySource(database), NatsDirectoryBucket(connection), 600
        )
        running = asyncio.create_task(publisher.run())
        api.publication.set(publisher)
        try:
            async with NatsDirectory(connection) as directory:
                api.directory.set(directory)
                api.ingest.set(NatsIngest(connection))
                yield directory
        finally:
            running.cancel()


async def test_a_domain_takes_and_sends_no_mail_before_it_is_verified(api: Api, nats: Nats) -> None:
    alice, team, missing = (
        parse_address(f"{name}@example.test") for name in ("alice", "team", "missing")
    )
    message = {"from": str(alice), "to": ["x@elsewhere.test"], "subject": "s", "text": "t"}
    async with published(api, nats) as directory, pool(api.database_url) as database:
        senders, mailboxes = PostgresSenders(database), PostgresMailboxes(database)
        await demanding(api)
        await api.account(str(alice))
        await api.alias(str(team), str(alice))
        await directory_says(
            directory,
            {
                alice: RecipientStatus.FOREIGN,
                team: RecipientStatus.FOREIGN,
                missing: RecipientStatus.FOREIGN,
            },
        )
        resolution = await mailboxes.resolve([str(alice), str(team)], [])
        assert resolution.elsewhere == {str(alice), str(team)}
        assert not resolution.accounts
        credentials = await senders.credentials(str(alice))
        assert credentials is not None
        assert credentials.state is AccountState.RECEIVE_ONLY
        assert not await senders.owns(credentials.account, team)
        problem(await api.client.post("/v1/send", json=message), 422, "invalid", "from")

        publish(api, await records(api))
        assert (await api.client.post("/v1/domains/example.test/verify")).status_code == 200
        wanted = {
            alice: RecipientStatus.DELIVERABLE,
            team: RecipientStatus.DELIVERABLE,
            missing: RecipientStatus.UNKNOWN,
        }
        await directory_says(directory, wanted)
        resolution = await mailboxes.resolve([str(alice), str(team)], [])
        assert not resolution.elsewhere
        assert resolution.accounts.keys() == {str(alice), str(team)}
        credentials = await senders.credentials(str(alice))
        assert credentials is not None
        assert credentials.state is AccountState.ACTIVE
        assert await senders.owns(credentials.account, team)
        assert (await api.client.post("/v1/send", json=message)).status_code == 202


async def test_naming_the_domain_of_others_takes_nothing_from_them(api: Api, nats: Nats) -> None:
    """Another tenant's alias that leads to that domain goes on leading out of here."""
    other = await api.tenant("other")
    await api.domain("good.test", tenant="other")
    await api.account("bob@good.test")
    await api.alias("out@good.test", "bob@good.test", "someone@example.test")
    async with published(api, nats), pool(api.database_url) as database:
        mailboxes = PostgresMailboxes(database)
        await demanding(api)
        await api.account("someone@example.test")
        await api.alias("late@good.test", "someone@example.test")
        resolution = await mailboxes.resolve(["out@good.test", "late@good.test"], [])
        forwards = {
            name: [forward.address for forward in found]
            for name, found in resolution.forwards.items()
        }
        assert forwards == {
            "out@good.test": ["someone@example.test"],
            "late@good.test": ["someone@example.test"],
        }
        assert list(resolution.accounts) == ["out@good.test"]
        assert len(resolution.accounts["out@good.test"]) == 1
    assert other


async def directory_says(directory: NatsDirectory, wanted: dict[Any, RecipientStatus]) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        found = {address: await directory.standing(address) for address in wanted}
        if found == wanted or time.monotonic() > deadline:
            assert found == wanted
            return
        await asyncio.sleep(0.02)


# pages for anybody


async def page(api: Api, path: str, host: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=api.url, timeout=BUSY_SECONDS, verify=False) as client:
        return await client.request(more.pop("method", "GET"), path, headers={"Host": host}, **more)


async def test_the_policy_is_served_for_domains_of_ours_alone(api: Api) -> None:
    await api.domain()
    answer = await page(api, "/.well-known/mta-sts.txt", "MTA-STS.example.test:8443")
    assert answer.text == (
        "version: STSv1\r\nmode: testing\r\nmx: mx1.post.test\r\nmx: mx2.post.test\r\nmax_age: 86400\r\n"
    )
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=300"
    document = (await api.client.get("/v1/domains/example.test/dns")).json()
    assert document["mta_sts_policy"] == answer.text
    for host in (
        "example.test",
        "mta-sts.elsewhere.test",
        "mta-sts.",
        "mta-sts.a..b",
        "[::1]",
        "mta-sts.[192.0.2.1]",
    ):
        problem(await page(api, "/.well-known/mta-sts.txt", host), 404, "not-found")


async def test_no_page_for_a_domain_that_is_not_verified(api: Api) -> None:
    await demanding(api)
    for path, host in (
        ("/.well-known/mta-sts.txt", "mta-sts.example.test"),
        ("/mail/config-v1.1.xml", "autoconfig.example.test"),
    ):
        problem(await page(api, path, host), 404, "not-found")


async def test_thunderbird_finds_its_settings(api: Api) -> None:
    await api.domain()
    by_host = await page(api, "/mail/config-v1.1.xml", "autoconfig.example.test")
    by_address = await page(
        api, "/mail/config-v1.1.xml?emailaddress=Alice%40Example.test", "127.0.0.1"
    )
    well_known = await page(
        api, "/.well-known/autoconfig/mail/config-v1.1.xml", "autoconfig.example.test"
    )
    assert by_host.text == by_address.text == well_known.text
    assert by_host.headers["content-type"] == "application/xml; charset=utf-8"
    provider = ElementTree.fromstring(by_host.text)[0]
    servers = [
        (
            server.tag,
            server.get("type"),
            *(server.findtext(tag) for tag in ("hostname", "port", "socketType")),
        )
        for server in provider
        if server.tag.endswith("Server")
    ]
    assert servers == [
        ("incomingServer", "imap", "imap.post.test", "993", "SSL"),
        ("incomingServer", "imap", "imap.post.test", "143", "STARTTLS"),
        ("incomingServer", "pop3", "pop.post.test", "995", "SSL"),
        ("outgoingServer", "smtp", "smtp.post.test", "465", "SSL"),
        ("outgoingServer", "smtp", "smtp.post.test", "587", "STARTTLS"),
    ]
    for address in ("alice@elsewhere.test", "nonsense", "a@[192.0.2.1]"):
        answer = await page(
            api, f"/mail/config-v1.1.xml?emailaddress={address}", "autoconfig.example.test"
        )
        problem(answer, 404, "not-found")


async def test_outlook_finds_its_settings(api: Api) -> None:
    await api.domain()
    question = "<Autodiscover><Request><EMailAddress>a&amp;b@example.test</EMailAddress></Request></Autodiscover>"
    host = "autodiscover.example.test"
    answer = await page(
        api, "/autodiscover/autodiscover.xml", host, method="POST", content=question
    )
    assert answer.status_code == 200, answer.text
    protocols = ElementTree.fromstring(answer.text).iter()
    found = [(part.tag.rpartition("}")[2], part.text) for part in protocols]
    assert ("LoginName", "a&b@example.test") in found
    assert [text for tag, text in found if tag == "Server"] == [
        "imap.post.test",
        "imap.post.test",
        "pop.post.test",
        "smtp.post.test",
        "smtp.post.test",
    ]
    for body in ("", "<x>", "<EMailAddress>x@elsewhere.test</EMailAddress>"):
        problem(
            await page(api, "/autodiscover/autodiscover.xml", host, method="POST", content=body),
            404,
            "not-found",
        )
    answer = await page(
        api, "/autodiscover/autodiscover.xml", host, method="POST", content="x" * 20_000
    )
    problem(answer, 413, "too-large")


async def test_apple_devices_find_a_profile(api: Api) -> None:
    await api.domain()
    path = "/mail/posthorn.mobileconfig?emailaddress="
    answer = await page(api, path + "Alice%40Example.test", "autoconfig.example.test")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-apple-aspen-config"
    assert answer.headers["cache-control"] == "no-store"
    profile = plistlib.loads(answer.content)
    (account,) = profile["PayloadContent"]
    assert (
        account["EmailAccountType"],
        account["IncomingMailServerHostName"],
        account["IncomingMailServerPortNumber"],
        account["OutgoingMailServerHostName"],
        account["OutgoingMailServerPortNumber"],
        account["EmailAddress"],
        account["IncomingMailServerUsername"],
    ) == (
        "EmailTypeIMAP",
        "imap.post.test",
        993,
        "smtp.post.test",
        465,
        "Alice@Example.test",
        "Alice@Example.test",
    )
    again = await page(api, path + "Alice%40Example.test", "autoconfig.example.test")
    assert again.content == answer.content
    assert "password" not in answer.text.lower().replace("emailauthpassword", "").replace(
        "outgoingpasswordsameasincomingpassword", ""
    )
    for address in ("alice@elsewhere.test", "nonsense", ""):
        problem(await page(api, path + address, "autoconfig.example.test"), 404, "not-found")


async def test_the_servers_for_mail_clients_come_with_the_records(api: Api) -> None:
    await api.domain()
    document = (await api.client.get("/v1/domains/example.test/dns")).json()
    assert [
        (each["protocol"], each["host"], each["port"], each["security"])
        for each in document["client_servers"]
    ] == [
        ("imap", "imap.post.test", 993, "tls"),
        ("imap", "imap.post.test", 143, "starttls"),
        ("pop3", "pop.post.test", 995, "tls"),
        ("smtp", "smtp.post.test", 465, "tls"),
        ("smtp", "smtp.post.test", 587, "starttls"),
    ]


async def test_pages_cost_one_look_up_for_many(api: Api, database_url: str) -> None:
    await api.domain()
    for _ in range(3):
        assert (
            await page(api, "/.well-known/mta-sts.txt", "mta-sts.example.test")
        ).status_code == 200
    await api.sql("DELETE FROM domains")
    assert (await page(api, "/.well-known/mta-sts.txt", "mta-sts.example.test")).status_code == 200
    problem(await page(api, "/.well-known/mta-sts.txt", "mta-sts.other.test"), 404, "not-found")


def test_presence_without_addresses_names_the_mx() -> None:
    assert replace(PRESENCE, outgoing=()).spf_mechanisms == ("mx",)
    assert replace(PRESENCE, outgoing=("192.0.2.0/24",)).spf_mechanisms == ("ip4:192.0.2.0/24",)
