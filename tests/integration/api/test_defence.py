"""The state of the scanning tier and our own listings, from a real tier over a real NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.scan_state import NatsScanStates
from posthorn.adapters.nats.unscanned_count import NatsUnscannedCount
from posthorn.model.events import LISTED
from posthorn.ports.api_keys import Role
from posthorn.runtime.settings import NatsSettings
from posthorn_api.defence.service import DefenceService
from posthorn_api.defence.watch import ListingWatch
from posthorn_local.embedded import Nats
from posthorn_scan.engines.engine import ConfiguredEngine
from tests.support.api import Api
from tests.support.events import RecordedEvents
from tests.support.scan_env import ScriptedEngine, scanning
from tests.support.zone_lookup import Row

ADDRESS = "8.8.4.4"
ZONE: dict[str, list[Row]] = {
    "2.0.0.127.bl.test": [("A", "127.0.0.2")],
    "test.dbl.test": [("A", "127.0.1.2")],
    "2.0.0.127.refused.test": [("A", "127.255.255.254")],
    "4.4.8.8.bl.test": [("A", "127.0.0.2"), ("TXT", "see https://bl.test/")],
}
LISTS = [
    {"zone": "bl.test", "codes": {"127.0.0.2": {"points": 3}}},
    {"zone": "dbl.test", "kind": "domain", "codes": {"127.0.1.2": {"points": 3}}},
    {"zone": "refused.test", "codes": {"127.0.0.2": {"points": 3}}},
]


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"watch_addresses": (ADDRESS,)}


@pytest.fixture
async def joined(api: Api, nats: Nats) -> AsyncIterator[Api]:
    """The API, connected to NATS with its own user."""
    settings = NatsSettings.model_validate({"nats_url": nats.url_of("api")})
    async with connect(settings, "api", "api") as connection:
        api.late.scan_states.set(NatsScanStates(connection))
        api.late.unscanned.set(NatsUnscannedCount(connection))
        yield api


async def test_without_nats_and_without_the_tier_the_state_says_so(joined: Api) -> None:
    found = (await joined.client.get("/v1/defence")).json()
    assert found["scanning"] is False
    assert "nobody scans" in found["detail"]
    assert (found["engines"], found["zones"], found["resolver_up"]) == ([], [], None)
    answer = await joined.client.get("/v1/defence/listings")
    assert answer.status_code == 503


async def test_engines_zones_and_own_listings(joined: Api, nats: Nats, tmp_path: Path) -> None:
    await joined.domain("ours.test", dkim=True)
    zone: dict[str, list[Row]] = {**ZONE, "ours.test.dbl.test": [("A", "127.0.1.2")]}
    engine = ConfiguredEngine(ScriptedEngine(), seconds=60, max_bytes=1000, away="accept")
    await engine.look()
    async with scanning(
        nats, tmp_path / "blobs", zone=zone, engines=[engine], scan_blocklists=LISTS
    ):
        found = (await joined.client.get("/v1/defence")).json()
        assert found["scanning"] is True and found["resolver_up"] is True
        assert found["unscanned"] == 0
        assert found["engines"] == [{"name": "clamav", "up": True, "detail": "scripted"}]
        zones = {each["zone"]: each for each in found["zones"]}
        assert {name: each["healthy"] for name, each in zones.items()} == {
            "bl.test": True,
            "dbl.test": True,
            "refused.test": False,
        }
        assert "refused" in zones["refused.test"]["detail"]

        listed = (await joined.client.get("/v1/defence/listings")).json()
        assert listed["addresses"] == [ADDRESS]
        assert "ours.test" in listed["domains"]
        assert {(each["subject"], each["zone"]) for each in listed["listings"]} == {
            (ADDRESS, "bl.test"),
            ("ours.test", "dbl.test"),
        }
        (of_address,) = (each for each in listed["listings"] if each["subject"] == ADDRESS)
        assert of_address["reason"] == "see https://bl.test/"


async def test_only_the_platforms_keys_see_them(joined: Api) -> None:
    tenant = await joined.tenant("acme")
    for path in ("/v1/defence", "/v1/defence/listings"):
        headers = await joined.key(Role.TENANT_ADMIN, tenant)
        assert (await joined.client.get(path, headers=headers)).status_code == 403


async def test_a_new_listing_is_an_event_once(joined: Api, nats: Nats, tmp_path: Path) -> None:
    service: DefenceService = joined.defence
    events, leads = RecordedEvents(), [True]
    watch = ListingWatch(service, events, lambda: leads[0])
    assert await watch.look() == 60.0, "nobody scans: it is asked again soon"
    async with scanning(nats, tmp_path / "blobs", zone=ZONE, scan_blocklists=LISTS):
        for _ in range(2):
            assert await watch.look() > 600
        (event,) = events.events
        assert event.kind == LISTED
        assert dict(event.detail) == {
            "subject": ADDRESS,
            "zone": "bl.test",
            "code": "127.0.0.2",
            "reason": "see https://bl.test/",
        }
        about = {"subject": ADDRESS, "zone": "bl.test"}  # PosthornAddressListed goes by it
        assert REGISTRY.get_sample_value("posthorn_api_own_listings", about) == 1
        leads[0] = False
        assert await watch.look() == 60.0
        assert REGISTRY.get_sample_value("posthorn_api_own_listings", about) is None
    assert len(events.events) == 1
