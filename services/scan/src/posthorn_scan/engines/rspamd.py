"""rspamd's normal worker, asked by HTTP (``POST /checkv2``).

Rules:

- Its points are taken symbol by symbol; its action and thresholds are not. ``soft reject`` means
  that it greylists or limits rates, which is asked to be off: a message is judged here, not put off.
- Of what both sides check (SPF, DKIM, DMARC, ARC, lists of the client's address) only our results
  count: its symbols are shown with 0 points.
- An answer that is empty, too long, of another form, or says that the message was skipped, is no
  judgement: the engine counts as down.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import httpcore

from posthorn.model.verdict import DETAIL_LIMIT, Rule
from posthorn.ports.scan import MessageQuestion
from posthorn.runtime.tls import verifying_context
from posthorn_scan.engines.engine import EngineDown, EngineTooLarge, Findings

_MOST_ANSWER: Final = 1024 * 1024
_MOST_SYMBOLS: Final = 200
_MOST_POINTS: Final = 100.0
_MOST_RECIPIENTS: Final = 50
_OURS: Final = (
    *("R_SPF_", "SPF_", "R_DKIM_", "DKIM_", "DMARC_", "ARC_", "AUTH_NA", "BLACKLIST_DMARC"),
    *("WHITELIST_SPF", "WHITELIST_DKIM", "WHITELIST_DMARC", "VIOLATED_DIRECT_SPF"),
    *("RBL_", "RCVD_IN_DNSWL_", "RECEIVED_", "SPAMHAUS_", "DWL_DNSWL_", "RDNS_"),
)
"""Prefixes of symbols of what is checked here."""
_OFF: Final = json.dumps(
    {
        "symbols_disabled": [
            *("GREYLIST_CHECK", "GREYLIST_SAVE", "RATELIMIT_CHECK", "RATELIMIT_UPDATE"),
        ],
        "groups_disabled": ["greylist", "ratelimit"],
    }
)
_CONTROLS = re.compile(r"[^\x20-\x7e]+")
_NAME = re.compile(r"[A-Z0-9_]{1,80}\Z", re.IGNORECASE)

_CONNECTIONS = 32


class Rspamd:
    """rspamd at a URL such as ``http://rspamd:11333``. Call ``close`` at the end."""

    name = "rspamd"

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=5.0,
            ssl_context=verifying_context() if url.startswith("https:") else None,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._pool.aclose()

    async def scan(
        self, content: bytes, question: MessageQuestion, *, client_name: str
    ) -> Findings:
        """Judge a message, see EngineClient."""
        status, answer = await self._ask(
            "POST", "/checkv2", request_headers(question, client_name), content
        )
        if status == 413:
            raise EngineTooLarge("over rspamd's limit")
        if status != 200:
            raise EngineDown(f"HTTP status {status}")
        return read_answer(answer)

    async def probe(self) -> str:
        """Ask whether it answers. Raises EngineDown."""
        status, answer = await self._ask("GET", "/ping", [], b"")
        if status != 200 or not answer.startswith(b"pong"):
            raise EngineDown(f"HTTP status {status}")
        return "it answers"

    async def _ask(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], content: bytes
    ) -> tuple[int, bytes]:
        try:
            async with self._pool.stream(
                method, self._url + path, headers=headers, content=content
            ) as answer:
                received = bytearray()
                async for piece in answer.aiter_stream():
                    received += piece
                    if len(received) > _MOST_ANSWER:
                        raise EngineDown("its answer is too long")
                return answer.status, bytes(received)
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            httpcore.UnsupportedProtocol,
            OSError,
        ) as error:
            raise EngineDown(type(error).__name__) from error


def request_headers(question: MessageQuestion, client_name: str) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a request, free of what could break them."""
    fields = [
        ("IP", question.client),
        ("Helo", question.helo),
        ("Hostname", client_name or "unknown"),
        ("From", question.reverse_path),
        *(("Rcpt", each) for each in question.recipients[:_MOST_RECIPIENTS]),
        ("Queue-Id", question.message_id),
        ("MTA-Name", question.hostname),
        ("Pass", "all"),
        ("Settings", _OFF),
    ]
    made = [
        (name.encode(), _clean(value).encode()) for name, value in fields if value or name == "From"
    ]
    return [*made, (b"Content-Type", b"message/rfc822")]


def read_answer(answer: bytes) -> Findings:
    """Return what an answer says. Raises EngineDown."""
    try:
        document = json.loads(answer)
        symbols = document["symbols"]
        # at the test text for filters it looks at nothing else
        if document.get("is_skipped") and "GTUBE" not in symbols:
            raise EngineDown("it skipped the message")
        rules = [
            rule
            for name, symbol in list(symbols.items())[:_MOST_SYMBOLS]
            if (rule := _rule(str(name), symbol)) is not None
        ]
        action = _clean(str(document.get("action", "")))
    except EngineDown:
        raise
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise EngineDown(f"its answer does not read: {type(error).__name__}") from error
    score = sum(rule.points for rule in rules)
    return Findings(rules=tuple(rules), detail=f"{score:.1f} points, {action or 'no action'}")


def _rule(name: str, symbol: dict[str, Any]) -> Rule | None:
    """Return a symbol as a rule; None for one that says nothing."""
    points = float(symbol.get("score", 0.0))
    if not _NAME.match(name) or not math.isfinite(points):
        return None
    is_ours = name.startswith(_OURS) or name == "GTUBE"
    if not is_ours and not points:
        return None
    points = 0.0 if is_ours else max(-_MOST_POINTS, min(points, _MOST_POINTS))
    options = symbol.get("options") or ()
    detail = ", ".join(_clean(str(each)) for each in list(options)[:5])
    detail = detail or _clean(str(symbol.get("description", "")))
    return Rule(f"RSPAMD_{name.upper()}", round(points, 2), detail[:DETAIL_LIMIT])


def _clean(text: str) -> str:
    return _CONTROLS.sub(" ", text).strip()[:1000]
