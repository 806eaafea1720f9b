"""Filter policies: what a document may hold, how documents combine, what follows from a verdict."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from posthorn.model.filter_decision import Sender, decide, sender_of
from posthorn.model.filter_policy import (
    DEFAULT_POLICY,
    FIELDS,
    LISTS,
    MOST_BYTES,
    MOST_ENTRIES,
    Action,
    FilterPolicy,
    Origin,
    PolicyError,
    checked,
    combined,
    merged,
    origins,
)
from posthorn.model.verdict import Rule, Verdict
from posthorn.wire.auth.results import Authentication, Dmarc, Iprev, Outcome, Policy, Spf

SHOWN = Sender("bob@example.com", "bob@example.com", "192.0.2.7", is_shown=True)
CLAIMED = Sender("bob@example.com", "x@bulk.test", "192.0.2.7", is_shown=False)


def verdict(
    points: float = 0, applied: Policy | None = None, virus: str = "", sealer: str = ""
) -> Verdict:
    dmarc = Dmarc(
        Outcome.FAIL if applied else Outcome.NONE,
        "example.com",
        record_domain="example.com",
        applied=applied,
    )
    auth = Authentication(
        iprev=Iprev(Outcome.PASS, "out.forwarder.test"),
        spf=(Spf(Outcome.PASS, "mailfrom", "lists.forwarder.test"),),
        dmarc=dmarc,
    )
    rules = (Rule("SOME", points),) if points else ()
    return Verdict(1.0, auth, rules, virus=virus, trusted_sealer=sealer)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("junk_score", "6"),
        ("junk_score", True),
        ("junk_score", 0),
        ("refuse_score", 1001),
        ("spam_action", "refuse"),
        ("virus_action", "deliver"),
        ("greylist", 1),
        ("allow", "bob@example.com"),
        ("allow", ["example"]),
        ("allow", ["@example.com"]),
        ("allow", ["a b@example.com"]),
        ("forwarders", ["bob@example.com"]),
        ("forwarders", ["192.0.2.0/24"]),
        ("allow", ["fe80::1%eth0"]),
        ("allow", ["[192.0.2.1]"]),
        ("block", [7]),
        ("colour", "red"),
    ],
)
def test_what_is_not_valid_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(PolicyError) as refused:
        checked({name: value})
    assert refused.value.field == name
    if name != "colour":
        assert "must be" in str(refused.value)
        assert merged({name: value}) == DEFAULT_POLICY, "and is ignored where it is stored"


def test_a_document_is_kept_in_canonical_form() -> None:
    document = checked(
        {"allow": [" Bob@Example.COM ", "192.0.2.1"], "junk_score": 5, "block": None}
    )
    assert document == {"allow": ["bob@example.com", "192.0.2.1/32"], "junk_score": 5.0}


def test_the_closest_document_decides_and_lists_add_up() -> None:
    policy = merged(
        {"junk_score": 4, "allow": ["a.test"], "greylist": True},
        None,
        {"junk_score": 8, "allow": ["b.test", "a.test"]},
        {"spam_action": "mark"},
    )
    assert (policy.junk_score, policy.greylist, policy.allow, policy.spam_action) == (
        8.0,
        True,
        ("a.test", "b.test"),
        Action.MARK,
    )
    assert merged(combined({"junk_score": 4}, {"allow": ["a.test"]})) == merged(
        {"junk_score": 4}, {"allow": ["a.test"]}
    )
    assert combined({"junk_score": 6.0}) == {}


_VALUES: dict[str, tuple[Any, Any]] = {
    "junk_score": (4.0, 6.0),
    "refuse_score": (20.0, 15.0),
    "spam_action": ("mark", "junk"),
    "virus_action": ("quarantine", "refuse"),
}
"""By field, one that is not the default and the default; of others False and True."""


@pytest.mark.parametrize("name", [each for each in FIELDS if each not in LISTS])
def test_each_field_is_inherited_where_a_level_is_silent(name: str) -> None:
    values = (None, *_VALUES.get(name, (False, True)))
    default = getattr(DEFAULT_POLICY, name)
    for said in itertools.product(values, repeat=4):  # system, tenant, domain, account
        levels = [{} if value is None else {name: value} for value in said]
        closest = next((value for value in reversed(said) if value is not None), default)
        assert merged(*levels) == replace(DEFAULT_POLICY, **{name: closest})
        # as the directory has it: the account's own beside one document for the others
        entry = [combined(*levels[:3]), levels[3]]
        assert merged(*entry) == merged(*levels)


@pytest.mark.parametrize(
    ("found", "policy", "action", "reason"),
    [
        (verdict(), {}, Action.DELIVER, ""),
        (None, {}, Action.DELIVER, ""),
        (None, {"block": ["example.com"]}, Action.REFUSE, "blocked"),
        (verdict(5.99), {}, Action.DELIVER, ""),
        (verdict(6), {}, Action.JUNK, "score"),
        (verdict(6), {"spam_action": "quarantine"}, Action.QUARANTINE, "score"),
        (verdict(15), {}, Action.REFUSE, "score"),
        (verdict(virus="Eicar"), {}, Action.REFUSE, "virus"),
        (verdict(virus="Eicar"), {"virus_action": "quarantine"}, Action.QUARANTINE, "virus"),
        (verdict(virus="Eicar"), {"allow": ["example.com"]}, Action.REFUSE, "virus"),
        (verdict(0, Policy.REJECT), {}, Action.REFUSE, "dmarc"),
        (verdict(0, Policy.REJECT), {"enforce_dmarc": False}, Action.DELIVER, ""),
        (verdict(0, Policy.QUARANTINE), {}, Action.JUNK, "dmarc"),
        (verdict(0, Policy.NONE), {}, Action.DELIVER, ""),
        (verdict(0, Policy.REJECT, sealer="lists.test"), {}, Action.JUNK, "dmarc"),
        (verdict(0, Policy.REJECT), {"forwarders": ["forwarder.test"]}, Action.JUNK, "dmarc"),
        (verdict(0, Policy.QUARANTINE, sealer="lists.test"), {}, Action.DELIVER, ""),
        (verdict(20), {"allow": ["192.0.2.0/24"]}, Action.DELIVER, "allowed"),
        (verdict(0, Policy.REJECT), {"allow": ["192.0.2.0/24"]}, Action.DELIVER, "allowed"),
        (verdict(20), {"allow": ["example.com"]}, Action.REFUSE, "score"),
    ],
)
def test_what_follows_from_a_verdict(
    found: Verdict | None, policy: dict[str, Any], action: Action, reason: str
) -> None:
    decision = decide(found, merged(checked(policy)), CLAIMED)
    assert (decision.action, decision.reason) == (action, reason)


def test_only_a_sender_that_is_shown_gains_by_its_name() -> None:
    allow = merged({"allow": ["example.com"]})
    assert decide(verdict(20), allow, SHOWN).action is Action.DELIVER
    assert decide(verdict(20), DEFAULT_POLICY, SHOWN, is_known=True).reason == "known"
    assert decide(verdict(20), DEFAULT_POLICY, CLAIMED, is_known=True).reason == "score"
    unprotected = FilterPolicy(protect_known=False)
    assert decide(verdict(20), unprotected, SHOWN, is_known=True).reason == "score"


def test_an_author_who_is_shown_gains_nothing_by_a_reverse_path_of_another() -> None:
    allow = merged({"allow": ["example.com", "192.0.2.0/24"]})
    eve = Sender("eve@evil.test", "bob@example.com", "203.0.113.9", is_shown=True)
    assert decide(verdict(20), allow, eve).reason == "score"
    assert decide(verdict(20), merged({"block": ["example.com"]}), eve).reason == "blocked"
    here = Sender("bob@example.com", "", "192.0.2.7", is_shown=False)
    assert decide(verdict(20), allow, here).detail == "192.0.2.0/24", "whatever stands before it"


def test_training_of_the_account_adds_its_points() -> None:
    assert decide(verdict(3), DEFAULT_POLICY, CLAIMED, extra_points=3).action is Action.JUNK
    assert decide(verdict(8), DEFAULT_POLICY, CLAIMED, extra_points=-3).action is Action.DELIVER


def test_an_engine_that_a_policy_does_not_permit_does_not_count() -> None:
    found = Verdict(1.0, rules=(Rule("OURS", 2), Rule("RSPAMD_BAD", 20)), virus="Eicar")
    assert decide(found, DEFAULT_POLICY, CLAIMED).reason == "virus"
    assert decide(found, FilterPolicy(clamav=False), CLAIMED).score == 22
    without = decide(found, FilterPolicy(clamav=False, rspamd=False), CLAIMED)
    assert (without.action, without.score) == (Action.DELIVER, 2)


@pytest.mark.parametrize(
    ("from_field", "address", "is_shown"),
    [
        ("Bob <Bob@Example.com>", "bob@example.com", True),
        ("bob@example.com", "bob@example.com", True),
        ('"bob@example.com" <x@evil.test>', "x@evil.test", False),
        ("not: quoted <bob@example.com>", "bob@example.com", True),
        ("x@sub.example.com", "x@sub.example.com", False),
        ("a <b@example.com>; c <d@evil.test>", "x@bulk.test", False),
        ("bob@example.com, eve@example.com", "bob@example.com", False),
        ("bob@example.com <eve@example.com>", "eve@example.com", False),
        ("=?utf-8?q?=3Cbob=40example.com=3E=2C?= <eve@example.com>", "eve@example.com", True),
        ("nobody", "x@bulk.test", False),
        ("", "x@bulk.test", False),
        ("\ud800 <bob@example.com>", "bob@example.com", True),
    ],
)
def test_the_author_is_who_from_names(from_field: str, address: str, is_shown: bool) -> None:
    auth = Authentication(dmarc=Dmarc(Outcome.PASS, "example.com"))
    found = sender_of(from_field, "x@bulk.test", "192.0.2.7", auth)
    assert found == Sender(address, "x@bulk.test", "192.0.2.7", is_shown)


def test_lists_are_bounded_in_a_document_and_not_in_what_stands_for_several() -> None:
    documents = [
        {"block": [f"{level}{number}.test" for number in range(MOST_ENTRIES)]} for level in "abc"
    ]
    together = merged(combined(*documents))
    assert len(together.block) == 3 * MOST_ENTRIES
    with pytest.raises(PolicyError) as refused:
        checked({"block": [*documents[0]["block"], "one.more.test"]})
    assert refused.value.field == "block"


def test_the_entry_of_a_list_that_is_not_valid_is_named() -> None:
    with pytest.raises(PolicyError) as refused:
        checked({"block": ["a.test", "nonsense"]})
    assert (refused.value.field, refused.value.index) == ("block", 1)


def test_an_entry_counts_once() -> None:
    assert checked({"block": ["A.test", "a.test."]}) == {"block": ["a.test"]}


def test_a_document_is_bounded_in_bytes() -> None:
    long = [f"{'x' * 60}.{'y' * 60}.{number}.test" for number in range(MOST_ENTRIES)]
    with pytest.raises(PolicyError) as refused:
        checked({"allow": ["a.test"], "block": long})
    assert refused.value.field == "block"
    assert str(MOST_BYTES) in str(refused.value)


def test_every_field_has_an_origin_and_a_list_one_for_each_document() -> None:
    found = origins(
        {
            "system": {"junk_score": 4, "allow": ["a.test"], "block": []},
            "tenant": None,
            "domain": {"junk_score": 8.0, "greylist": "nonsense"},
            "account": {"allow": ["b.test"], "spam_action": "mark"},
        }
    )
    assert {each.field for each in found} == set(FIELDS)
    assert Origin("junk_score", "domain", 8.0) in found
    assert Origin("spam_action", "account", "mark") in found
    assert Origin("greylist", "default", False) in found
    assert Origin("block", "default", []) in found
    assert [each for each in found if each.field == "allow"] == [
        Origin("allow", "system", ["a.test"]),
        Origin("allow", "account", ["b.test"]),
    ]
