"""The needs of a volume follow from the figures of a run, and agree with the limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bench.capacity import DAY_SECONDS, KIB, MIB, Assumptions, Capacity
from bench.scale import by_transaction, rise, spread

from posthorn.model.events import SHARES

PARTS = ("smtp-in", "delivery", "submission", "relay", "api", "nats", "postgres")
ASSUMED = Assumptions(
    peak_factor=2.0, use=0.5, share_out=0.5, message_bytes=4 * KIB, kept_days=10, postgres_cores=8
)


def cpu(mx: float = 0.0, **parts: float) -> dict[str, float]:
    return dict.fromkeys(PARTS, 0.0) | {"smtp-in": mx} | parts


def step(processes: int, /, **parts: float) -> dict[str, Any]:
    return {
        "smtp_in": processes,
        "delivery": 1,
        "cpu_ms_per_message": cpu(**parts),
        "puts_per_message": 0.02,
        "transactions_per_message": 0.02,
        "wal_bytes_per_message": 1000.0,
        "stream_messages_per_message": 0.125,
    }


SCALE: dict[str, Any] = {
    "message_bytes": 4 * KIB,
    "large_bytes": 64 * KIB,
    "steps": [
        step(1, mx=0.4, delivery=0.2, nats=0.1, postgres=0.1, api=0.02),
        step(8, mx=0.5, delivery=0.2, nats=0.2, postgres=0.1, api=0.02),
    ],
    "large": {"cpu_ms_per_message": cpu(mx=1.0, delivery=0.1, nats=0.7)},
    "out": {
        "cpu_ms_per_message": cpu(
            submission=0.6, relay=0.8, delivery=0.4, nats=0.2, postgres=0.3, api=0.06
        ),
        "wal_bytes_per_message": 3000.0,
        "stream_messages_per_message": 0.2,
    },
    "nats": [
        {"streams": 1, "stream_messages_per_s": 2000.0, "bytes_per_s": 8.0 * MIB},
        {"streams": 1, "stream_messages_per_s": 1000.0, "bytes_per_s": 128.0 * MIB},
        {"streams": 4, "stream_messages_per_s": 9000.0, "bytes_per_s": 900.0 * MIB},
    ],
    "postgres": [
        {"commits_per_s": 900.0, "stored_bytes_per_message": 1200.0},
        {"commits_per_s": 300.0, "stored_bytes_per_message": 700.0},
    ],
}


def test_the_dearest_step_and_the_share_of_each_direction_count() -> None:
    capacity = Capacity(SCALE, ASSUMED)
    need = capacity.need(1000 * DAY_SECONDS)
    assert (need.mean_per_s, need.peak_per_s) == (1000, 2000)
    assert need.pods == {
        "smtp-in": 2,  # 1,000/s in at 0.5 ms are half a core, used by a half: 1, and never below 2
        "submission": 2,  # 1,000/s at 0.6 ms
        "delivery": 2,
        "relay": 2,
        "api": 2,
    }
    assert need.nats_cores == pytest.approx(2000 * 0.2e-3 / 0.5)
    assert need.postgres_cores == pytest.approx(2000 * 0.2e-3 / 0.5)
    assert need.wal_bytes_per_s == pytest.approx(2000 * 2000)
    assert need.nats_publishes_per_s == pytest.approx(2000 / 8)
    assert need.puts_per_s == need.commits_per_s == pytest.approx(40)
    assert need.rows_bytes_kept == pytest.approx(1000 * DAY_SECONDS * 10 * 700)
    assert need.objects_bytes_per_day == 1000 * DAY_SECONDS * 4 * KIB
    many = capacity.need(100_000 * DAY_SECONDS)
    assert many.pods["smtp-in"] == math.ceil(100_000 * 0.5e-3 / 0.5)
    assert many.pods["relay"] == math.ceil(100_000 * 0.8e-3 / 0.5)
    assert many.network_bytes_per_s == pytest.approx(100 * need.network_bytes_per_s)


def test_bytes_cost_as_much_as_the_large_messages_showed_and_never_less_than_nothing() -> None:
    larger = Capacity(SCALE, Assumptions(message_bytes=34 * KIB))
    assert larger.cpu_seconds("smtp-in") == pytest.approx((0.5 + 0.3) / 1000)
    assert larger.cpu_seconds("nats", out=True) == pytest.approx((0.2 + 0.3) / 1000)
    assert larger.cpu_seconds("delivery") == pytest.approx(0.2 / 1000), "it was no dearer"


def test_large_messages_share_frames_with_fewer_and_use_up_a_stream_by_bytes() -> None:
    half = Capacity(SCALE, Assumptions(message_bytes=512 * KIB)).need(1e6)
    assert half.nats_publishes_per_s == pytest.approx(half.peak_per_s / 1.88)
    alone = Capacity(SCALE, Assumptions(message_bytes=2 * MIB)).need(1e6)
    assert alone.nats_publishes_per_s == pytest.approx(alone.peak_per_s)
    assert alone.streams == math.ceil(alone.peak_per_s / (128 / 2) / 0.6)


def test_at_each_limit_the_need_is_what_there_is() -> None:
    capacity = Capacity(SCALE, ASSUMED)
    limits = {limit.name: limit.per_day for limit in capacity.limits()}
    assert list(limits.values()) == sorted(limits.values())
    at = {name: capacity.need(per_day * 0.999) for name, per_day in limits.items()}
    assert at["one stream for INGEST"].streams == 1
    assert capacity.need(limits["one stream for INGEST"] * 1.001).streams == 2
    server = next(limit for limit in capacity.limits() if limit.name.endswith("with partitions"))
    assert server.per_day == pytest.approx(
        # 9,000 publishes/s of 8 messages on four streams, used by a half, twice the mean
        9000 * 8 * 0.5 / 2 * DAY_SECONDS
    )
    largest = at["the CPU of one Postgres with 8 cores"]
    assert largest.postgres_cores == pytest.approx(8, rel=0.01)
    wal = at["WAL of 200 MiB/s"]
    assert wal.wal_bytes_per_s / ASSUMED.use == pytest.approx(200 * MIB, rel=0.01)
    puts = at["3500 PUTs/s under one prefix"]
    assert puts.puts_per_s / ASSUMED.use == pytest.approx(3500, rel=0.01)
    commits = at["commits of one Postgres, four at once"]
    assert commits.commits_per_s / ASSUMED.use == pytest.approx(900, rel=0.01)
    assert at[f"{SHARES} API processes that read events"].pods["api"] == SHARES


def test_what_a_transaction_costs_is_told_apart_from_what_a_message_costs() -> None:
    steps = [
        step(1, delivery=0.2 + 5 / size, postgres=0.1 + 2 / size)
        | {"transactions_per_message": 1 / size}
        for size in (10, 20, 80)
    ]
    assert by_transaction(steps) == pytest.approx((0.3, 7.0, 0.0))
    assert spread(steps) == pytest.approx((0.3 + 0.7) / (0.3 + 7 / 80) - 1)
    steps[0]["cpu_ms_per_message"]["delivery"] *= 2
    assert by_transaction(steps)[2] > 0.1


def test_the_rise_is_that_of_the_growing_part_or_of_all_whichever_is_more() -> None:
    def step(smtp_in: float, nats: float) -> dict[str, Any]:
        cpu = {"smtp-in": smtp_in, "delivery": 1.0, "nats": nats, "postgres": 1.0, "api": 1.0}
        return {"cpu_ms_per_message": cpu}

    falling = [step(1.0, 1.0), step(0.5, 0.5)]
    assert rise(falling, "smtp_in") == 0
    own = [step(1.0, 3.0), step(1.2, 1.0)]
    assert rise(own, "smtp_in") == pytest.approx(0.2)
    assert rise(own, "delivery") == 0
    everything = [step(1.0, 1.0), step(1.0, 2.0)]
    assert rise(everything, "smtp_in") == rise(everything, "delivery") == pytest.approx(0.2)
