"""Spans of a transaction that placed messages."""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.runtime import traces
from posthorn_delivery.in_flight import Item


def trace_placed(tracer: traces.Tracer, items: Sequence[Item], began: int) -> None:
    """Record a span for each message that is sampled, and one of the batch where it held several,
    linked with one another. ``began``: nanoseconds since the epoch."""
    sampled = [item for item in items if tracer.samples(item.envelope.id)]
    links: list[tuple[int, int]] = []
    if sampled and len(items) > 1:
        about = {traces.MESSAGES: len(items), traces.SIZE: sum(_size(item) for item in items)}
        links = [tracer.batch([item.envelope.id for item in sampled], began, about)]
    for item in sampled:
        about = {
            traces.SIZE: _size(item),
            traces.MAILBOXES: len(item.routes.accounts),
            traces.QUEUED: len(item.routes.outbound),
            traces.TRIES: item.delivery.attempt,
        }
        tracer.span(traces.PLACE, item.envelope.id, began, about, links=links)


def _size(item: Item) -> int:
    return item.envelope.body.size
