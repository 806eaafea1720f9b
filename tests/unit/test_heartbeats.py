"""Heartbeats: their payload, what is kept of them, and the end of a certificate."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.heartbeats import FORGET_SECONDS, MOST_INSTANCES, NatsHeartbeats
from posthorn.model.heartbeat import (
    MAX_BYTES,
    SILENT_SECONDS,
    Heartbeat,
    HeartbeatError,
    decode_heartbeat,
    encode_heartbeat,
)
from posthorn.wire.certificate import not_after

BEAT = Heartbeat(
    "relay-1",
    "1.2.3",
    datetime(2026, 11, 29, 12, tzinfo=UTC),
    False,
    True,
    {"nats": "unavailable"},
    datetime(2027, 1, 1, tzinfo=UTC),
)


def test_a_heartbeat_survives_its_payload() -> None:
    assert decode_heartbeat(encode_heartbeat(BEAT)) == BEAT
    last = replace(BEAT, is_last=True, certificate_ends_at=None)
    assert decode_heartbeat(encode_heartbeat(last)) == last


def test_fields_of_a_later_release_are_ignored() -> None:
    document = json.loads(encode_heartbeat(BEAT)) | {"v": 2, "load": 0.5}
    assert decode_heartbeat(json.dumps(document).encode()) == BEAT


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 5000,
        b'{"instance": "a", "version": "1", "since": "yesterday", "ready": true}',
        b'{"instance": "a", "version": "1", "since": "2026-11-29T12:00:00Z", "ready": true, "reasons": 5}',
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_heartbeat_is_refused(payload: bytes) -> None:
    with pytest.raises(HeartbeatError):
        decode_heartbeat(payload)


def test_a_heartbeat_is_bounded() -> None:
    reasons = {f"{number}{'p' * 500}": "r" * 500 for number in range(50)}
    payload = encode_heartbeat(replace(BEAT, instance="i" * 500, reasons=reasons))
    assert len(payload) <= MAX_BYTES
    assert len(decode_heartbeat(payload).reasons) == 20


class _Heard:
    """What a listener keeps, by a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.listener = NatsHeartbeats(cast("Connection", _Still()), lambda: self.now)

    def take(self, part: str, **changes: Any) -> None:
        self.listener.take(f"heartbeats.{part}", encode_heartbeat(replace(BEAT, **changes)))

    def states(self) -> dict[str, bool]:
        return {
            f"{each.part} {each.beat.instance}": each.is_silent
            for each in self.listener.instances()
        }


class _Still:
    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_a_process_falls_silent_and_is_forgotten() -> None:
    heard = _Heard()
    heard.take("relay")
    heard.take("pop3", instance="pop3-1")
    assert heard.states() == {"pop3 pop3-1": False, "relay relay-1": False}
    heard.now += SILENT_SECONDS + 1
    heard.take("pop3", instance="pop3-1")
    assert heard.states() == {"pop3 pop3-1": False, "relay relay-1": True}
    heard.now += FORGET_SECONDS - 1
    assert heard.states() == {"pop3 pop3-1": True}


def test_a_process_that_ends_is_left_out_at_once() -> None:
    heard = _Heard()
    heard.take("relay")
    heard.take("relay", is_last=True)
    assert heard.states() == {}


def test_strange_heartbeats_change_nothing() -> None:
    heard = _Heard()
    heard.listener.take("heartbeats.relay", b"{}")
    assert heard.states() == {}


async def test_a_lost_connection_makes_nobody_silent() -> None:
    heard = _Heard()
    heard.take("relay")
    heard.now += 60
    await heard.listener._begin()
    assert heard.states() == {"relay relay-1": False}
    assert heard.listener.listening_since == datetime.fromtimestamp(heard.now, UTC)
    heard.now += SILENT_SECONDS + 1
    assert heard.states() == {"relay relay-1": True}


def test_processes_are_bounded_until_some_are_forgotten() -> None:
    heard = _Heard()
    for number in range(MOST_INSTANCES + 5):
        heard.take("relay", instance=str(number))
    assert len(heard.states()) == MOST_INSTANCES
    heard.now += FORGET_SECONDS + 1
    heard.take("relay", instance="new")
    assert heard.states() == {"relay new": False}


@pytest.mark.parametrize("year", [2027, 2049, 2050, 2105])
def test_the_end_of_a_certificate_is_read(year: int) -> None:
    key, end = ec.generate_private_key(ec.SECP256R1()), datetime(year, 3, 1, 4, 5, 6, tzinfo=UTC)
    name = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    der = made.public_bytes(serialization.Encoding.DER)
    assert not_after(der) == end
    for cut in range(0, 150, 7):
        with pytest.raises(ValueError, match="not a"):
            not_after(der[:cut])


def test_an_old_end_is_of_the_last_century() -> None:
    validity = b"\x17\x0d490101000000Z\x17\x0d991231235959Z"
    fields = b"\x02\x01\x01" + b"\x30\x00" + b"\x30\x00" + bytes([0x30, len(validity)]) + validity
    inner = bytes([0x30, len(fields)]) + fields
    der = bytes([0x30, len(inner)]) + inner
    assert not_after(der) == datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert not_after(der) < datetime.now(UTC) - timedelta(days=1)
