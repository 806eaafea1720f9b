"""Whose a recipient elsewhere is, when several tenants' aliases meet in one message."""

from __future__ import annotations

import hashlib

from posthorn.model.envelope import Body, Envelope
from posthorn.ports.mailboxes import Forward, Resolution
from posthorn.runtime.ids import new_id
from posthorn_delivery.sorting import sort

ONE, TWO = new_id(), new_id()
KEYS = [b"k" * 32]


def envelope(*recipients: str, role: str = "mx") -> Envelope:
    body = Body(1, hashlib.sha256(b"x").digest(), has_dot_lines=False)
    tenant = ONE if role == "submission" else None
    return Envelope(new_id(), 1_750_000_000.0, "a@far.test", recipients, body, role=role, tenant=tenant)


def test_each_forward_belongs_to_the_tenant_whose_alias_it_is() -> None:
    forwards = {
        "info@one.test": (Forward("private@mail.test", "info@one.test", ONE),),
        "info@two.test": (Forward("hidden@mail.test", "info@two.test", TWO),),
    }
    for role in ("mx", "submission"):
        found = sort(envelope(*forwards, role=role), Resolution({}, frozenset(), forwards), {}, KEYS)
        assert {one.recipient: one.tenant for one in found.outbound} == {
            "private@mail.test": ONE,
            "hidden@mail.test": TWO,
        }
        assert found.queued == ("info@one.test", "info@two.test"), "a trace names the aliases, not where they lead"


def test_what_two_tenants_forward_to_one_address_stays_each_ones_own() -> None:
    forwards = {
        name: (Forward("both@mail.test", name, tenant),) for name, tenant in (("a@one.test", ONE), ("a@two.test", TWO))
    }
    found = sort(envelope(*forwards), Resolution({}, frozenset(), forwards), {}, KEYS)
    assert {one.tenant for one in found.outbound} == {ONE, TWO}
    assert len(found.outbound) == 2


def test_a_recipient_named_by_its_sender_and_by_its_own_alias_gets_one_copy() -> None:
    forwards = {"a@one.test": (Forward("both@mail.test", "a@one.test", ONE),)}
    resolution = Resolution({}, frozenset(), forwards, frozenset({"Both@mail.test"}))
    found = sort(envelope("a@one.test", "Both@mail.test", role="submission"), resolution, {}, KEYS)
    assert [(one.recipient, one.original) for one in found.outbound] == [("Both@mail.test", "")]
