"""Every target of the project beside its figure in one run.

A ratio is ours over the peer's, measured in the same run. The targets stand here alone; the table
in docs/performance.md is made from them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.scale import rise, spread
from bench.start import TARGET_CPU_SECONDS, TARGET_RESIDENT_MIB

type Results = dict[str, Any]

IDLE_CONNECTION_KIB = 32.0
"""10,000 idle TLS connections and the process without them (85 MiB) in 400 MiB."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of one figure."""

    part: str
    """The part of the bench that measures it, as ``--only`` names it."""
    what: str
    relation: str
    """``>=``, ``<=`` or ``<``."""
    bound: float
    unit: str
    figure: Callable[[Results], float]
    """Return the figure; raises KeyError if it was not measured."""

    def is_met(self, figure: float) -> bool:
        """Return whether a figure is as wanted."""
        return _RELATIONS[self.relation](figure, self.bound)


_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
}
_POSTFIX, _DOVECOT = "x Postfix", "x Dovecot"
_ALONE, _KEPT = "connection_per_message", "connections_kept"
_STORES = ("nats", "postgres")


def _at(*path: str) -> Callable[[Results], float]:
    """Return what reads one figure."""

    def figure(results: Results) -> float:
        found: Any = results
        for name in path:
            found = found[name]
        return float(found)

    return figure


def _over(
    ours: Callable[[Results], float], theirs: Callable[[Results], float]
) -> Callable[[Results], float]:
    return lambda results: ours(results) / theirs(results)


def _ratio(part: str, key: str, peer: str) -> Callable[[Results], float]:
    return _over(_at(part, "posthorn", key), _at(part, peer, key))


def _cpu_ratio(part: str) -> Callable[[Results], float]:
    def cpu(side: str) -> Callable[[Results], float]:
        return lambda results: float(sum(results[part][side]["cpu_ms_per_message"].values()))

    return _over(cpu("posthorn"), cpu("postfix"))


def _most_inbound(*path: str) -> Callable[[Results], float]:
    return lambda results: max(_at(part, "posthorn", *path)(results) for part in (_ALONE, _KEPT))


def _largest(key: str) -> Callable[[Results], float]:
    """The MiB of the largest service; the stores are not services of ours."""
    return lambda results: max(
        float(mib)
        for name, mib in results[key].items()
        if name not in ("idle_connections", *_STORES)
    )


def _slowest(results: Results) -> float:
    return max(float(one["cpu_s"]) for one in results["start"].values())


def _apart(part: str, processes: int) -> Callable[[Results], float]:
    """The spread of the steps with so many processes of a part."""
    return lambda results: spread(
        [step for step in results["scale"]["steps"] if step[part] == processes]
    )


def _rise(part: str) -> Callable[[Results], float]:
    """How much dearer a message is as a part and its load grow."""
    return lambda results: rise(results["scale"]["growing"][part], part)


def _inbound() -> Iterator[Target]:
    for form, key in (("a connection per message", _ALONE), ("connections kept", _KEPT)):
        rate = _ratio(key, "delivered_per_s", "postfix")
        yield Target("inbound", f"delivered/s, {form}", ">=", 2.0, _POSTFIX, rate)
        yield Target("inbound", f"CPU per message, {form}", "<=", 0.5, _POSTFIX, _cpu_ratio(key))
    for what in ("PUTs", "transactions"):
        most = _most_inbound(f"{what.lower()}_per_message")
        yield Target("inbound", f"{what} per message", "<", 0.05, "", most)
    events = _most_inbound("cpu_ms_per_message", "api")
    yield Target("inbound", "events in api, CPU per message", "<", 0.05, "ms", events)
    readable = _at("readable_at_half_load", "p99_ms")
    yield Target("inbound", "250 to readable at half load, p99", "<", 250, "ms", readable)


def _outbound() -> Iterator[Target]:
    sink = _ratio("outbound", "relayed_per_s", "postfix")
    accepted = _ratio("outbound", "accepted_per_s", "postfix")
    cpu = _cpu_ratio("outbound")
    yield Target("outbound", "submission to the sink/s", ">=", 1.5, _POSTFIX, sink)
    yield Target("outbound", "accepted by submission/s", ">=", 1.2, _POSTFIX, accepted)
    yield Target("outbound", "CPU per message, submission to the sink", "<=", 0.7, _POSTFIX, cpu)
    lone, readable = _at("lone", "posthorn", "p50_ms"), _at("lone", "readable", "p50_ms")
    yield Target("lone", "a lone message, 250 to the next host, p50", "<", 10, "ms", lone)
    yield Target("lone", "a lone message, 250 to readable, p50", "<", 15, "ms", readable)


