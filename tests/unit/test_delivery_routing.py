"""Whose a recipient elsewhere is, when several tenants' aliases meet in one message."""

from __future__ import annotations

import hashlib

from posthorn.model.envelope import Body, Envelope
from posthorn.model.outbound import QueueState
from posthorn.ports.mailboxes import Forward, Resolution
from posthorn.runtime.ids import new_id
from posthorn_delivery.routing import route

ONE, TWO = new_id(), new_id()
KEYS = [b"k" * 32]


def envelope(*recipients: str, role: str = "mx") -> Envelope:
    body = Body(1, hashlib.sha256(b"x").digest(), has_dot_lines=False)
    tenant = ONE if role == "submission" else None
    return Envelope(
        new_id(), 1_750_000_000.0, "a@far.test", recipients, body, role=role, tenant=tenant
    )


def test_each_forward_belongs_to_the_tenant_whose_alias_it_is() -> None:
    forwards = {
        "info@one.test": (Forward("private@mail.test", "info@one.test", ONE),),
        "info@two.test": (Forward("hidden@mail.test", "info@two.test", TWO),),
    }
    for role in ("mx", "submission"):
        found = route(
            envelope(*forwards, role=role), Resolution({}, frozenset(), forwards), {}, KEYS
        )
        assert {one.recipient: one.tenant for one in found.outbound} == {
            "private@mail.test": ONE,
            "hidden@mail.test": TWO,
        }
        assert found.queued == ("info@one.test", "info@two.test"), (
            "a trace names the aliases, not where they lead"
        )


def test_what_two_tenants_forward_to_one_address_stays_each_ones_own() -> None:
    forwards = {
        name: (Forward("both@mail.test", name, tenant),)
        for name, tenant in (("a@one.test", ONE), ("a@two.test", TWO))
    }
    found = route(envelope(*forwards), Resolution({}, frozenset(), forwards), {}, KEYS)
    assert {one.tenant for one in found.outbound} == {ONE, TWO}
    assert len(found.outbound) == 2


def test_a_recipient_named_by_its_sender_and_by_its_own_alias_gets_one_copy() -> None:
    forwards = {"a@one.test": (Forward("both@mail.test", "a@one.test", ONE),)}
    resolution = Resolution({}, frozenset(), forwards, frozenset({"Both@mail.test"}))
    found = route(envelope("a@one.test", "Both@mail.test", role="submission"), resolution, {}, KEYS)
    assert [(one.recipient, one.original) for one in found.outbound] == [("Both@mail.test", "")]


def test_what_is_wide_is_held_under_its_own_name_and_only_once() -> None:
    resolution = Resolution({"a@one.test": (1,)}, frozenset(), wide=frozenset({"all@one.test"}))
    found = route(envelope("a@one.test", "all@one.test"), resolution, {}, KEYS)
    assert (found.accounts, found.wide, found.destinations) == ((1,), True, set())
    assert [(one.recipient, one.state, one.reverse_path) for one in found.outbound] == [
        ("all@one.test", QueueState.HELD, "a@far.test")
    ]
    assert found.queued == ("all@one.test",)


def test_the_aliases_of_one_message_are_expanded_so_far_and_single_addresses_always() -> None:
    names = [f"list{number}@one.test" for number in range(5)]
    forwards = {
        name: tuple(Forward(f"{n}.{name}.far.test", name, ONE) for n in range(60)) for name in names
    }
    forwards["one@one.test"] = (Forward("one@far.test", "one@one.test", ONE),)
    found = route(envelope(*names, "one@one.test"), Resolution({}, frozenset(), forwards), {}, KEYS)
    held = [one.recipient for one in found.outbound if one.state is QueueState.HELD]
    assert held == names[3:]
    assert len(found.outbound) == 3 * 60 + 1 + 2
    whole = route(envelope(*names), Resolution({}, frozenset(), forwards), {}, KEYS, at_once=1000)
    assert len(whole.outbound) == 300
