"""Blocklists: what counts as a listing, what is asked, and zones that are left out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from posthorn.runtime.blocklists import MOST_POINTS, Blocklists, BlocklistSettings, ListZone
from posthorn.wire.auth.lookup import DnsUnavailable
from tests.support.virtual_time import run_in_virtual_time


class Answers:
    """A Lookup with these A records; a name with None does not answer, with ... never does."""

    def __init__(self, **zones: Sequence[str] | None) -> None:
        self.held: dict[str, Sequence[str] | None] = {
            "2.0.0.127.bl.test": ["127.0.0.2"],
            "test.dbl.test": ["127.0.0.2"],
        }
        self.texts_held: dict[str, Sequence[bytes]] = {}
        self.silent: set[str] = set()
        self.asked: Counter[str] = Counter()

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str] | None:
        self.asked[name] += 1
        if name in self.silent:
            await asyncio.sleep(3600)
        found = self.held.get(name, ())
        if found is None:
            raise DnsUnavailable("no answer")
        return found or None

    async def texts(self, name: str) -> Sequence[bytes] | None:
        return self.texts_held.get(name)

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]] | None:
        raise AssertionError(name)

    async def names(self, address: str) -> Sequence[str] | None:
        raise AssertionError(address)


def _zone(**fields: object) -> ListZone:
    return ListZone.model_validate(
        {
            "zone": "bl.test",
            "codes": {
                "127.0.0.2": {"points": 4, "meaning": "spam"},
                "127.0.0.10-11": {"points": 2, "meaning": "dynamic"},
            },
            **fields,
        }
    )


DOMAINS = _zone(zone="dbl.test", kind="domain")


async def test_documented_codes_count_and_the_strongest_decides() -> None:
    answers = Answers()
    answers.held["9.113.0.203.bl.test"] = ["127.0.0.10", "127.0.0.2"]
    answers.held["8.8.8.8.bl.test"] = ["127.0.0.10", "127.0.0.2"]
    answers.texts_held["8.8.8.8.bl.test"] = [b"see\r\nhttps://bl.test/?8.8.8.8 \xff" + b"x" * 999]
    answers.held["bad.example.dbl.test"] = ["127.0.0.11"]
    lists = Blocklists(answers, [_zone(), DOMAINS])
    client, domain = await lists.look_up("8.8.8.8", ["Bad.example.", "bad.example", "good.test"])
    assert (client.zone, client.subject, client.code, client.points) == (
        "bl.test",
        "8.8.8.8",
        "127.0.0.2",
        4,
    )
    assert client.reason.startswith("see https://bl.test/?8.8.8.8  xxx")
    assert len(client.reason) == 200 and client.reason.isprintable()
    assert (domain.points, domain.reason) == (2, "dynamic")
    await lists.close()


@pytest.mark.parametrize("code", ["127.255.255.254", "127.0.0.3", "127.0.0.255", "8.8.4.4"])
async def test_trap_1_a_refused_question_is_no_listing(code: str) -> None:
    answers = Answers()
    answers.held["8.8.8.8.bl.test"] = [code]
    lists = Blocklists(answers, [_zone()])
    assert await lists.look_up("8.8.8.8", []) == ()
    (state,) = lists.states()
    assert not state.is_healthy and code in state.detail
    assert await lists.look_up("8.8.4.4", []) == ()
    assert "4.4.8.8.bl.test" not in answers.asked, "it is left out"
    await lists.close()


def test_trap_2_one_deadline_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers()
    answers.held["8.8.8.8.b2.test"] = ["127.0.0.2"]
    answers.held["2.0.0.127.b2.test"] = ["127.0.0.2"]
    answers.silent.add("8.8.8.8.bl.test")

    async def scene() -> None:
        lists = Blocklists(answers, [_zone(), _zone(zone="b2.test")], deadline_seconds=5)
        began = time.monotonic()
        found = await lists.look_up("8.8.8.8", [])
        assert time.monotonic() - began == pytest.approx(5)
        assert [each.zone for each in found] == ["b2.test"]
        await lists.close()

    run_in_virtual_time(scene(), monkeypatch)


async def test_no_zone_counts_before_it_was_checked() -> None:
    answers = Answers()
    answers.held |= {
        "2.0.0.127.all.test": ["127.0.0.2"],
        "1.0.0.127.all.test": ["127.0.0.2"],
        "8.8.8.8.all.test": ["127.0.0.2"],
        "8.8.8.8.bl.test": ["127.0.0.2"],
    }
    lists = Blocklists(answers, [_zone(zone="all.test"), _zone()])
    assert {each.detail for each in lists.states()} == {"not checked yet"}
    first, second = await asyncio.gather(*(lists.look_up("8.8.8.8", []) for _ in range(2)))
    assert [each.zone for each in first] == ["bl.test"]
    assert first == second
    assert answers.asked["2.0.0.127.all.test"] == 1
    await lists.close()


async def test_private_addresses_and_what_is_no_name_are_not_asked() -> None:
    answers = Answers()
    lists = Blocklists(answers, [_zone(), DOMAINS])
    for client in ("10.0.0.1", "127.0.0.1", "2001:4860::1", "::ffff:10.0.0.1", "x", ""):
        assert await lists.look_up(client, ["[8.8.8.8]", "localhost", "a b.test", ""]) == ()
    tests = {name.removesuffix(".bl.test").removesuffix(".dbl.test") for name in answers.asked}
    assert tests <= {"2.0.0.127", "1.0.0.127", "test", "invalid"}
    await lists.look_up("::ffff:8.8.8.8", [])
    assert answers.asked["8.8.8.8.bl.test"] == 1
    await lists.close()


async def test_the_health_of_zones() -> None:
    answers = Answers()
    v6 = "2.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20
    answers.held |= {
        "2.0.0.127.all.test": ["127.0.0.2"],
        "1.0.0.127.all.test": ["127.0.0.2"],
        "2.0.0.127.away.test": None,
        "2.0.0.127.no.test": ["127.255.255.254"],
        "2.0.0.127.six.test": ["127.0.0.2"],
        f"{v6}.six.test": ["127.0.0.2"],
    }
    zones = [
        _zone(),
        DOMAINS,
        *(_zone(zone=f"{name}.test") for name in ("all", "away", "no", "gone")),
        _zone(zone="six.test", ipv6=True),
        _zone(zone="odd.test", is_checked=False),
    ]
    lists = Blocklists(answers, zones)
    await lists.check()
    states = {each.zone: each.detail for each in lists.states()}
    assert states == {
        "bl.test": "",
        "dbl.test": "",
        "six.test": "",
        "odd.test": "",
        "all.test": "lists what must never be listed",
        "away.test": "does not answer: no answer",
        "no.test": "answers with the code 127.255.255.254: the question was refused",
        "gone.test": "does not list its test entry",
    }
    answers.held["2.0.0.127.away.test"] = ["127.0.0.2"]
    await lists.check()
    assert next(each.detail for each in lists.states() if each.zone == "away.test") == ""
    address = "1" + ".0" * 23 + ".0.6.8.4.1.0.0.2"
    answers.held[f"{address}.six.test"] = ["127.0.0.2"]
    found = await lists.look_up("2001:4860::1", [])
    assert [each.zone for each in found] == ["six.test"]


async def test_allow_lists_bit_masks_and_wildcards() -> None:
    answers = Answers()
    answers.held |= {
        "8.8.8.8.good.test": ["127.0.9.3"],
        "a.test.bits.test": ["127.0.0.12"],
    }
    good = _zone(
        zone="good.test", is_checked=False, codes={"127.0.*.2-3": {"points": -3, "meaning": "ok"}}
    )
    bits = _zone(
        zone="bits.test",
        kind="domain",
        is_checked=False,
        is_bit_mask=True,
        codes={
            "127.0.0.2": {"points": 5},
            "127.0.0.4": {"points": 1, "meaning": "x"},
            "127.0.0.8": {"points": 3, "meaning": "phish"},
        },
    )
    lists = Blocklists(answers, [good, bits])
    found = await lists.look_up("8.8.8.8", ["a.test"])
    assert [(each.points, each.reason) for each in found] == [(-3, "ok"), (3, "phish")]
    own = await lists.own_listings(["8.8.8.8"], ["a.test"])
    assert [each.zone for each in own] == ["bits.test"], "an allow list is no trouble"
    await lists.close()


def test_settings_that_cannot_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BlocklistSettings().scan_blocklists == (), "no zone is asked by default"
    for codes in (
        {},
        {"127.255.255.254": {"points": 1}},
        {"127.0.0.2": {"points": 6}},
        {"10.0.0.1": {"points": 1}},
    ):
        with pytest.raises(ValidationError):
            _zone(codes=codes)
    assert MOST_POINTS < 6, "no list alone crosses the Junk threshold"
    monkeypatch.setenv(
        "POSTHORN_SCAN_BLOCKLISTS",
        '[{"zone": "Bl.test.", "codes": {"127.0.0.2": {"points": 4}}}]',
    )
    (zone,) = BlocklistSettings.load().scan_blocklists
    assert zone.zone == "bl.test" and zone.codes["127.0.0.2"].points == 4
