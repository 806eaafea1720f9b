"""Metrics of several processes as one page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from posthorn.runtime.metrics_sum import MetricsSum

QUOTED = 'a "quoted" \\ name'


def page(messages: int, sessions: int, seconds: float, *, stressed: bool) -> str:
    registry = CollectorRegistry()
    counter = Counter("messages_total", "Messages,\nall", ["why"], registry=registry)
    counter.labels(QUOTED).inc(messages)
    Gauge("sessions", "Open sessions", registry=registry).set(sessions)
    Gauge("listen_stressed", "1 under stress", registry=registry).set(stressed)
    Histogram("taken_seconds", "Time", buckets=(1, 2), registry=registry).observe(seconds)
    return generate_latest(registry).decode()


def values(text: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines())
        if not name.startswith("#") and "_created" not in name
    }


def test_amounts_are_added_and_flags_are_not() -> None:
    made = MetricsSum()
    made.add(page(3, 10, 0.5, stressed=True))
    made.add(page(4, 20, 1.5, stressed=False))
    assert values(made.page()) == {
        'messages_total{why="a \\"quoted\\" \\\\ name"}': 7,
        "sessions": 30,
        "listen_stressed": 1,
        'taken_seconds_bucket{le="1.0"}': 1,
        'taken_seconds_bucket{le="2.0"}': 2,
        'taken_seconds_bucket{le="+Inf"}': 2,
        "taken_seconds_count": 2,
        "taken_seconds_sum": 2.0,
    }


def test_of_the_ends_of_certificates_the_last_counts() -> None:
    made = MetricsSum()
    for at in (1.8e9, 1.7e9):
        registry = CollectorRegistry()
        Gauge("tls_certificate_end_seconds", "End", registry=registry).set(at)
        made.add(generate_latest(registry).decode())
    assert values(made.page()) == {"tls_certificate_end_seconds": 1.8e9}


def test_of_a_process_that_has_ended_the_counters_are_kept() -> None:
    made = MetricsSum()
    made.add(page(3, 10, 0.5, stressed=True), counters_only=True)
    made.add(page(4, 20, 1.5, stressed=False))
    found = values(made.page())
    assert found["sessions"] == 20 and found["listen_stressed"] == 0
    assert found['messages_total{why="a \\"quoted\\" \\\\ name"}'] == 7
    assert found["taken_seconds_count"] == 2


def test_one_page_comes_back_as_it_was() -> None:
    made, given = MetricsSum(), page(3, 10, 0.5, stressed=True)
    made.add(given)
    again = MetricsSum()
    again.add(made.page())
    assert again.page() == made.page()
    assert values(made.page()) == values(given)
    titles = [line for line in given.splitlines() if line.startswith("#")]
    assert [line for line in made.page().splitlines() if line.startswith("#")] == titles
