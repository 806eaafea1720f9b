"""The table of targets that `make bench` prints."""

from __future__ import annotations

from typing import Any

import pytest
from bench.scale import INBOUND, OWN_PARTS
from bench.targets import TARGETS, judged, show_targets


def results(ours: float) -> dict[str, Any]:
    """The results of a run in which every figure of ours is ``ours`` and every other is 1."""
    cpu = {"cpu_ms_per_message": {"api": ours / 100, "smtp-in": ours}}
    side = {
        **cpu,
        **dict.fromkeys(("delivered_per_s", "relayed_per_s", "accepted_per_s"), ours),
        **dict.fromkeys(("puts_per_message", "transactions_per_message"), ours / 100),
        "p50_ms": ours,
    }
    peer = {
        "cpu_ms_per_message": {"all": 1.0},
        **dict.fromkeys(("delivered_per_s", "relayed_per_s", "accepted_per_s"), 1.0),
    }
    pop3 = ("sessions_per_s", "one_by_one_messages_per_s", "pipelined_messages_per_s")
    imap = (
        *("envelope_warm_us", "envelope_cold_us", "flags_us", "body_each_us", "body_all_us"),
        *("append_ms", "idle_max_ms", "idle_connection_kib"),
    )
    step = {"cpu_ms_per_message": {"all": 1.0}, "delivery": 1, "smtp_in": 4}
    return {
        "connection_per_message": {"posthorn": side, "postfix": peer},
        "connections_kept": {"posthorn": side, "postfix": peer},
        "readable_at_half_load": {"p99_ms": ours},
        "outbound": {"posthorn": side, "postfix": peer},
        "lone": {"posthorn": side, "readable": side},
        "pop3": {"posthorn": dict.fromkeys(pop3, ours), "dovecot": dict.fromkeys(pop3, 1.0)},
        "imap": {"posthorn": dict.fromkeys(imap, ours), "dovecot": dict.fromkeys(imap, 1.0)},
        "scan": {"off": {"delivered_per_s": 1.0}, "built-in": {"delivered_per_s": ours}},
        "resident_mib": {"api": ours, "postgres": 1e6},
        "resident_mib_with_idle": {"api": ours, "nats": 1e6, "idle_connections": 1000},
        "start": {"api": {"cpu_s": ours / 10}, "imap": {"cpu_s": 0.1}},
        "tracing": {"off_percent": ours, "one_in_100_percent": ours},
        "scale": {
            "steps": [step, {**step, "cpu_ms_per_message": {"all": ours}}],
            "growing": {part: [_grown(1.0), _grown(1.0 + ours)] for part in OWN_PARTS},
        },
    }


def _grown(cost: float) -> dict[str, Any]:
    return {"cpu_ms_per_message": dict.fromkeys(INBOUND, cost)}


def test_a_ratio_is_ours_over_the_peers() -> None:
    for ours in (4.0, 0.25):
        for target, figure in judged(results(ours)):
            assert figure is not None, target.what
            if target.unit.startswith("x"):
                assert figure == ours or target.what.startswith("CPU"), target.what
                assert target.is_met(figure) is ((ours == 4.0) == (target.relation == ">="))


def test_the_bound_itself_is_as_the_relation_says() -> None:
    for target in TARGETS:
        assert target.is_met(target.bound) is (target.relation != "<")
        worse = target.bound * (0.99 if target.relation == ">=" else 1.01)
        assert not target.is_met(worse)


def test_stores_are_no_services_of_ours() -> None:
    figures = {target.what: figure for target, figure in judged(results(ours=2.0))}
    assert figures["largest service at rest (PSS)"] == 2.0
    assert figures["the same, idle connections held"] == 2.0


def test_what_was_not_measured_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    part = {"pop3": results(ours=2.0)["pop3"]}
    show_targets(part)
    printed = capsys.readouterr().out
    assert printed.count("POP3") == 3
    assert f"3 of 3 met; {len(TARGETS) - 3} not measured" in printed
    show_targets({})
    assert capsys.readouterr().out == ""
