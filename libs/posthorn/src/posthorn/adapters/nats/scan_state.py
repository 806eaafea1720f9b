"""The question for the state of the scanning tier, and the port ScanStates over NATS requests.

Question and answer are JSON objects; fields may be added, and a reader ignores those it does not
know.
"""

from __future__ import annotations

import json
from typing import Any, Final

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import NoAnswer, NoResponders
from posthorn.adapters.nats.scan_payloads import PayloadError
from posthorn.model.streams import SCAN_STATE
from posthorn.ports.errors import Unavailable
from posthorn.ports.scan import (
    EngineStatus,
    Listing,
    ScanState,
    ScanUnavailable,
    StateQuestion,
    ZoneStatus,
)

STATE_SECONDS: Final = 8.0
"""How long an answer may take: blocklists are asked for it."""
MOST_NAMES: Final = 500
"""Addresses, and domains, of one question."""
_FAULTS = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


class NatsScanStates:
    """The port ScanStates on NATS."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def state(self, question: StateQuestion) -> ScanState:
        try:
            answer = await self._connection.request(
                SCAN_STATE, encode_question(question), timeout=STATE_SECONDS, to_stream=False
            )
        except NoResponders:
            raise ScanUnavailable("nobody scans") from None
        except (NoAnswer, TimeoutError):
            raise ScanUnavailable("no answer in time") from None
        except Unavailable as error:
            raise ScanUnavailable(str(error)) from error
        try:
            return decode_state(answer.data)
        except PayloadError as error:
            raise ScanUnavailable(str(error)) from error


def encode_question(question: StateQuestion) -> bytes:
    """Return the payload of a question."""
    document = {
        "v": 1,
        "addresses": question.addresses[:MOST_NAMES],
        "domains": question.domains[:MOST_NAMES],
    }
    return json.dumps(document).encode()


def decode_question(payload: bytes) -> StateQuestion:
    """Decode a question. Raises PayloadError."""
    try:
        document = json.loads(payload)
        addresses, domains = document.get("addresses", ()), document.get("domains", ())
        return StateQuestion(
            tuple(str(each) for each in addresses[:MOST_NAMES]),
            tuple(str(each) for each in domains[:MOST_NAMES]),
        )
    except _FAULTS as error:
        raise PayloadError(f"it does not read: {type(error).__name__}") from error


def encode_state(state: ScanState) -> bytes:
    """Return the payload of an answer."""
    document = {
        "v": 1,
        "state": {
            "engines": [[each.name, each.is_up, each.detail] for each in state.engines],
            "zones": [[each.zone, each.is_healthy, each.detail] for each in state.zones],
            "dns_away": state.is_dns_away,
            "listings": [
                [each.zone, each.subject, each.code, each.points, each.reason]
                for each in state.listings
            ],
        },
    }
    return json.dumps(document).encode()


def decode_state(payload: bytes) -> ScanState:
    """Decode an answer. Raises PayloadError."""
    try:
        document: Any = json.loads(payload)
        if document.get("busy") or "error" in document:
            raise PayloadError(str(document.get("error", "it has too much to do"))[:200])
        state = document["state"]
        return ScanState(
            tuple(EngineStatus(str(n), bool(u), str(d)) for n, u, d in state.get("engines", ())),
            tuple(ZoneStatus(str(z), bool(h), str(d)) for z, h, d in state.get("zones", ())),
            bool(state.get("dns_away", False)),
            tuple(
                Listing(str(zone), str(subject), str(code), float(points), str(reason))
                for zone, subject, code, points, reason in state.get("listings", ())
            ),
        )
    except PayloadError:
        raise
    except _FAULTS as error:
        raise PayloadError(f"it does not read: {type(error).__name__}") from error
