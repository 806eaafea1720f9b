"""The last verdict on the DNS of domains: stored on demand and in the background, filtered by, and
told as an event."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from posthorn.adapters.postgres.directory.dns_checks import PostgresDnsChecks
from posthorn.model.events import DNS_CHANGED, Event
from posthorn.ports.api_keys import Role
from posthorn.ports.dns_checks import DnsCheck, DnsState
from posthorn.ports.notifications import Notifier
from posthorn.ports.statistics import Facts
from posthorn.ports.webhooks import Webhook, WebhookState
from posthorn_api.dns.watch import DnsWatch
from posthorn_api.webhooks.matching import matched, wanted
from tests.integration.api.test_dns import checked, publish, records
from tests.support.api import Api, problem
from tests.support.databases import pool
from tests.support.events import CountedWakeUps, RecordedEvents


async def shown(api: Api, domain: str = "example.test") -> dict[str, Any]:
    """The domain."""
    answer = await api.client.get(f"/v1/domains/{domain}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(api: Api, dns: str, headers: dict[str, str] | None = None) -> list[str]:
    """Names of the domains with a state."""
    answer = await api.client.get("/v1/domains", params={"dns": dns}, headers=headers)
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()["items"]]


async def test_the_verdict_is_stored_filtered_by_and_told_when_it_changes(api: Api) -> None:
    told = RecordedEvents()
    api.late.events.set(cast("Notifier", CountedWakeUps()), told)
    await api.domain()
    await api.domain("other.test")
    fresh = await shown(api)
    assert (fresh["dns_state"], fresh["dns_checked_at"], fresh["dns_verdicts"]) == (None, None, [])
    assert await listed(api, "unchecked") == ["example.test", "other.test"]

    await checked(api)
    wrong = await shown(api)
    assert wrong["dns_state"] == "wrong"
    assert {each["verdict"] for each in wrong["dns_verdicts"]} == {"missing"}
    assert {each["purpose"] for each in wrong["dns_verdicts"]} >= {"mx", "spf", "dmarc"}
    assert told.events == []  # nothing was known before
    assert await listed(api, "wrong") == ["example.test"]
    assert await listed(api, "unchecked") == ["other.test"]

    publish(api, await records(api))
    await checked(api)
    assert (await shown(api))["dns_state"] == "right"
    assert await listed(api, "right") == ["example.test"]
    assert await listed(api, "wrong") == []
    (event,) = told.events
    assert event.kind == DNS_CHANGED
    assert (event.detail["domain"], event.detail["before"], event.detail["state"]) == (
        "example.test",
        "wrong",
        "right",
    )
    assert event.detail["records"] == []

    api.dns.fail("example.test", "MX")
    api.dns.fail("example.test", "TXT")
    await checked(api)
    assert (await shown(api))["dns_state"] == "unknown"
    assert len(told.events) == 1, "a lookup that fails changes nothing"
    api.dns.fail("example.test", "MX", None)
    api.dns.fail("example.test", "TXT", None)
    api.dns.remove("example.test", "MX")
    await checked(api)
    assert [each.detail["state"] for each in told.events] == ["right", "wrong"]
    named = told.events[1].detail["records"]
    assert {"purpose": "mx", "name": "example.test", "verdict": "missing"} in named
    # its etag is the domain's own: a check is no change of it
    assert (await shown(api))["updated_at"] == fresh["updated_at"]
    problem(await api.client.get("/v1/domains?dns=red"), 422, "invalid", "dns")


async def test_a_tenant_filters_its_own_domains_only(api: Api) -> None:
    acme = await api.tenant("acme")
    await api.domain()
    await api.domain("acme.test", tenant="acme")
    key = await api.key(Role.TENANT_ADMIN, acme)
    assert await listed(api, "unchecked", key) == ["acme.test"]
    assert await listed(api, "wrong", key) == []


async def test_domains_are_checked_in_the_background_by_turns_of_tenants(api: Api) -> None:
    acme = await api.tenant("acme")
    for number in range(3):
        await api.domain(f"d{number}.test")
    await api.domain("acme.test", tenant="acme")
    async with pool(api.database_url) as database:
        checks, rival = PostgresDnsChecks(database), PostgresDnsChecks(database)
        assert await checks.lead(60)
        assert not await rival.lead(60)
        assert set(await checks.due(2)) == {"d0.test", "acme.test"}
        assert dict(await checks.counts()) == {"unchecked": 4}
        watch = DnsWatch(api.names, checks)
        assert not await watch.round()
        assert await checks.due(10) == []
        assert dict(await checks.counts()) == {"wrong": 4}
        (first,) = await api.sql("SELECT min(due_at - now()) AS soon FROM dns_checks")
        assert first["soon"].total_seconds() > 21_600 * 0.9 - 60
        await api.sql("UPDATE dns_checks SET due_at = now() WHERE records::text LIKE '%d1.test%'")
        assert await checks.due(10) == ["d1.test"]
        await checks.postpone("d1.test", 60)
        assert await checks.due(10) == []

        # all again, but what was checked a moment ago
        key, everything = await api.key(Role.TENANT_ADMIN, acme), "/v1/domains/dns/check"
        assert (await api.client.post(everything)).json() == {"due": 0}
        await api.sql(
            "UPDATE dns_checks SET checked_at = now() - interval '6 minutes'"
            " WHERE records::text NOT LIKE '%d2.test%'"
        )
        answer = await api.client.post(everything, headers=key)
        assert (answer.status_code, answer.json()) == (202, {"due": 1})
        assert await checks.due(10) == ["acme.test"]
        of_default = {"tenant": "default"}
        assert (await api.client.post(everything, params=of_default)).json() == {"due": 2}
        assert (await api.client.post(everything)).json() == {"due": 3}
        assert set(await checks.due(10)) == {"acme.test", "d0.test", "d1.test"}
        # an older answer does not replace a later one
        late = DnsCheck(DnsState.RIGHT, datetime(2020, 1, 1, tzinfo=UTC), ())
        assert await checks.store("d1.test", late, 60) is None
        assert await checks.store("gone.test", late, 60) is None
        assert dict(await checks.counts()) == {"wrong": 4}
    answer = await api.client.delete("/v1/domains/d1.test")
    assert answer.status_code == 204
    (left,) = await api.sql("SELECT count(*) AS number FROM dns_checks")
    assert left["number"] == 3


def test_only_the_owners_webhooks_are_told() -> None:
    owner, other = UUID(int=1), UUID(int=2)
    detail = {"domain": "example.test", "tenant": str(owner), "state": "wrong"}
    event = Event(UUID(int=9), time.time(), DNS_CHANGED, detail)

    def webhook(number: int, tenant: UUID | None, domain: str | None = None) -> Webhook:
        return Webhook(
            id=UUID(int=number),
            tenant=tenant,
            url="https://hooks.test/",
            events=("*",),
            domain=domain,
            state=WebhookState.ACTIVE,
            created_at=datetime(2020, 1, 1, tzinfo=UTC),
            updated_at=datetime(2020, 1, 1, tzinfo=UTC),
            secret=b"",
        )

    webhooks = [
        webhook(11, owner),
        webhook(12, other),
        webhook(13, None),
        webhook(14, owner, "example.test"),
        webhook(15, owner, "else.test"),
    ]
    assert wanted([event], webhooks) == [event]
    told = matched([event], webhooks, Facts({}, {}, {}), {event.message: owner})
    assert [each.webhook.int for each in told] == [11, 13, 14]
    assert json.dumps(told[0].event["data"])
