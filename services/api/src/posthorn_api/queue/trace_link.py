"""Links from messages to their spans in a viewer of traces (ADR 50)."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from posthorn.ports.api_keys import ApiKey
from posthorn.runtime import traces

_PLACE: Final = "{trace_id}"


def trace_link(template: str, caller: ApiKey, message: UUID) -> str | None:
    """Return the URL of a message's trace; None where there is no viewer, the message is not traced,
    or the key is one of a tenant: spans tell of the whole platform."""
    if not template or caller.tenant is not None or traces.if_sampled(message) is None:
        return None
    return template.replace(_PLACE, message.hex)
