"""What the scanning tier says of a client and of a message, and what follows from it for each
recipient (ADR 31).

Rules:

- At MAIL the tier is asked who the client is, in a task of its own that ends with the transaction.
  It is waited for at RCPT only where the recipient's policy needs the answer, and at the end of
  data, where the answer goes with the second question. About a client that was asked about in the
  last minute it is asked only where a policy needs the answer: the tier knows it by now, so that
  the question would save nothing.
- SMTP has one reply for all recipients: a message is refused only if the policy of every recipient
  refuses it. Else it is accepted whole, and delivery decides for each.
- No answer, whatever the reason, refuses nothing: the message is accepted into the lane of those
  that are scanned before they are delivered (promises 2 and 3). Nor do the points of a verdict in
  which an engine is missing.
- Where an author's domain publishes p=reject and the lookups that would show the author fail, the
  client is asked to come again, once.
- What points alone would refuse is left to delivery if an account protects its author, whom it has
  written to, or if that cannot be found out (promise 3). Delivery knows the correspondents.
- What is refused is an event that names the recipients, so that they can find it (promise 8).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.dmarc_evaluation import encode_evaluation, evaluation_of_refused
from posthorn.model.events import REFUSED, Event, head_fields
from posthorn.model.filter_decision import (
    Decision,
    Sender,
    decide,
    is_forwarded,
    matches,
    sender_of,
)
from posthorn.model.filter_policy import Action, FilterPolicy
from posthorn.model.verdict import Verdict
from posthorn.model.verdict_fields import verdict_fields
from posthorn.ports.correspondents import Correspondents
from posthorn.ports.directory import DirectoryWithPolicies
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.ports.scan import (
    MessageQuestion,
    Scanner,
    SenderFacts,
    SenderQuestion,
)
from posthorn.runtime.at_once import begun
from posthorn.wire.address import parse_address
from posthorn.wire.auth.results import Authentication, Outcome
from posthorn.wire.message.header import HeaderScan
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.message_buffer import MessageBuffer
from posthorn_smtp_in.scan_replies import (
    REFUSED_BY_VERDICT,
    greylisted,
    listed,
    refused_by,
    unchecked,
)
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.transaction import Client, Transaction

log = structlog.get_logger()

_questions = Histogram(
    "posthorn_smtp_in_scan_seconds",
    "From a question to the scanning tier until its answer",
    ["question"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
)
_outcomes = Counter(
    "posthorn_smtp_in_scanned_total",
    "Messages at the end of data, by what came of asking the scanning tier",
    ["outcome"],
)
_by_outcome = {
    each: _outcomes.labels(each)
    for each in ("accepted", "refused", "deferred", "held", "unscanned")
}
_by_question = {each: _questions.labels(each) for each in ("sender", "message", "greylist")}
_ASKED_SECONDS = 60.0  # less than the tier remembers who a client is
_MOST_ASKED = 4096
_MARKED = frozenset({Action.MARK, Action.JUNK, Action.QUARANTINE, Action.REFUSE})


@dataclass(frozen=True, slots=True)
class Scanned:
    """What is known of a message that is accepted."""

    verdict: Verdict | None
    """None: it is to be scanned before it is delivered."""
    fields: bytes = b""
    """Header fields that tell of it, with their line ends."""


class Scanning:
    """Asks the scanning tier, and applies the recipients' policies to its answers."""

    def __init__(
        self,
        settings: SmtpSettings,
        scanner: Scanner,
        directory: DirectoryWithPolicies,
        events: Events,
        *,
        correspondents: Correspondents | None = None,
    ) -> None:
        self._settings = settings
        self._scanner = scanner
        self._directory = directory
        self._events = events
        self._correspondents = correspondents
        self._asked: dict[tuple[str, str, str], float] = {}  # when, oldest first

    def begin(self, transaction: Transaction, client: Client) -> None:
        """Ask who the client is, without waiting."""
        key = client.address, client.helo, transaction.mail.written.rpartition("@")[2]
        now = time.monotonic()
        if self._asked.get(key, -_ASKED_SECONDS) + _ASKED_SECONDS > now:
            return
        self._asked.pop(key, None)
        self._asked[key] = now
        if len(self._asked) > _MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        self._ask(transaction, client)

    def _ask(self, transaction: Transaction, client: Client) -> asyncio.Task[SenderFacts | None]:
        question = SenderQuestion(client.address, client.helo, transaction.mail.written)
        # so that the question is sent by now
        asking = begun(self._answer("sender", self._scanner.sender(question)))
        transaction.sender_facts = asking
        return asking

    async def recipient(self, transaction: Transaction, client: Client) -> Reply:
        """Learn the policy of the recipient that was accepted last: RECIPIENT_OK, or the reply
        that refuses the client by it."""
        name = next(reversed(transaction.recipients))
        if name in transaction.policies:
            return smtp.RECIPIENT_OK
        try:
            policy = await self._directory.policy(parse_address(name))
        except Unavailable as fault:
            log.warning("a policy cannot be read", recipient=name, fault=fault)
            del transaction.recipients[name]
            return smtp.FAULT
        if policy.refuse_listed or policy.greylist:
            reply = await self._known_client(transaction, client, name, policy)
            if reply is not None:
                del transaction.recipients[name]
                self._record(transaction, client, [name], reply, reply.kind)
                return reply
        transaction.policies[name] = policy
        return smtp.RECIPIENT_OK

    async def message(
        self,
        transaction: Transaction,
        message: MessageBuffer,
        client: Client,
        header: HeaderScan,
        content: bytes | None,
        blob: str | None,
        received_at: float,
    ) -> Reply | Scanned:
        """Ask what a complete message is; exactly one of ``content``, without our trace fields,
        and ``blob`` is given. Return what is known of it, or the reply that refuses it."""
        # recipients of one domain mostly share a policy, and its lists may be long
        policies = {id(each): each for each in transaction.policies.values()}.values()
        skipped = message.trace_octets
        verdict = await self._answer(
            "message",
            self._scanner.message(
                MessageQuestion(
                    message_id=str(transaction.id),
                    client=client.address,
                    helo=client.helo,
                    reverse_path=transaction.mail.written,
                    recipients=tuple(transaction.recipients),
                    received_at=received_at,
                    hostname=self._settings.smtp_hostname,
                    content=content,
                    blob=blob,
                    skip_bytes=0 if blob is None else skipped,
                    size=message.size - skipped,
                    facts=await _facts(transaction),
                    engines=frozenset(
                        engine
                        for engine in ("rspamd", "clamav")
                        if any(getattr(policy, engine) for policy in policies)
                    ),
                    smtputf8=transaction.mail.smtputf8,
                )
            ),
        )
        if verdict is None:
            _by_outcome["unscanned"].inc()
            log.info("accepted unscanned", message=str(transaction.id))
            return Scanned(None)
        path, author = transaction.mail.written, header.summary.from_
        sender = Sender(path, path, client.address, is_shown=False)
        if any(policy.allow or policy.block for policy in policies):
            sender = sender_of(author, path, client.address, verdict.authentication)
        decisions = [decide(verdict, policy, sender) for policy in policies]
        if all(_refuses(decision, verdict) for decision in decisions) and not (
            await self._is_protected(transaction, client, author, verdict)
        ):
            _by_outcome["refused"].inc()
            sender = sender_of(author, path, client.address, verdict.authentication)
            return self._refusal(transaction, message, client, decisions, verdict, sender)
        later = smtp.SCANNER_AWAY if verdict.defer else None
        if verdict.come_again and all(map(partial(_enforces, verdict), policies, decisions)):
            later = unchecked(verdict)
        if later is not None:
            _by_outcome["deferred"].inc()
            reply, names = later, list(transaction.recipients)
            self._record(transaction, client, names, reply, reply.kind, size=message.size)
            return reply
        if verdict.hold:
            _by_outcome["held"].inc()
            return Scanned(None)
        _by_outcome["accepted"].inc()
        fields = verdict_fields(
            verdict,
            hostname=self._settings.smtp_hostname,
            client=client.address,
            helo=client.helo,
            reverse_path=transaction.mail.written,
            message_id=str(transaction.id),
            is_spam=_is_spam(decisions),
        )
        return Scanned(verdict, fields)

    async def _answer[T](self, question: str, answer: Awaitable[T]) -> T | None:
        """Return the tier's answer; None if there is none, or none that can be used."""
        began = time.monotonic()
        try:
            found = await answer
        except Unavailable as fault:
            log.debug("no answer of the scanning tier", question=question, fault=fault)
            return None
        except Exception:
            log.exception("the scanning tier could not be asked", question=question)
            return None
        _by_question[question].observe(time.monotonic() - began)
        return found

    async def _known_client(
        self, transaction: Transaction, client: Client, recipient: str, policy: FilterPolicy
    ) -> Reply | None:
        """Return the reply that refuses a client by what is known of it; None: none does."""
        facts = await (transaction.sender_facts or self._ask(transaction, client))
        if facts is None or _is_welcome(facts, policy, transaction, client):
            return None
        if policy.refuse_listed and not any(each.points < 0 for each in facts.listings):
            for listing in facts.listings:
                if listing.points > 0 and listing.subject == client.address:
                    return listed(listing, str(transaction.id))
        if policy.greylist:
            asked = SenderQuestion(
                client.address, client.helo, transaction.mail.written, True, recipient
            )
            again = await self._answer("greylist", self._scanner.sender(asked))
            if again is not None and again.greylist_seconds > 0:
                return greylisted(again.greylist_seconds)
        return None

    async def _is_protected(
        self, transaction: Transaction, client: Client, from_field: str, verdict: Verdict
    ) -> bool:
        """Return whether an author may be protected from a refusal for points."""
        path = transaction.mail.written
        sender = sender_of(from_field, path, client.address, verdict.authentication)
        if self._correspondents is None or not sender.is_shown:
            return False
        asked = [
            name
            for name, policy in transaction.policies.items()
            if policy.protect_known and decide(verdict, policy, sender).reason == "score"
        ]
        if not asked:
            return False
        try:
            return await self._correspondents.is_protected(sender.address, asked)
        except Unavailable as fault:
            log.warning("correspondents are not known now", fault=fault)
            return True

    def _refusal(
        self,
        transaction: Transaction,
        message: MessageBuffer,
        client: Client,
        decisions: list[Decision],
        verdict: Verdict,
        sender: Sender,
    ) -> Reply:
        decision = min(decisions, key=lambda each: REFUSED_BY_VERDICT.index(each.reason))
        reply = refused_by(decision, verdict, str(transaction.id))
        path = transaction.mail.written
        evaluation = evaluation_of_refused(verdict, client.address, path)
        counted = {} if evaluation is None else {"dmarc": encode_evaluation(evaluation)}
        self._record(
            transaction,
            client,
            list(transaction.recipients),
            reply,
            decision.reason,
            size=message.size,
            author=sender.address,
            score=decision.score,
            # an entry of one recipient's list is not for the others
            rule=decision.detail if decision.reason != "blocked" or len(decisions) == 1 else "",
            **counted,
        )
        return reply

    def _record(
        self,
        transaction: Transaction,
        client: Client,
        recipients: list[str],
        reply: Reply,
        reason: str,
        **about: object,
    ) -> None:
        transaction.is_told = True
        detail: dict[str, object] = {
            "service": self._settings.smtp_role,
            "client": client.address,
            "recipients": recipients,
            "reason": reason,
            "reply": f"{reply.code} {reply.status} {reply.text}",
            **head_fields(transaction.mail.written, transaction.summary),
        }
        self._events.record(Event(transaction.id, time.time(), REFUSED, detail | about))


