"""How far the reader of events is behind."""

from __future__ import annotations

from datetime import UTC, datetime

from posthorn.ports.system import StoredLags, StreamState


async def events_lag_seconds(streams: StreamState, lags: StoredLags) -> float:
    """Return the age in seconds of the oldest event that was not read; 0: all were. Raises
    Unavailable."""
    created, last = await streams.events_end()
    position = await lags.events_read(created)
    if position >= last:
        return 0.0
    stored_at = await streams.event_after(position)
    if stored_at is None:
        return 0.0
    return max((datetime.now(UTC) - stored_at).total_seconds(), 0.0)
