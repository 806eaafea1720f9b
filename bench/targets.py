"""Every target of the project beside its figure in one run.

A ratio is ours over the peer's, measured in the same run. The targets stand here alone; the table
in docs/performance.md is made from them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.scale import spread
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
_POSTFIX, _DOVECOT = "× Postfix", "× Dovecot"


def _ratio(part: str, key: str, peer: str) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        ours, theirs = results[part]["posthorn"], results[part][peer]
        return float(ours[key]) / float(theirs[key])

    return figure


def _cpu_ratio(part: str) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        ours, theirs = (
            sum(results[part][side]["cpu_ms_per_message"].values())
            for side in ("posthorn", "postfix")
        )
        return float(ours) / float(theirs)

    return figure


def _most_inbound(key: str) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        return max(float(results[part]["posthorn"][key]) for part in (_ALONE, _KEPT))

    return figure


def _of_steps(results: Results, part: str, processes: int) -> list[Any]:
    return [step for step in results["scale"]["steps"] if step[part] == processes]


_ALONE, _KEPT = "connection_per_message", "connections_kept"
TARGETS: tuple[Target, ...] = (
    Target("inbound", "delivered/s, a connection per message", ">=", 2.0, _POSTFIX, _ratio(_ALONE, "delivered_per_s", "postfix")),
    Target("inbound", "delivered/s, connections kept", ">=", 2.0, _POSTFIX, _ratio(_KEPT, "delivered_per_s", "postfix")),
    Target("inbound", "CPU per message, a connection per message", "<=", 0.5, _POSTFIX, _cpu_ratio(_ALONE)),
    Target("inbound", "CPU per message, connections kept", "<=", 0.5, _POSTFIX, _cpu_ratio(_KEPT)),
    Target("inbound", "PUTs per message", "<", 0.05, "", _most_inbound("puts_per_message")),
    Target("inbound", "transactions per message", "<", 0.05, "", _most_inbound("transactions_per_message")),
    Target("inbound", "events read and counted by api, CPU per message", "<", 0.05, "ms", lambda results: max(float(results[part]["posthorn"]["cpu_ms_per_message"]["api"]) for part in (_ALONE, _KEPT))),
    Target("inbound", "250 to readable at half load, p99", "<", 250, "ms", lambda results: float(results["readable_at_half_load"]["p99_ms"])),
    Target("outbound", "submission to the sink/s", ">=", 1.5, _POSTFIX, _ratio("outbound", "relayed_per_s", "postfix")),
    Target("outbound", "accepted by submission/s", ">=", 1.2, _POSTFIX, _ratio("outbound", "accepted_per_s", "postfix")),
    Target("outbound", "CPU per message, submission to the sink", "<=", 0.7, _POSTFIX, _cpu_ratio("outbound")),
    Target("lone", "a lone message, 250 to the next host, p50", "<", 10, "ms", lambda results: float(results["lone"]["posthorn"]["p50_ms"])),
    Target("lone", "a lone message, 250 to readable, p50", "<", 15, "ms", lambda results: float(results["lone"]["readable"]["p50_ms"])),
    Target("pop3", "POP3 logins/s", ">=", 1.0, _DOVECOT, _ratio("pop3", "sessions_per_s", "dovecot")),
    Target("pop3", "POP3 messages/s, one by one", ">=", 1.0, _DOVECOT, _ratio("pop3", "one_by_one_messages_per_s", "dovecot")),
    Target("pop3", "POP3 messages/s, pipelined", ">=", 1.0, _DOVECOT, _ratio("pop3", "pipelined_messages_per_s", "dovecot")),
    Target("imap", "IMAP ENVELOPE warm, to Dovecot's cold", "<=", 1.0, _DOVECOT, lambda results: float(results["imap"]["posthorn"]["envelope_warm_us"]) / float(results["imap"]["dovecot"]["envelope_cold_us"])),
    Target("imap", "IMAP FLAGS", "<=", 3.0, _DOVECOT, _ratio("imap", "flags_us", "dovecot")),
    Target("imap", "IMAP BODY[], a command each", "<=", 1.5, _DOVECOT, _ratio("imap", "body_each_us", "dovecot")),
    Target("imap", "IMAP BODY[] in one command", "<=", 1.5, _DOVECOT, _ratio("imap", "body_all_us", "dovecot")),
    Target("imap", "IMAP APPEND", "<=", 2.0, _DOVECOT, _ratio("imap", "append_ms", "dovecot")),
    Target("imap", "IMAP, new mail seen in IDLE, worst", "<", 1000, "ms", lambda results: float(results["imap"]["posthorn"]["idle_max_ms"])),
    Target("imap", "IMAP, memory of an idle TLS connection", "<=", IDLE_CONNECTION_KIB, "KiB", lambda results: float(results["imap"]["posthorn"]["idle_connection_kib"])),
    Target("scan", "delivered/s with authentication and scorer", ">=", 0.8, "× without", lambda results: float(results["scan"]["built-in"]["delivered_per_s"]) / float(results["scan"]["off"]["delivered_per_s"])),
    Target("memory", "largest service at rest (PSS)", "<", TARGET_RESIDENT_MIB, "MiB", lambda results: _largest(results["resident_mib"])),
    Target("memory", "the same, 1,000 idle connections each", "<", 150, "MiB", lambda results: _largest(results["resident_mib_with_idle"])),
    Target("start", "slowest service to be ready, CPU", "<", TARGET_CPU_SECONDS, "s", lambda results: max(float(one["cpu_s"]) for one in results["start"].values())),
    Target("scale", "cost per message, 1 to 8 smtp-in", "<=", 0.1, "apart", lambda results: spread(_of_steps(results, "delivery", 1))),
    Target("scale", "cost per message, 1 to 4 delivery", "<=", 0.1, "apart", lambda results: spread(_of_steps(results, "smtp_in", 4))),
)  # fmt: skip


def _largest(resident: dict[str, Any]) -> float:
    """Return the MiB of the largest service; the stores are not services of ours."""
    apart = ("idle_connections", "nats", "postgres")
    return max(float(mib) for name, mib in resident.items() if name not in apart)


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
