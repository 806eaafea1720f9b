"""The second question: what a message is.

Authentication, facts of the content, blocklists and the engines run side by side; the built-in
scorer takes what they found together. Nothing here fails: what could not be found out is a
temporary error, or an engine that is away, and the verdict says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.filter_policy import DEFAULT_POLICY
from posthorn.model.verdict import MOST_RULES, Engine, EngineState, Rule, Verdict
from posthorn.ports.scan import Listing, MessageQuestion, SenderFacts, SenderQuestion
from posthorn.runtime import traces
from posthorn.runtime.at_once import Begun, at_once
from posthorn.runtime.blocklists import Blocklists
from posthorn.wire.auth.authentication import (
    BodyHashes,
    authenticate,
    author_domains_of,
    split_message,
)
from posthorn.wire.auth.lookup import Lookup
from posthorn.wire.auth.public_key import SignatureCheck
from posthorn.wire.auth.results import Authentication, Outcome
from posthorn.wire.spam.facts import MessageFacts, read_facts
from posthorn.wire.spam.rule import Case
from posthorn.wire.spam.rules_names import names_of
from posthorn.wire.spam.scorer import score
from posthorn_scan.author_records import AuthorRecords
from posthorn_scan.engines.clamav import ClamAv
from posthorn_scan.engines.engine import ConfiguredEngine, EngineResult
from posthorn_scan.report_kind import report_kind
from posthorn_scan.sealers import trusted_sealer
from posthorn_scan.sender import SenderChecks
from posthorn_scan.timely import TimelyLookup
from posthorn_scan.tracing import about_authentication, about_engine, about_rules

log = structlog.get_logger()

_messages = Counter("posthorn_scan_messages_total", "Messages judged, by outcome", ["outcome"])
_outcomes = {each: _messages.labels(each) for each in ("clean", "spam", "virus", "incomplete")}
_seconds = Histogram(
    "posthorn_scan_message_seconds",
    "Time until a message was judged",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)

_HASHING_SECONDS: Final = 1.5
"""For hashing in a thread; 50 MiB take a fraction of it. All else that waits asks DNS."""
_ASIDE_FROM: Final = 64 * 1024
"""Bytes from which a message is hashed and read in a thread."""


class Judge:
    """Judges messages. ``seconds``: for all that asks DNS."""

    def __init__(
        self,
        lookup: Lookup,
        check: SignatureCheck,
        blocklists: Blocklists,
        senders: SenderChecks,
        engines: Sequence[ConfiguredEngine],
        *,
        sealers: Iterable[str] = (),
        seconds: float = 6.0,
    ) -> None:
        self._lookup, self._check, self._blocklists = lookup, check, blocklists
        self._senders, self._engines = senders, tuple(engines)
        self._sealers = frozenset(sealers)
        self._seconds = seconds
        self._author_records = AuthorRecords()

    @property
    def engines(self) -> tuple[ConfiguredEngine, ...]:
        """The engines that are configured."""
        return self._engines

    async def judge(self, question: MessageQuestion, content: bytes) -> Verdict:
        """Return the verdict on a message in canonical form, without our trace fields."""
        began = time.monotonic()
        known = question.facts or await self._senders.facts(
            SenderQuestion(question.client, question.helo, question.reverse_path)
        )
        header, body = split_message(content)
        traced = traces.if_sampled(question.message_id)
        authenticating = traces.timed(
            traced,
            traces.AUTHENTICATE,
            self._authenticate(question, known, header, body),
            about_authentication,
        )
        if self._engines or len(content) >= _ASIDE_FROM:
            (found, state), facts, results = await at_once(
                authenticating,
                _read_aside(content),
                self._ask_engines(question, content, known, traced),
            )
        else:
            # its questions are on their way while the content is read
            asking, facts, results = Begun(authenticating), _read(content), []
            found, state = await asking.result()
        authentication = found or Authentication(known.iprev, known.spf)
        rules = await traces.timed(
            traced,
            traces.RULES,
            self._matching(question, known, authentication, facts),
            about_rules,
        )
        builtin = Engine("builtin", state, round((time.monotonic() - began) * 1000))
        away = {
            each.away
            for each in results
            if each.engine.name != ClamAv.name or may_carry_virus(facts)
        }
        unjudged = [each for each in results if each.engine.state not in _JUDGED]
        verdict = Verdict(
            scanned_at=time.time(),
            authentication=authentication,
            rules=most_important(
                [*rules, *(rule for each in results for rule in each.findings.rules)]
            ),
            engines=(builtin, *(each.engine for each in results)),
            virus=next((each.findings.virus for each in results if each.findings.virus), ""),
            is_complete=found is not None and not unjudged,
            trusted_sealer=trusted_sealer(authentication.arc, self._sealers),
            report=None if facts is None else report_kind(facts),
            # whoever keeps us busy with large messages must not get a forgery past p=reject
            hold=found is None or "hold" in away,
            defer="defer" in away,
        )
        _count(verdict)
        _seconds.observe(time.monotonic() - began)
        return verdict

    async def _authenticate(
        self, question: MessageQuestion, known: SenderFacts, header: bytes, body: bytes
    ) -> tuple[Authentication | None, EngineState]:
        """Return what is found; None if this process has too much to do."""
        try:
            hashes = await _hashed(header, body)
            lookup = TimelyLookup(self._lookup, self._seconds)
            authors = author_domains_of(header)
            records = self._author_records.of(lookup, authors)
            found = await authenticate(
                lookup,
                self._check,
                header=header,
                hashes=hashes,
                client=question.client,
                helo=question.helo,
                reverse_path=question.reverse_path,
                hostname=question.hostname,
                now=question.received_at or time.time(),
                iprev=known.iprev,
                spf=known.spf,
                authors=authors,
                records=records,
                gather=at_once,
            )
            self._author_records.keep(authors, records)
            if lookup.is_late:
                log.info("DNS answers too slowly for a message", message=question.message_id)
            return found, EngineState.TIMEOUT if lookup.is_late else EngineState.OK
        except TimeoutError:
            log.warning("a message was not authenticated in time", message=question.message_id)
            return None, EngineState.TIMEOUT
        except Exception:
            log.exception("a message could not be authenticated", message=question.message_id)
            return Authentication(known.iprev, known.spf), EngineState.DOWN

    async def _matching(
        self,
        question: MessageQuestion,
        known: SenderFacts,
        authentication: Authentication,
        facts: MessageFacts | None,
    ) -> list[Rule]:
        listings = known.listings
        if facts is not None:
            listings += await self._listed_domains(authentication, facts)
        return _scored(question, authentication, facts, listings)

    async def _ask_engines(
        self, question: MessageQuestion, content: bytes, known: SenderFacts, traced: UUID | None
    ) -> list[EngineResult]:
        name = known.iprev.name if known.iprev.outcome is Outcome.PASS else ""
        asking = (each.scan(content, question, client_name=name) for each in self._engines)
        return await at_once(
            *(traces.timed(traced, traces.ENGINE, each, about_engine) for each in asking)
        )

    async def _listed_domains(
        self, authentication: Authentication, facts: MessageFacts
    ) -> tuple[Listing, ...]:
        author = authentication.dmarc.domain
        domains = [author, *facts.hosts] if author else facts.hosts
        return await self._blocklists.look_up("", domains) if domains else ()


_JUDGED: Final = frozenset({EngineState.OK, EngineState.SKIPPED})


def may_carry_virus(facts: MessageFacts | None) -> bool:
    """Return whether a message is more than text: only such a one waits for ClamAV."""
    if facts is None or facts.files or not facts.is_complete:
        return True
    return not all(
        each in ("text/plain", "text/html") or each.startswith("multipart/") for each in facts.types
    )


async def _hashed(header: bytes, body: bytes) -> BodyHashes:
    hashes = BodyHashes.of(header)
    if not hashes.is_needed:
        return hashes
    if len(body) < _ASIDE_FROM:
        hashes.update(body)
    else:
        async with asyncio.timeout(_HASHING_SECONDS):
            await asyncio.to_thread(hashes.update, body)
    return hashes


async def _read_aside(content: bytes) -> MessageFacts | None:
    """Do as ``_read`` does; in a thread what takes long."""
    if len(content) < _ASIDE_FROM:
        return _read(content)
    return await asyncio.to_thread(_read, content)


def _read(content: bytes) -> MessageFacts | None:
    """Return the facts of the content; None if they cannot be read, which is our fault."""
    try:
        return read_facts(content)
    except Exception:
        log.exception("the content of a message could not be read")
        return None


def _scored(
    question: MessageQuestion,
    authentication: Authentication,
    facts: MessageFacts | None,
    listings: Sequence[Listing],
) -> list[Rule]:
    if facts is None:
        return []
    case = Case(
        facts,
        authentication,
        question.client,
        question.helo,
        question.reverse_path,
        question.received_at,
        listings,
        own_domains=frozenset(each.rpartition("@")[2] for each in question.recipients),
        own_names=names_of(question.recipients),
    )
    try:
        return [Rule(match.name, match.points, match.detail) for match in score(case)]
    except Exception:
        log.exception("a message could not be scored", message=question.message_id)
        return []


def most_important(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return the rules that a verdict keeps, those with the most points first; the points of
    those left out are in one rule, so that the sum stays."""
    ordered = sorted(rules, key=lambda rule: -abs(rule.points))
    if len(ordered) <= MOST_RULES:
        return tuple(ordered)
    kept, rest = ordered[: MOST_RULES - 1], ordered[MOST_RULES - 1 :]
    points = round(sum(rule.points for rule in rest), 2)
    return (*kept, Rule("OTHER_RULES", points, f"{len(rest)} further rules"))


def _count(verdict: Verdict) -> None:
    outcome = "clean"
    if verdict.virus:
        outcome = "virus"
    elif verdict.score >= DEFAULT_POLICY.junk_score:
        outcome = "spam"
    elif not verdict.is_complete:
        outcome = "incomplete"
    _outcomes[outcome].inc()
