"""Delivery of what leaves: forwards, recipients elsewhere, rewritten reverse-paths, notices,
signatures, events."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dkim
import pytest

from posthorn.adapters.dkim import generate
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.model.envelope import Body, Envelope
from posthorn.model.outbound import Notify, RecipientDsn
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailboxes import LongSender
from posthorn.ports.signing import DkimKey
from posthorn.runtime.ids import new_id
from posthorn.runtime.secret_box import SecretBox
from posthorn.wire.auth.dkim import by_form
from posthorn.wire.message.seven_bit import convert
from posthorn.wire.srs import VALID_DAYS, reverse, rewrite, rewrite_long
from posthorn_delivery.deliverer import Deliverer
from tests.support.delivery_env import DeliveryEnv

RETURN_PATH = b"Return-Path: <alice@example.test>\r\n"
MESSAGE = (
    b"From: alice@example.test\r\nTo: bob@far.test\r\nSubject: hello\r\n\r\n.dots\r\nworld\r\n"
)
BODY = RETURN_PATH + MESSAGE
SENDER = "Someone@sender.example"


@pytest.fixture
async def env(env: DeliveryEnv) -> DeliveryEnv:
    await env.seed.domain("example.test")
    return env


async def queued(
    env: DeliveryEnv, columns: str = "recipient, reverse_path, original, state, notice"
) -> list[Any]:
    return await env.seed.rows(f"SELECT {columns} FROM outbound_recipients ORDER BY recipient, id")


async def ended(env: DeliveryEnv) -> None:
    """Everything came to its end, and nothing was parked."""
    await env.settled()
    assert await env.dead.parked(0, 10) == []
    await env.seed.sums_hold()


def day() -> int:
    return int(time.time() // 86_400)


def submitted(**facts: Any) -> dict[str, Any]:
    return {
        "reverse_path": "alice@example.test",
        "role": "submission",
        "submitter": "alice@example.test",
    } | facts


async def test_a_submitted_message_goes_to_mailboxes_and_to_the_queue_in_one_transaction(
    env: DeliveryEnv,
) -> None:
    bob = await env.seed.account("bob@example.test")
    tenant = await env.seed.value("SELECT tenant_id FROM domains")
    sent = await env.send(
        BODY, "bob@example.test", "Carol@far.test", "dave@near.test", **submitted(tenant=tenant)
    )
    await env.deliver(1)
    await ended(env)
    assert await env.bodies(bob) == [BODY]
    assert await queued(env) == [
        ("Carol@far.test", "alice@example.test", "", "queued", None),
        ("dave@near.test", "alice@example.test", "", "queued", None),
    ]
    assert await env.seed.rows(
        "SELECT message_id, tenant_id, submitter, open FROM outbound_messages"
    ) == [(sent.id, tenant, "alice@example.test", 2)]
    transactions = (
        "SELECT xmin::text FROM outbound_recipients UNION SELECT xmin::text FROM mailbox_entries"
    )
    assert len(await env.seed.rows(transactions)) == 1
    assert env.wake_ups.count == 1
    assert env.events.details_of(sent.id) == [
        ("delivered", {"recipients": ["bob@example.test"]}),
        ("queued", {"recipients": ["Carol@far.test", "dave@near.test"]}),
    ]


@pytest.mark.parametrize("role", ["submission", "send", "notice"])
async def test_whoever_may_send_out_has_a_message_for_elsewhere_alone_stored_and_queued(
    env: DeliveryEnv, role: str
) -> None:
    facts = submitted(role=role) if role != "notice" else {"role": role, "reverse_path": ""}
    await env.send(BODY, "carol@far.test", **facts)
    await env.deliver(1)
    await ended(env)
    assert [row[0] for row in await queued(env)] == ["carol@far.test"]
    assert (env.blobs.puts, await env.seed.value("SELECT refs FROM messages")) == (1, 1)


async def test_what_came_from_outside_never_goes_elsewhere_by_itself(env: DeliveryEnv) -> None:
    await env.send(BODY, "carol@far.test", reverse_path=SENDER, role="mx")
    await env.deliver(1)
    await ended(env)
    assert [row[3:] for row in await queued(env)] == [("bounced", "failed")]
    assert await env.seed.rows("SELECT name FROM outbound_destinations") == []
    assert env.wake_ups.count == 0


async def test_an_alias_forwards_under_an_address_of_its_domain_that_leads_back_to_the_sender(
    env: DeliveryEnv,
) -> None:
    alice = await env.seed.account("alice@example.test")
    await env.seed.alias("team@example.test", "out@far.test", "alice@example.test")
    sent = await env.send(BODY, "team@example.test", reverse_path=SENDER)
    await env.deliver(1)
    await ended(env)
    assert await env.bodies(alice) == [BODY]
    ((recipient, reverse_path, original, state, notice),) = await queued(env)
    assert (recipient, original, state, notice) == (
        "out@far.test",
        "team@example.test",
        "queued",
        None,
    )
    local, _, domain = reverse_path.rpartition("@")
    assert domain == "example.test"
    assert reverse(local.lower(), env.secret_box.derived("srs"), day()) == SENDER.lower()
    # who is told of what the next host refuses at once
    assert await queued(env, "sender") == [(SENDER,)]
    assert await env.seed.value("SELECT tenant_id FROM outbound_messages") == await env.seed.value(
        "SELECT tenant_id FROM domains"
    )
    assert env.events.details_of(sent.id)[1] == ("queued", {"recipients": ["team@example.test"]})


async def test_forwarding_keeps_the_null_reverse_path_and_uses_it_for_a_sender_without_a_domain(
    env: DeliveryEnv,
) -> None:
    await env.seed.alias("out@example.test", "out@far.test")
    for sender in ("", "www-data"):
        await env.send(BODY, "out@example.test", reverse_path=sender)
        await env.deliver(1)
    await ended(env)
    assert await queued(env, "reverse_path, state") == [("", "queued")] * 2


LONG_SENDERS = (
    "bounces+0102018f3c5a7d11-9b1e2c44-77aa-4c0e-8d1f-3c5a7d11AbC@SES.sender.example",  # VERP
    "0102018F3c5a.7d11.-.bounce_" + "x" * 73 + "@sender.example",
    '"' + "two words " * 5 + '"@sender.example',
    "SRS0=AbCd=XY=a-domain-with-a-rather-long-name.example=someone.else@forwarder.example",
    "grüße." * 9 + "@sender.example",
)


async def bounced(env: DeliveryEnv, address: str) -> Envelope:
    """A report that comes back to the address."""
    sent = await env.send(BODY, address, reverse_path="")
    await env.deliver(1)
    return sent


@pytest.mark.parametrize("sender", LONG_SENDERS)
async def test_a_bounce_for_a_sender_too_long_to_be_rewritten_goes_to_the_sender_as_written(
    env: DeliveryEnv, sender: str
) -> None:
    await env.seed.alias("out@example.test", "out@far.test")
    await env.send(BODY, "out@example.test", reverse_path=sender)
    await env.deliver(1)
    ((path,),) = await queued(env, "reverse_path")
    assert path.startswith("SRS2=") and path.endswith("@example.test")
    report = await bounced(env, path.lower())
    await ended(env)
    assert set(await queued(env)) == {
        ("out@far.test", path, "out@example.test", "queued", None),
        (sender, "", path.lower(), "queued", None),
    }
    assert env.events.details_of(report.id) == [("queued", {"recipients": [path.lower()]})]


async def test_a_long_sender_that_is_not_stored_any_more_is_as_one_that_expired(
    env: DeliveryEnv,
) -> None:
    await env.seed.alias("out@example.test", "out@far.test")
    await env.send(BODY, "out@example.test", reverse_path=LONG_SENDERS[0])
    await env.deliver(1)
    ((path,),) = await queued(env, "reverse_path")
    (key,) = env.secret_box.derived("srs")
    stale = rewrite_long(LONG_SENDERS[0], "example.test", key, day() - VALID_DAYS - 1)
    reports = [await bounced(env, stale), await bounced(env, path.replace("@example", "@other"))]
    await env.seed.rows("DELETE FROM long_senders")
    reports.append(await bounced(env, path))
    await ended(env)
    assert len(await queued(env)) == 1
    for report in reports:
        ((kind, detail),) = env.events.details_of(report.id)
        assert (kind, detail["status"]) == ("bounced", "5.1.1")


async def test_a_long_sender_rewritten_here_again_and_again_is_found_behind_all_of_it(
    env: DeliveryEnv,
) -> None:
    alice = await env.seed.account("alice." + "a" * 50 + "@example.test")
    await env.seed.domain("a-second-domain.test")
    path = "Alice." + "a" * 50 + "@example.test"
    for alias in ("one@example.test", "two@a-second-domain.test", "three@example.test"):
        await env.seed.alias(alias, "out@far.test")
        await env.send(BODY, alias, reverse_path=path)
        await env.deliver(1)
        path = await env.seed.value(
            "SELECT reverse_path FROM outbound_recipients ORDER BY id DESC LIMIT 1"
        )
    made = await env.seed.rows("SELECT left(reverse_path, 5) FROM outbound_recipients ORDER BY id")
    assert made == [("SRS2=",), ("SRS0=",), ("SRS2=",)]
    await bounced(env, path)
    await ended(env)
    assert await env.bodies(alice) == [BODY]


async def test_a_store_that_fails_while_a_long_sender_is_looked_up_loses_no_bounce(
    env: DeliveryEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    await env.seed.alias("out@example.test", "out@far.test")
    await env.send(BODY, "out@example.test", reverse_path=LONG_SENDERS[0])
    await env.deliver(1)
    ((path,),) = await queued(env, "reverse_path")
    faults = iter([Unavailable("postgres", "gone for a moment")])
    found = env.mailboxes.long_senders

    async def long_senders(asked: Collection[LongSender]) -> Mapping[LongSender, str]:
        for fault in faults:
            raise fault
        return await found(asked)

    monkeypatch.setattr(env.mailboxes, "long_senders", long_senders)
    await bounced(env, path)
    await ended(env)
    assert [row[0] for row in await queued(env)] == [LONG_SENDERS[0], "out@far.test"]


async def test_a_target_that_is_reached_twice_gets_one_copy(env: DeliveryEnv) -> None:
    for name in ("a", "b"):
        await env.seed.alias(f"{name}@example.test", "out@far.test")
    tenant = await env.seed.value("SELECT tenant_id FROM domains")
    await env.send(
        BODY, "a@example.test", "b@example.test", "OUT@far.test", **submitted(tenant=tenant)
    )
    await env.deliver(1)
    await ended(env)
    assert await queued(env, "recipient, original, reverse_path") == [
        ("OUT@far.test", "", "alice@example.test")
    ]


async def test_a_bounce_to_a_rewritten_address_finds_its_way_back(env: DeliveryEnv) -> None:
    ours = rewrite(SENDER, "example.test", env.secret_box.derived("srs")[0], day()).lower()
    sent = await env.send(BODY, ours, reverse_path="")
    await env.deliver(1)
    await ended(env)
    assert await queued(env) == [(SENDER.lower(), "", ours, "queued", None)]
    assert env.events.details_of(sent.id) == [("queued", {"recipients": [ours]})]


async def test_a_bounce_unwinds_what_was_rewritten_here_twice_down_to_a_mailbox_here(
    env: DeliveryEnv,
) -> None:
    alice = await env.seed.account("alice@example.test")
    (key,) = env.secret_box.derived("srs")
    once = rewrite("alice@example.test", "example.test", key, day())
    twice = rewrite(once, "example.test", key, day()).lower()
    await env.send(BODY, twice, reverse_path="")
    await env.deliver(1)
    await ended(env)
    assert (await env.bodies(alice), await queued(env)) == ([BODY], [])


def _forged(address: str) -> str:
    return address[:5] + "aaaaaaaa" + address[13:]


def _same(address: str) -> str:
    return address


@pytest.mark.parametrize(("change", "sender"), [(_forged, ""), (_same, "spam@sender.example")])
async def test_a_rewritten_address_leads_nowhere_when_forged_or_for_anything_but_bounces(
    env: DeliveryEnv, change: Callable[[str], str], sender: str
) -> None:
    ours = change(rewrite(SENDER, "example.test", env.secret_box.derived("srs")[0], day()).lower())
    await env.send(BODY, ours, reverse_path=sender)
    await env.deliver(1)
    await ended(env)
    assert await queued(env, "state") == [("bounced",)] * bool(sender)


async def test_a_rewritten_address_at_anothers_domain_is_not_ours_to_turn_back(
    env: DeliveryEnv,
) -> None:
    theirs = rewrite(SENDER, "far.test", env.secret_box.derived("srs")[0], day())
    await env.send(BODY, theirs, **submitted(reverse_path=""))
    await env.deliver(1)
    await ended(env)
    assert await queued(env, "recipient, original") == [(theirs, "")]


async def test_a_recipient_that_has_gone_is_dropped_when_nobody_is_to_be_told(
    env: DeliveryEnv,
) -> None:
    bob = await env.seed.account("bob@example.test")
    never = {"gone@example.test": RecipientDsn(Notify.NEVER)}
    null = await env.send(BODY, "gone@example.test", reverse_path="")
    silent = await env.send(
        BODY, "gone@example.test", "bob@example.test", reverse_path=SENDER, dsn=never
    )
    await env.deliver(2)
    await ended(env)
    assert await queued(env) == []
    assert await env.bodies(bob) == [BODY]
    assert await env.seed.rows("SELECT id FROM messages") == [(silent.id,)]
    for message in (null, silent):
        kind, detail = env.events.details_of(message.id)[-1]
        assert (kind, detail["recipient"], detail["status"]) == (
            "bounced",
            "gone@example.test",
            "5.1.1",
        )


async def test_a_sender_that_asked_is_told_of_delivery_into_a_mailbox(env: DeliveryEnv) -> None:
    await env.seed.account("bob@example.test")
    await env.seed.account("carol@example.test")
    dsn = {"bob@example.test": RecipientDsn(Notify.SUCCESS | Notify.FAILURE, "rfc822;bob@x")}
    facts = submitted(reverse_path=SENDER, dsn=dsn, envid="e1", ret="HDRS")
    await env.send(BODY, "bob@example.test", "carol@example.test", **facts)
    await env.deliver(1)
    await ended(env)
    assert await queued(env, "recipient, state, notice, orcpt, last_status, closed_at") == [
        ("bob@example.test", "delivered", "delivered", "rfc822;bob@x", "2.1.5", None)
    ]
    assert await env.seed.rows("SELECT ret, envid, open FROM outbound_messages") == [
        ("HDRS", "e1", 1)
    ]
    assert env.wake_ups.count == 0


async def test_an_alias_to_one_place_hands_the_wish_on_and_one_to_several_is_expanded(
    env: DeliveryEnv,
) -> None:
    await env.seed.account("bob@example.test")
    await env.seed.alias("one@example.test", "one@far.test")
    await env.seed.alias("list@example.test", "bob@example.test", "two@far.test")
    success = RecipientDsn(Notify.SUCCESS)
    dsn = dict.fromkeys(("one@example.test", "list@example.test"), success)
    await env.send(
        BODY, "one@example.test", "list@example.test", **submitted(reverse_path=SENDER, dsn=dsn)
    )
    await env.deliver(1)
    await ended(env)
    assert await queued(env, "recipient, state, notice, notify") == [
        ("list@example.test", "delivered", "expanded", Notify.SUCCESS),
        ("one@far.test", "queued", None, Notify.SUCCESS),
        ("two@far.test", "queued", None, Notify.NEVER),
    ]


async def enter_keys(env: DeliveryEnv, secret_box: SecretBox) -> list[DkimKey]:
    keys = []
    for algorithm in ("rsa", "ed25519"):
        private, public = generate(algorithm)
        number, began = new_id(), datetime.now(UTC) - timedelta(minutes=1)
        encrypted = secret_box.encrypt(private, f"dkim:{number}")
        facts = (
            number,
            "example.test",
            f"s-{algorithm}",
            algorithm,
            public,
            encrypted,
            began,
            None,
            None,
            began,
        )
        keys.append(DkimKey(*facts))
    await PostgresDkimKeys(env.seed.database).rotate(None, "example.test", keys, 0)
    return keys


def verified(message: bytes, keys: list[DkimKey]) -> bool:
    def record(name: bytes, timeout: float = 5) -> bytes:
        for key in keys:
            if name.decode().startswith(f"{key.selector}._domainkey.example.test"):
                return f"v=DKIM1; k={key.algorithm}; p={base64.b64encode(key.public_key).decode()}".encode()
        return b""

    count = message.count(b"DKIM-Signature:")
    try:
        return count == len(keys) and all(
            dkim.DKIM(message).verify(place, dnsfunc=record) for place in range(count)
        )
    except dkim.DKIMException:
        return False


@pytest.mark.parametrize("large", [False, True])
async def test_what_leaves_in_the_name_of_our_domain_is_signed_without_its_return_path(
    env: DeliveryEnv, large: bool
) -> None:
    keys = await enter_keys(env, env.secret_box)
    facts = submitted(signer="example.test", body=Body.from_message(BODY, len(RETURN_PATH)))
    send = env.send_large if large else env.send
    await send(BODY, "bob@far.test", **facts)
    await env.deliver(1)
    await ended(env)
    signature = await env.seed.value("SELECT signature FROM outbound_messages")
    assert verified(signature.encode() + MESSAGE, keys)
    assert not verified(signature.encode() + MESSAGE.replace(b"world", b"World"), keys)


@pytest.mark.parametrize("size", [1_000, 600_000, 1_500_000])
async def test_8_bit_text_of_any_size_is_signed_in_its_7_bit_form_too(
    env: DeliveryEnv, size: int
) -> None:
    line = "This is one more line of the text, and it ends with a greeting from Köln.\r\n".encode()
    head = (
        MESSAGE.partition(b"\r\n\r\n")[0]
        + b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    message = head + line * (size // len(line))
    keys = await enter_keys(env, env.secret_box)
    send = env.send_large if size > 512 * 1024 else env.send
    body = RETURN_PATH + message
    await send(
        body,
        "bob@far.test",
        **submitted(signer="example.test", body=Body.from_message(body, len(RETURN_PATH))),
    )
    await env.deliver(1)
    await ended(env)
    as_it_is, seven_bit = by_form(await env.seed.value("SELECT signature FROM outbound_messages"))
    assert verified(as_it_is.encode() + message, keys)
    assert verified(seven_bit.encode() + b"".join(convert(message, eight_bit=False).blocks()), keys)


class _CountingSigner:
    """Signs by name, and knows how often."""

    calls = 0

    async def sign(self, domain: str, content: object) -> str:
        self.calls += 1
        return f"DKIM-Signature: d={domain}\r\n"


async def test_only_what_leaves_and_may_be_signed_is_signed(env: DeliveryEnv) -> None:
    await env.seed.account("bob@example.test")
    await env.seed.alias("out@example.test", "out@far.test")
    signer = _CountingSigner()
    deliverer = Deliverer(
        env.mailboxes,
        env.blobs,
        env.dead,
        new_id=new_id,
        signer=signer,
        rewriting=env.secret_box.derived("srs"),
    )
    await env.send(
        BODY, "bob@example.test", "gone@example.test", **submitted(signer="example.test")
    )
    await env.send(BODY, "bob@far.test", **submitted(signer=""))
    await env.send(BODY, "out@example.test", reverse_path=SENDER)
    await deliverer.deliver(await env.take(3))
    assert signer.calls == 0
    await env.send(BODY, "bob@far.test", **submitted(signer="example.test"))
    await deliverer.deliver(await env.take(1))
    await ended(env)
    assert signer.calls == 1
    signed = "SELECT signature FROM outbound_messages WHERE signature <> ''"
    assert await env.seed.rows(signed) == [("DKIM-Signature: d=example.test\r\n",)]


async def test_a_domain_without_keys_sends_unsigned(env: DeliveryEnv) -> None:
    await env.send(BODY, "bob@far.test", **submitted(signer="example.test"))
    await env.deliver(1)
    await ended(env)
    assert await env.seed.rows("SELECT signature FROM outbound_messages") == [("",)]


async def test_a_message_whose_keys_do_not_open_waits_and_holds_up_no_other(
    env: DeliveryEnv,
) -> None:
    bob = await env.seed.account("bob@example.test")
    await enter_keys(env, SecretBox([b"another key, lost long ago......"]))
    await env.send(BODY, "carol@far.test", **submitted(signer="example.test"))
    await env.send(BODY, "bob@example.test", **submitted(signer="example.test"))
    await env.deliver(2)
    assert await env.bodies(bob) == [BODY]
    assert await queued(env) == []
    assert await env.left() == 1  # it stays on the stream until the key is put right
    assert await env.dead.parked(0, 10) == []


class _FaultySigner(_CountingSigner):
    """Cannot reach the keys at first."""

    async def sign(self, domain: str, content: object) -> str:
        signature = await super().sign(domain, content)
        if self.calls <= 2:
            raise Unavailable("postgres", "no connection for the keys")
        return signature


async def test_an_outage_of_the_keys_store_is_waited_out(env: DeliveryEnv) -> None:
    signer = _FaultySigner()
    deliverer = Deliverer(env.mailboxes, env.blobs, env.dead, new_id=new_id, signer=signer)
    sent: list[Envelope] = [
        await env.send(BODY, f"bob{number}@far.test", **submitted(signer="example.test"))
        for number in range(2)
    ]
    await deliverer.deliver(await env.take(2))
    await ended(env)
    assert {row[0] for row in await queued(env, "message_id")} == {each.id for each in sent}
    assert signer.calls == 4


async def test_a_message_whose_octets_are_missing_does_not_hold_up_the_others(
    env: DeliveryEnv,
) -> None:
    bob = await env.seed.account("bob@example.test")
    await enter_keys(env, env.secret_box)
    lost = await env.send_large(BODY, "carol@far.test", **submitted(signer="example.test"))
    await env.blobs.delete(lost.blob or "")
    for number in range(8):
        await env.send(b"%d\r\n" % number, "bob@example.test")
    await env.deliver(9)
    assert await env.bodies(bob) == [b"%d\r\n" % number for number in range(8)]
    assert await env.left() == 1  # it stays on the stream, for whenever its octets are back
    assert await env.dead.parked(0, 10) == []
    await env.seed.sums_hold()


async def test_a_redelivered_message_is_queued_and_told_once(env: DeliveryEnv) -> None:
    await env.seed.alias("out@example.test", "out@far.test")
    sent = await env.send(BODY, "out@example.test", reverse_path=SENDER)
    (delivery,) = await env.take(1)
    await env.deliverer.deliver([delivery])
    await env.settled()
    await env.dead.park(delivery.octets, str(sent.id), "put back by the test")
    (parked,) = await env.dead.parked(0, 1)
    await env.dead.retry(parked.sequence)
    await env.deliver(1)
    await env.settled()
    assert len(await queued(env)) == 1
    assert (len(env.events.details_of(sent.id)), env.wake_ups.count) == (1, 1)
    await env.seed.sums_hold()
