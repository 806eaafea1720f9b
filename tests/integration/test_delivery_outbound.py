"""Delivery of what leaves: forwards, recipients elsewhere, rewritten reverse-paths, notices, signatures, events."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
from posthorn_local.embedded import Nats
from tests.support.scene import Scene, scene

RETURN_PATH = b"Return-Path: <alice@example.test>\r\n"
MESSAGE = b"From: alice@example.test\r\nTo: bob@far.test\r\nSubject: hello\r\n\r\n.dots\r\nworld\r\n"
BODY = RETURN_PATH + MESSAGE
SENDER = "Someone@sender.example"


@pytest.fixture
async def stage(nats: Nats, database_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(nats, database_url, tmp_path / "blobs") as made:
        await made.town.domain("example.test")
        yield made


async def queued(stage: Scene, columns: str = "recipient, reverse_path, original, state, notice") -> list[Any]:
    return await stage.town.rows(f"SELECT {columns} FROM outbound_recipients ORDER BY recipient, id")


async def ended(stage: Scene) -> None:
    """Everything came to its end, and nothing was parked."""
    await stage.settled()
    assert await stage.dead.parked(0, 10) == []
    await stage.town.sums_hold()


def day() -> int:
    return int(time.time() // 86_400)


def submitted(**facts: Any) -> dict[str, Any]:
    return {"reverse_path": "alice@example.test", "role": "submission", "submitter": "alice@example.test"} | facts


async def test_a_submitted_letter_goes_to_mailboxes_and_to_the_queue_in_one_transaction(stage: Scene) -> None:
    bob = await stage.town.account("bob@example.test")
    tenant = await stage.town.value("SELECT tenant_id FROM domains")
    sent = await stage.send(BODY, "bob@example.test", "Carol@far.test", "dave@near.test", **submitted(tenant=tenant))
    await stage.deliver(1)
    await ended(stage)
    assert await stage.bodies(bob) == [BODY]
    assert await queued(stage) == [
        ("Carol@far.test", "alice@example.test", "", "queued", None),
        ("dave@near.test", "alice@example.test", "", "queued", None),
    ]
    assert await stage.town.rows("SELECT message_id, tenant_id, submitter, open FROM outbound_messages") == [
        (sent.id, tenant, "alice@example.test", 2)
    ]
    transactions = "SELECT xmin::text FROM outbound_recipients UNION SELECT xmin::text FROM mailbox_entries"
    assert len(await stage.town.rows(transactions)) == 1
    assert stage.told.wakes == 1
    assert stage.told.of(sent.id) == [
        ("delivered", {"recipients": ["bob@example.test"]}),
        ("queued", {"recipients": ["Carol@far.test", "dave@near.test"]}),
    ]


@pytest.mark.parametrize("role", ["submission", "send", "notice"])
async def test_whoever_may_send_out_has_a_letter_for_elsewhere_alone_stored_and_queued(stage: Scene, role: str) -> None:
    facts = submitted(role=role) if role != "notice" else {"role": role, "reverse_path": ""}
    await stage.send(BODY, "carol@far.test", **facts)
    await stage.deliver(1)
    await ended(stage)
    assert [row[0] for row in await queued(stage)] == ["carol@far.test"]
    assert (stage.blobs.puts, await stage.town.value("SELECT refs FROM messages")) == (1, 1)


async def test_what_came_from_outside_never_goes_elsewhere_by_itself(stage: Scene) -> None:
    await stage.send(BODY, "carol@far.test", reverse_path=SENDER, role="mx")
    await stage.deliver(1)
    await ended(stage)
    assert [row[3:] for row in await queued(stage)] == [("bounced", "failed")]
    assert await stage.town.rows("SELECT name FROM outbound_destinations") == []
    assert stage.told.wakes == 0


async def test_an_alias_forwards_under_an_address_of_its_domain_that_leads_back_to_the_sender(stage: Scene) -> None:
    alice = await stage.town.account("alice@example.test")
    await stage.town.alias("team@example.test", "out@far.test", "alice@example.test")
    sent = await stage.send(BODY, "team@example.test", reverse_path=SENDER)
    await stage.deliver(1)
    await ended(stage)
    assert await stage.bodies(alice) == [BODY]
    ((recipient, reverse_path, original, state, notice),) = await queued(stage)
    assert (recipient, original, state, notice) == ("out@far.test", "team@example.test", "queued", None)
    local, _, domain = reverse_path.rpartition("@")
    assert domain == "example.test"
    assert reverse(local.lower(), stage.secret_box.derived("srs"), day()) == SENDER.lower()
    assert await queued(stage, "sender") == [(SENDER,)]  # who is told of what the next host refuses at once
    assert await stage.town.value("SELECT tenant_id FROM outbound_messages") == await stage.town.value(
        "SELECT tenant_id FROM domains"
    )
    assert stage.told.of(sent.id)[1] == ("queued", {"recipients": ["team@example.test"]})


async def test_forwarding_keeps_the_null_reverse_path_and_uses_it_for_a_sender_without_a_domain(stage: Scene) -> None:
    await stage.town.alias("out@example.test", "out@far.test")
    for sender in ("", "www-data"):
        await stage.send(BODY, "out@example.test", reverse_path=sender)
        await stage.deliver(1)
    await ended(stage)
    assert await queued(stage, "reverse_path, state") == [("", "queued")] * 2


LONG_SENDERS = (
    "bounces+0102018f3c5a7d11-9b1e2c44-77aa-4c0e-8d1f-3c5a7d11AbC@SES.sender.example",  # VERP
    "0102018F3c5a.7d11.-.bounce_" + "x" * 73 + "@sender.example",
    '"' + "two words " * 5 + '"@sender.example',
    "SRS0=AbCd=XY=a-domain-with-a-rather-long-name.example=someone.else@forwarder.example",
    "grüße." * 9 + "@sender.example",
)


async def bounced(stage: Scene, address: str) -> Envelope:
    """A report that comes back to the address."""
    sent = await stage.send(BODY, address, reverse_path="")
    await stage.deliver(1)
    return sent


@pytest.mark.parametrize("sender", LONG_SENDERS)
async def test_a_bounce_for_a_sender_too_long_to_be_rewritten_goes_to_the_sender_as_written(
    stage: Scene, sender: str
) -> None:
    await stage.town.alias("out@example.test", "out@far.test")
    await stage.send(BODY, "out@example.test", reverse_path=sender)
    await stage.deliver(1)
    ((path,),) = await queued(stage, "reverse_path")
    assert path.startswith("SRS2=") and path.endswith("@example.test")
    report = await bounced(stage, path.lower())
    await ended(stage)
    assert set(await queued(stage)) == {
        ("out@far.test", path, "out@example.test", "queued", None),
        (sender, "", path.lower(), "queued", None),
    }
    assert stage.told.of(report.id) == [("queued", {"recipients": [path.lower()]})]


async def test_a_long_sender_that_is_not_stored_any_more_is_as_one_that_expired(stage: Scene) -> None:
    await stage.town.alias("out@example.test", "out@far.test")
    await stage.send(BODY, "out@example.test", reverse_path=LONG_SENDERS[0])
    await stage.deliver(1)
    ((path,),) = await queued(stage, "reverse_path")
    (key,) = stage.secret_box.derived("srs")
    stale = rewrite_long(LONG_SENDERS[0], "example.test", key, day() - VALID_DAYS - 1)
    reports = [await bounced(stage, stale), await bounced(stage, path.replace("@example", "@other"))]
    await stage.town.rows("DELETE FROM long_senders")
    reports.append(await bounced(stage, path))
    await ended(stage)
    assert len(await queued(stage)) == 1
    for report in reports:
        ((kind, detail),) = stage.told.of(report.id)
        assert (kind, detail["status"]) == ("bounced", "5.1.1")


async def test_a_long_sender_rewritten_here_again_and_again_is_found_behind_all_of_it(stage: Scene) -> None:
    alice = await stage.town.account("alice." + "a" * 50 + "@example.test")
    await stage.town.domain("a-second-domain.test")
    path = "Alice." + "a" * 50 + "@example.test"
    for alias in ("one@example.test", "two@a-second-domain.test", "three@example.test"):
        await stage.town.alias(alias, "out@far.test")
        await stage.send(BODY, alias, reverse_path=path)
        await stage.deliver(1)
        path = await stage.town.value("SELECT reverse_path FROM outbound_recipients ORDER BY id DESC LIMIT 1")
    made = await stage.town.rows("SELECT left(reverse_path, 5) FROM outbound_recipients ORDER BY id")
    assert made == [("SRS2=",), ("SRS0=",), ("SRS2=",)]
    await bounced(stage, path)
    await ended(stage)
    assert await stage.bodies(alice) == [BODY]


async def test_a_store_that_fails_while_a_long_sender_is_looked_up_loses_no_bounce(
    stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.town.alias("out@example.test", "out@far.test")
    await stage.send(BODY, "out@example.test", reverse_path=LONG_SENDERS[0])
    await stage.deliver(1)
    ((path,),) = await queued(stage, "reverse_path")
    faults = iter([Unavailable("postgres", "gone for a moment")])
    found = stage.mailboxes.long_senders

    async def long_senders(asked: Collection[LongSender]) -> Mapping[LongSender, str]:
        for fault in faults:
            raise fault
        return await found(asked)

    monkeypatch.setattr(stage.mailboxes, "long_senders", long_senders)
    await bounced(stage, path)
    await ended(stage)
    assert [row[0] for row in await queued(stage)] == [LONG_SENDERS[0], "out@far.test"]


async def test_a_target_that_is_reached_twice_gets_one_copy(stage: Scene) -> None:
    for name in ("a", "b"):
        await stage.town.alias(f"{name}@example.test", "out@far.test")
    tenant = await stage.town.value("SELECT tenant_id FROM domains")
    await stage.send(BODY, "a@example.test", "b@example.test", "OUT@far.test", **submitted(tenant=tenant))
    await stage.deliver(1)
    await ended(stage)
    assert await queued(stage, "recipient, original, reverse_path") == [("OUT@far.test", "", "alice@example.test")]


async def test_a_bounce_to_a_rewritten_address_finds_its_way_back(stage: Scene) -> None:
    ours = rewrite(SENDER, "example.test", stage.secret_box.derived("srs")[0], day()).lower()
    sent = await stage.send(BODY, ours, reverse_path="")
    await stage.deliver(1)
    await ended(stage)
    assert await queued(stage) == [(SENDER.lower(), "", ours, "queued", None)]
    assert stage.told.of(sent.id) == [("queued", {"recipients": [ours]})]


async def test_a_bounce_unwinds_what_was_rewritten_here_twice_down_to_a_mailbox_here(stage: Scene) -> None:
    alice = await stage.town.account("alice@example.test")
    (key,) = stage.secret_box.derived("srs")
    once = rewrite("alice@example.test", "example.test", key, day())
    twice = rewrite(once, "example.test", key, day()).lower()
    await stage.send(BODY, twice, reverse_path="")
    await stage.deliver(1)
    await ended(stage)
    assert (await stage.bodies(alice), await queued(stage)) == ([BODY], [])


def _forged(address: str) -> str:
    return address[:5] + "aaaaaaaa" + address[13:]


def _same(address: str) -> str:
    return address


@pytest.mark.parametrize(("change", "sender"), [(_forged, ""), (_same, "spam@sender.example")])
async def test_a_rewritten_address_leads_nowhere_when_forged_or_for_anything_but_bounces(
    stage: Scene, change: Callable[[str], str], sender: str
) -> None:
    ours = change(rewrite(SENDER, "example.test", stage.secret_box.derived("srs")[0], day()).lower())
    await stage.send(BODY, ours, reverse_path=sender)
    await stage.deliver(1)
    await ended(stage)
    assert await queued(stage, "state") == [("bounced",)] * bool(sender)


async def test_a_rewritten_address_at_anothers_domain_is_not_ours_to_turn_back(stage: Scene) -> None:
    theirs = rewrite(SENDER, "far.test", stage.secret_box.derived("srs")[0], day())
    await stage.send(BODY, theirs, **submitted(reverse_path=""))
    await stage.deliver(1)
    await ended(stage)
    assert await queued(stage, "recipient, original") == [(theirs, "")]


async def test_a_recipient_that_has_gone_is_dropped_when_nobody_is_to_be_told(stage: Scene) -> None:
    bob = await stage.town.account("bob@example.test")
    never = {"gone@example.test": RecipientDsn(Notify.NEVER)}
    null = await stage.send(BODY, "gone@example.test", reverse_path="")
    silent = await stage.send(BODY, "gone@example.test", "bob@example.test", reverse_path=SENDER, dsn=never)
    await stage.deliver(2)
    await ended(stage)
    assert await queued(stage) == []
    assert await stage.bodies(bob) == [BODY]
    assert await stage.town.rows("SELECT id FROM messages") == [(silent.id,)]
    for message in (null, silent):
        kind, detail = stage.told.of(message.id)[-1]
        assert (kind, detail["recipient"], detail["status"]) == ("bounced", "gone@example.test", "5.1.1")


async def test_a_sender_that_asked_is_told_of_delivery_into_a_mailbox(stage: Scene) -> None:
    await stage.town.account("bob@example.test")
    await stage.town.account("carol@example.test")
    dsn = {"bob@example.test": RecipientDsn(Notify.SUCCESS | Notify.FAILURE, "rfc822;bob@x")}
    facts = submitted(reverse_path=SENDER, dsn=dsn, envid="e1", ret="HDRS")
    await stage.send(BODY, "bob@example.test", "carol@example.test", **facts)
    await stage.deliver(1)
    await ended(stage)
    assert await queued(stage, "recipient, state, notice, orcpt, last_status, closed_at") == [
        ("bob@example.test", "delivered", "delivered", "rfc822;bob@x", "2.1.5", None)
    ]
    assert await stage.town.rows("SELECT ret, envid, open FROM outbound_messages") == [("HDRS", "e1", 1)]
    assert stage.told.wakes == 0


async def test_an_alias_to_one_place_hands_the_wish_on_and_one_to_several_is_expanded(stage: Scene) -> None:
    await stage.town.account("bob@example.test")
    await stage.town.alias("one@example.test", "one@far.test")
    await stage.town.alias("list@example.test", "bob@example.test", "two@far.test")
    success = RecipientDsn(Notify.SUCCESS)
    dsn = dict.fromkeys(("one@example.test", "list@example.test"), success)
    await stage.send(BODY, "one@example.test", "list@example.test", **submitted(reverse_path=SENDER, dsn=dsn))
    await stage.deliver(1)
    await ended(stage)
    assert await queued(stage, "recipient, state, notice, notify") == [
        ("list@example.test", "delivered", "expanded", Notify.SUCCESS),
        ("one@far.test", "queued", None, Notify.SUCCESS),
        ("two@far.test", "queued", None, Notify.NEVER),
    ]


async def enter_keys(stage: Scene, secret_box: SecretBox) -> list[DkimKey]:
    keys = []
    for algorithm in ("rsa", "ed25519"):
        private, public = generate(algorithm)
        number, began = new_id(), datetime.now(UTC) - timedelta(minutes=1)
        encrypted = secret_box.encrypt(private, f"dkim:{number}")
        facts = (number, "example.test", f"s-{algorithm}", algorithm, public, encrypted, began, None, None, began)
        keys.append(DkimKey(*facts))
    await PostgresDkimKeys(stage.town.database).rotate(None, "example.test", keys, 0)
    return keys


def verified(message: bytes, keys: list[DkimKey]) -> bool:
    def record(name: bytes, timeout: float = 5) -> bytes:
        for key in keys:
            if name.decode().startswith(f"{key.selector}._domainkey.example.test"):
                return f"v=DKIM1; k={key.algorithm}; p={base64.b64encode(key.public_key).decode()}".encode()
        return b""

    count = message.count(b"DKIM-Signature:")
    try:
        return count == len(keys) and all(dkim.DKIM(message).verify(place, dnsfunc=record) for place in range(count))
    except dkim.DKIMException:
        return False


@pytest.mark.parametrize("large", [False, True])
async def test_what_leaves_in_the_name_of_our_domain_is_signed_without_its_return_path(
    stage: Scene, large: bool
) -> None:
    keys = await enter_keys(stage, stage.secret_box)
    facts = submitted(signer="example.test", body=_facts(BODY))
    send = stage.send_large if large else stage.send
    await send(BODY, "bob@far.test", **facts)
    await stage.deliver(1)
    await ended(stage)
    signature = await stage.town.value("SELECT signature FROM outbound_messages")
    assert verified(signature.encode() + MESSAGE, keys)
    assert not verified(signature.encode() + MESSAGE.replace(b"world", b"World"), keys)


@pytest.mark.parametrize("size", [1_000, 600_000, 1_500_000])
async def test_8_bit_text_of_any_size_is_signed_in_its_7_bit_form_too(stage: Scene, size: int) -> None:
    line = "This is one more line of the text, and it ends with a greeting from Köln.\r\n".encode()
    head = (
        MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    message = head + line * (size // len(line))
    keys = await enter_keys(stage, stage.secret_box)
    send = stage.send_large if size > 512 * 1024 else stage.send
    body = RETURN_PATH + message
    await send(body, "bob@far.test", **submitted(signer="example.test", body=_facts(body)))
    await stage.deliver(1)
    await ended(stage)
    as_it_is, seven_bit = by_form(await stage.town.value("SELECT signature FROM outbound_messages"))
    assert verified(as_it_is.encode() + message, keys)
    assert verified(seven_bit.encode() + b"".join(convert(message, eight_bit=False).blocks()), keys)


def _facts(body: bytes) -> Body:
    return Body(len(body), hashlib.sha256(body).digest(), True, len(RETURN_PATH))


class _CountingSigner:
    """Signs by name, and knows how often."""

    calls = 0

    async def sign(self, domain: str, content: object) -> str:
        self.calls += 1
        return f"DKIM-Signature: d={domain}\r\n"


async def test_only_what_leaves_and_may_be_signed_is_signed(stage: Scene) -> None:
    await stage.town.account("bob@example.test")
    await stage.town.alias("out@example.test", "out@far.test")
    signer = _CountingSigner()
    deliverer = Deliverer(
        stage.mailboxes,
        stage.blobs,
        stage.dead,
        new_id=new_id,
        signer=signer,
        rewriting=stage.secret_box.derived("srs"),
    )
    await stage.send(BODY, "bob@example.test", "gone@example.test", **submitted(signer="example.test"))
    await stage.send(BODY, "bob@far.test", **submitted(signer=""))
    await stage.send(BODY, "out@example.test", reverse_path=SENDER)
    await deliverer.deliver(await stage.take(3))
    assert signer.calls == 0
    await stage.send(BODY, "bob@far.test", **submitted(signer="example.test"))
    await deliverer.deliver(await stage.take(1))
    await ended(stage)
    assert signer.calls == 1
    signed = "SELECT signature FROM outbound_messages WHERE signature <> ''"
    assert await stage.town.rows(signed) == [("DKIM-Signature: d=example.test\r\n",)]


async def test_a_domain_without_keys_sends_unsigned(stage: Scene) -> None:
    await stage.send(BODY, "bob@far.test", **submitted(signer="example.test"))
    await stage.deliver(1)
    await ended(stage)
    assert await stage.town.rows("SELECT signature FROM outbound_messages") == [("",)]


async def test_a_letter_whose_keys_do_not_open_waits_and_holds_up_no_other(stage: Scene) -> None:
    bob = await stage.town.account("bob@example.test")
    await enter_keys(stage, SecretBox([b"another key, lost long ago......"]))
    await stage.send(BODY, "carol@far.test", **submitted(signer="example.test"))
    await stage.send(BODY, "bob@example.test", **submitted(signer="example.test"))
    await stage.deliver(2)
    assert await stage.bodies(bob) == [BODY]
    assert await queued(stage) == []
    assert await stage.left() == 1  # it stays on the stream until the key is put right
    assert await stage.dead.parked(0, 10) == []


class _FaultySigner(_CountingSigner):
    """Cannot reach the keys at first."""

    async def sign(self, domain: str, content: object) -> str:
        signature = await super().sign(domain, content)
        if self.calls <= 2:
            raise Unavailable("postgres", "no connection for the keys")
        return signature


async def test_an_outage_of_the_keys_store_is_waited_out(stage: Scene) -> None:
    signer = _FaultySigner()
    deliverer = Deliverer(stage.mailboxes, stage.blobs, stage.dead, new_id=new_id, signer=signer)
    sent: list[Envelope] = [
        await stage.send(BODY, f"bob{number}@far.test", **submitted(signer="example.test")) for number in range(2)
    ]
    await deliverer.deliver(await stage.take(2))
    await ended(stage)
    assert {row[0] for row in await queued(stage, "message_id")} == {each.id for each in sent}
    assert signer.calls == 4


async def test_a_letter_whose_octets_are_missing_does_not_hold_up_the_others(stage: Scene) -> None:
    bob = await stage.town.account("bob@example.test")
    await enter_keys(stage, stage.secret_box)
    lost = await stage.send_large(BODY, "carol@far.test", **submitted(signer="example.test"))
    await stage.blobs.delete(lost.blob or "")
    for number in range(8):
        await stage.send(b"%d\r\n" % number, "bob@example.test")
    await stage.deliver(9)
    assert await stage.bodies(bob) == [b"%d\r\n" % number for number in range(8)]
    assert await stage.left() == 1  # it stays on the stream, for whenever its octets are back
    assert await stage.dead.parked(0, 10) == []
    await stage.town.sums_hold()


async def test_a_redelivered_letter_is_queued_and_told_once(stage: Scene) -> None:
    await stage.town.alias("out@example.test", "out@far.test")
    sent = await stage.send(BODY, "out@example.test", reverse_path=SENDER)
    (delivery,) = await stage.take(1)
    await stage.deliverer.deliver([delivery])
    await stage.settled()
    await stage.dead.park(delivery.octets, str(sent.id), "put back by the test")
    (parked,) = await stage.dead.parked(0, 1)
    await stage.dead.retry(parked.sequence)
    await stage.deliver(1)
    await stage.settled()
    assert len(await queued(stage)) == 1
    assert (len(stage.told.of(sent.id)), stage.told.wakes) == (1, 1)
    await stage.town.sums_hold()
