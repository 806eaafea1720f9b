"""The port RouteProber over NATS requests: api asks, any relay answers.

Rules:

- A relay makes a few probes at a time, and says of further ones that it has too much to do.
- An answer goes only to the inbox of a part that may ask (``permissions``).
- Question and answer are JSON objects; fields may be added, and a reader ignores those it does not
  know.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any, Final

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import NoAnswer, NoResponders
from posthorn.adapters.nats.permissions import PART_NAMES, inbox_prefix
from posthorn.adapters.nats.question_server import QuestionServer
from posthorn.model.streams import RELAY_PROBE, RELAY_PROBE_QUEUE
from posthorn.ports.errors import NotFound, Unavailable
from posthorn.ports.route_probes import (
    PROBE_SECONDS,
    ProbedConnection,
    ProbedTls,
    ProbeFailure,
    ProbeReport,
    ProbeStep,
    RouteProbe,
    RouteProber,
)

log = structlog.get_logger()

_AT_ONCE: Final = 4
_OTHERS: Final = tuple(f"{inbox_prefix(part)}." for part in PART_NAMES - {"api"})
_MORE_SECONDS: Final = 3.0
_FAULTS = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


class NatsRouteProbes:
    """Asks the relays."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def probe(self, asked: RouteProbe) -> ProbeReport:
        """Ask; see the port."""
        try:
            answer = await self._connection.request(
                RELAY_PROBE,
                json.dumps({"v": 1, **asdict(asked)}).encode(),
                timeout=PROBE_SECONDS + _MORE_SECONDS,
                to_stream=False,
            )
        except NoResponders:
            raise Unavailable("relay", "no relay runs") from None
        except (NoAnswer, TimeoutError):
            raise Unavailable("relay", "no answer in time") from None
        try:
            document = json.loads(answer.data)
            if document.get("missing"):
                raise NotFound(f"there is no route for {asked.route}")
            if "error" in document:
                raise Unavailable("relay", str(document["error"])[:200])
            return _report(document["report"])
        except _FAULTS as fault:
            raise Unavailable(
                "relay", f"the answer does not read: {type(fault).__name__}"
            ) from fault


class NatsRouteProbeServer(QuestionServer):
    """Answers while its context is open."""

    def __init__(self, connection: Connection, prober: RouteProber) -> None:
        super().__init__(connection, RELAY_PROBE, RELAY_PROBE_QUEUE, at_once=_AT_ONCE)
        self._prober = prober

    def may_ask(self, reply: str) -> bool:
        """Return whether it is the inbox of api, or of a system without users of NATS."""
        return reply.startswith("_INBOX.") and not reply.startswith(_OTHERS)

    async def turn_away(self, message: Msg) -> None:
        """Say that there is too much to do."""
        await self._reply(message, {"error": "it has too much to do"})

    async def answer(self, message: Msg) -> None:
        """Probe, and answer with the report."""
        try:
            asked = json.loads(message.data)
            names = {each.name for each in fields(RouteProbe)}
            probe = RouteProbe(**{name: str(asked[name]) for name in names & asked.keys()})
            answer: dict[str, Any] = {"report": asdict(await self._prober.probe(probe))}
        except NotFound:
            answer = {"missing": True}
        except Unavailable as fault:
            answer = {"error": str(fault)}
        except asyncio.CancelledError:
            await self._reply(message, {"error": "it is stopping"})
            raise
        except Exception as error:
            log.exception("a route could not be probed")
            answer = {"error": type(error).__name__}
        await self._reply(message, answer)

    async def _reply(self, message: Msg, answer: Mapping[str, Any]) -> None:
        with suppress(Unavailable):
            await self._connection.publish(message.reply, json.dumps({"v": 1, **answer}).encode())


def _report(document: Mapping[str, Any]) -> ProbeReport:
    failure = document.get("failure")
    return ProbeReport(
        tuple(_connection(each) for each in document["connections"]),
        None if failure is None else _known(ProbeFailure, failure),
        float(document["seconds"]),
    )


def _connection(document: Mapping[str, Any]) -> ProbedConnection:
    tls = document.get("tls")
    return ProbedConnection(
        str(document["host"]),
        str(document["address"]),
        int(document["port"]),
        tuple(_known(ProbeStep, each) for each in document["steps"]),
        tuple(map(str, document["extensions"])),
        None if tls is None else _known(ProbedTls, {**tls, "names": tuple(map(str, tls["names"]))}),
    )


def _known[T](kind: type[T], document: Mapping[str, Any]) -> T:
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in document.items() if name in names})
