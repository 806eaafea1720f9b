"""The stub resolver on a real unbound, and blocklists of a real rbldnsd behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorn.adapters.dns_stub import StubLookup
from posthorn.runtime.blocklists import Blocklists, ListZone
from posthorn.wire.auth.lookup import DnsUnavailable
from tests.support.dns_servers import blocklist_server, recursive_resolver

_LONG = " ".join(f'"{place:03}{"x" * 240}"' for place in range(12))
_RECORDS = (
    'example.net. TXT "v=spf1 " "-all"',
    "example.net. MX 10 MX.example.net.",
    "mx.example.net. A 192.0.2.1",
    "mx.example.net. AAAA 2001:db8::1",
    "alias.example.net. CNAME mx.example.net.",
    "1.2.0.192.in-addr.arpa. PTR mx.example.net.",
    f"long.example.net. TXT {_LONG}",
    "8.8.8.8.refused.test. A 127.255.255.254",
    "2.0.0.127.refused.test. A 127.0.0.2",
)
_ZONES = {
    "bl.test": [
        ":127.0.0.2:text of $",
        "127.0.0.2",
        "8.8.8.0/24",
        "!8.8.8.9",
    ],
    "dbl.test": [":127.0.0.2:phish", "test", ".bad.example"],
}


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("dns")
    with (
        blocklist_server(directory / "lists", _ZONES) as port,
        recursive_resolver(
            directory / "unbound",
            _RECORDS,
            # nobody serves the third
            stubs={**dict.fromkeys(_ZONES, port), "dead.test": 9},
        ) as address,
    ):
        yield address


async def test_records_of_a_real_resolver(resolver: str) -> None:
    async with StubLookup([resolver], deadline_seconds=20) as lookup:
        assert await lookup.texts("example.net") == (b"v=spf1 -all",)
        assert await lookup.exchangers("EXAMPLE.net.") == [(10, "mx.example.net")]
        assert await lookup.addresses("mx.example.net", v6=False) == ("192.0.2.1",)
        assert await lookup.addresses("mx.example.net", v6=True) == ("2001:db8::1",)
        assert await lookup.addresses("example.net", v6=True) == ()
        assert await lookup.names("192.0.2.1") == ("mx.example.net",)
        assert await lookup.texts("nobody.test") is None
        (long,) = await lookup.texts("long.example.net") or ()
        assert len(long) == 12 * 243, "over TCP"


async def test_a_zone_whose_servers_are_gone_is_unavailable(resolver: str) -> None:
    async with StubLookup([resolver], deadline_seconds=1) as lookup:
        zone = ListZone.model_validate({"zone": "dead.test", "codes": {"127.0.0.2": {"points": 1}}})
        lists = Blocklists(lookup, [zone], deadline_seconds=5)
        await lists.check()
        (state,) = lists.states()
        assert state.detail.startswith("does not answer")
        with pytest.raises(DnsUnavailable):
            await lookup.addresses("2.0.0.127.dead.test", v6=False)


async def test_real_zones(resolver: str) -> None:
    codes = {"127.0.0.2": {"points": 4, "meaning": "spam"}}
    zones = [
        ListZone.model_validate({"zone": name, "codes": codes, "kind": kind})
        for name, kind in (
            ("bl.test", "address"),
            ("dbl.test", "domain"),
            ("refused.test", "address"),
        )
    ]
    async with StubLookup([resolver], deadline_seconds=20) as lookup:
        lists = Blocklists(lookup, zones, deadline_seconds=30)
        await lists.check()
        assert {each.zone: each.is_healthy for each in lists.states()} == {
            "bl.test": True,
            "dbl.test": True,
            "refused.test": True,
        }
        found = await lists.look_up("8.8.8.8", ["www.bad.example", "good.example"])
        assert [(each.zone, each.subject, each.reason) for each in found] == [
            ("bl.test", "8.8.8.8", "text of 8.8.8.8"),
            ("dbl.test", "www.bad.example", "phish"),
        ]
        assert {each.zone: each.is_healthy for each in lists.states()}["refused.test"] is False
        assert await lists.look_up("8.8.8.9", []) == (), "an exception of the zone"
        await lists.close()
