"""Acknowledgements of JetStream publishes: where a message was stored, or why it was refused."""

from __future__ import annotations

import json
from dataclasses import dataclass

from nats.aio.msg import Msg

from posthorn.adapters.nats.errors import ApiError, NoResponders
from posthorn.ports.errors import Full, Unavailable

_STORE_FAILED = 10077
# resources, memory or storage of the server or the account
_INSUFFICIENT = frozenset({10023, 10028, 10047})


@dataclass(frozen=True, slots=True)
class Ack:
    """A message is stored."""

    stream: str
    sequence: int
    duplicate: bool = False
    """The stream knew the message id already; ``sequence`` is that of the first copy."""


def read_ack(answer: Msg, stream: str) -> Ack:
    """Decode a stream's answer. Raises Full, NoResponders, ApiError or Unavailable; also when
    another stream stored the message."""
    if not answer.data:
        raise NoResponders("nats", f"nothing serves the stream {stream}")
    try:
        document = json.loads(answer.data)
        if refusal := document.get("error"):
            raise _refused(refusal)
        ack = Ack(
            document["stream"],
            int(document["seq"]),
            bool(document.get("duplicate")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable("nats", "an acknowledgement cannot be decoded") from error
    if ack.stream != stream:
        raise Unavailable("nats", f"the stream {ack.stream} answers in place of {stream}")
    return ack


def _refused(refusal: dict[str, object]) -> Unavailable:
    error = ApiError(refusal)
    full = error.err_code in _INSUFFICIENT or (
        error.err_code == _STORE_FAILED and "maximum" in str(error)
    )
    return Full("nats", str(error)) if full else error