def _mailboxes() -> Iterator[Target]:
    for what, key in (
        ("logins/s", "sessions_per_s"),
        ("messages/s, one by one", "one_by_one_messages_per_s"),
        ("messages/s, pipelined", "pipelined_messages_per_s"),
    ):
        rate = _ratio("pop3", key, "dovecot")
        yield Target("pop3", f"POP3 {what}", ">=", 1.0, _DOVECOT, rate)
    warm = _over(_at("imap", "posthorn", "envelope_warm_us"), _at("imap", "dovecot", "envelope_cold_us"))  # fmt: skip
    yield Target("imap", "IMAP ENVELOPE warm, to Dovecot's cold", "<=", 1.0, _DOVECOT, warm)
    for what, key, bound in (
        ("FLAGS", "flags_us", 3.0),
        ("BODY[], a command each", "body_each_us", 1.5),
        ("BODY[] in one command", "body_all_us", 1.5),
        ("APPEND", "append_ms", 2.0),
    ):
        time = _ratio("imap", key, "dovecot")
        yield Target("imap", f"IMAP {what}", "<=", bound, _DOVECOT, time)
    idle = _at("imap", "posthorn", "idle_max_ms")
    memory = _at("imap", "posthorn", "idle_connection_kib")
    yield Target("imap", "new mail seen in IDLE, worst", "<", 1000, "ms", idle)
    yield Target("imap", "an idle TLS connection", "<=", IDLE_CONNECTION_KIB, "KiB", memory)


def _services() -> Iterator[Target]:
    scanned = _over(_at("scan", "built-in", "delivered_per_s"), _at("scan", "off", "delivered_per_s"))  # fmt: skip
    yield Target("scan", "delivered/s, authentication and scorer", ">=", 0.8, "x without", scanned)
    rest, idle = _largest("resident_mib"), _largest("resident_mib_with_idle")
    yield Target("memory", "largest service at rest (PSS)", "<", TARGET_RESIDENT_MIB, "MiB", rest)
    yield Target("memory", "the same, idle connections held", "<", 150, "MiB", idle)
    start = TARGET_CPU_SECONDS
    yield Target("start", "slowest service to be ready, CPU", "<", start, "s", _slowest)
    for what, part, processes in (("8 smtp-in", "delivery", 1), ("4 delivery", "smtp_in", 4)):
        apart = _apart(part, processes)
        yield Target("scale", f"cost of one load, 1 to {what}", "<=", 0.1, "apart", apart)
    for what, part in (("8 smtp-in", "smtp_in"), ("4 delivery", "delivery")):
        rose = _rise(part)
        yield Target("scale", f"cost of a load each, 1 to {what}", "<=", 0.1, "dearer", rose)
    more = _at("tracing", "one_in_100_percent")
    yield Target(
        "tracing", "tracing off, CPU per message", "<", 1, "%", _at("tracing", "off_percent")
    )
    yield Target("tracing", "tracing one in a hundred, CPU per message", "<", 3, "%", more)


TARGETS: tuple[Target, ...] = (*_inbound(), *_outbound(), *_mailboxes(), *_services())


def judged(results: Results) -> Iterator[tuple[Target, float | None]]:
    """Yield each target with its figure; None for one that the run did not measure."""
    for target in TARGETS:
        try:
            yield target, target.figure(results)
        except KeyError:
            yield target, None


def show_targets(results: Results) -> None:
    """Print the table of what was measured."""
    rows = [(target, figure) for target, figure in judged(results) if figure is not None]
    if not rows:
        return
    print(f"{'Targets':<50} {'figure':>9}   {'target':<20} ")
    for target, figure in rows:
        wanted = f"{target.relation} {target.bound:g} {target.unit}"
        print(
            f"  {target.what:<48} {figure:>9.3g}   {wanted:<20} "
            f"{'met' if target.is_met(figure) else 'MISSED'}"
        )
    met = sum(target.is_met(figure) for target, figure in rows)
    print(f"  {met} of {len(rows)} met; {len(TARGETS) - len(rows)} not measured in this run\n")