async def _facts(transaction: Transaction) -> SenderFacts | None:
    return None if transaction.sender_facts is None else await transaction.sender_facts


def _refuses(decision: Decision, verdict: Verdict) -> bool:
    return decision.action is Action.REFUSE and (verdict.is_complete or decision.reason != "score")


def _enforces(verdict: Verdict, policy: FilterPolicy, decision: Decision) -> bool:
    """Return whether a recipient's policy would apply p=reject to the message."""
    is_forwarder = is_forwarded(verdict.authentication, policy)
    return policy.enforce_dmarc and not is_forwarder and decision.reason != "allowed"


def _is_spam(decisions: list[Decision]) -> bool:
    """Return what the field says to all recipients: programs of those with MARK go by it, so that
    they have their way; otherwise one recipient's policy files nothing for another."""
    actions = {decision.action for decision in decisions}
    return Action.MARK in actions or actions <= _MARKED


def _is_welcome(
    facts: SenderFacts, policy: FilterPolicy, transaction: Transaction, client: Client
) -> bool:
    """Return whether a recipient wants mail from this client whatever lists say."""
    authentication = Authentication(iprev=facts.iprev, spf=facts.spf)
    if is_forwarded(authentication, policy):
        return True
    passed = any(each.outcome is Outcome.PASS and each.identity == "mailfrom" for each in facts.spf)
    path = transaction.mail.written if passed else ""
    return bool(matches(policy.allow, Sender(path, path, client.address, is_shown=passed)))
