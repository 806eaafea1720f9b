"""The policy of the submission role: in whose name people with an account send, to whom, and how
much (RFC 6409).

Rules:

- The sender and every author in the From field are addresses of the account. Any recipient may
  follow: ours as the directory says.
- A message is charged when it is complete, before it is accepted. Of the counters, those for failed
  logins are done without when they cannot be read; those for messages are a promise, and the
  message waits.
"""

from __future__ import annotations

import time

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import RateLimitSubject, Throttle, most_recipients, sent_message
from posthorn.runtime.prepaid_throttle import PrepaidThrottle
from posthorn.wire.auth.authentication_results import without_ours
from posthorn.wire.message.submission import complete
from posthorn.wire.message.trace import mail_date
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import Mail, Rcpt
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.acceptance import Acceptance, Origin
from posthorn_smtp_in.authenticator import SmtpAuthenticator
from posthorn_smtp_in.message_buffer import MessageBuffer
from posthorn_smtp_in.policy import size_allowed
from posthorn_smtp_in.recipients import Recipients
from posthorn_smtp_in.settings import SubmissionSettings
from posthorn_smtp_in.spool_limits import SpoolLimits
from posthorn_smtp_in.transaction import Client, Transaction

log = structlog.get_logger()


class SubmissionPolicy:
    """Takes mail from people who have an account, for anybody."""

    offers_dsn = True
    defence = None  # whoever logs in is known; failed logins are counted in Postgres

    def __init__(
        self,
        settings: SubmissionSettings,
        limits: SpoolLimits,
        recipients: Recipients,
        acceptance: Acceptance,
        authenticator: SmtpAuthenticator,
        throttle: Throttle,
    ) -> None:
        self.auth = authenticator
        self._settings = settings
        self._limits = limits
        self._recipients = recipients
        self._acceptance = acceptance
        self._throttle = PrepaidThrottle(throttle)

    async def sender(self, mail: Mail, client: Client) -> Reply:
        """Judge MAIL: the null reverse-path, or an address of the account."""
        reply = size_allowed(mail, self._settings)
        if reply is not smtp.SENDER_OK:
            return reply
        if client.login is None:
            return smtp.LOGIN_FIRST
        try:
            refusal = await self.auth.still_allowed(client.login, client)
            if refusal is not None:
                return refusal
            if mail.reverse_path is not None and not await self.auth.owns(
                client.login, mail.reverse_path
            ):
                return smtp.NOT_THE_OWNER
        except Unavailable as fault:
            log.warning("a sender cannot be looked up", account=client.account, fault=fault)
            return smtp.FAULT
        return smtp.SENDER_OK

    def began(self, _transaction: Transaction, _client: Client) -> None:
        """Mail of our own accounts is not scanned."""

    async def recipient(self, transaction: Transaction, rcpt: Rcpt, client: Client) -> Reply:
        """Judge RCPT: anybody, as many as a message of the account may cost: one that costs more
        must be split."""
        most, found = self._settings.smtp_max_recipients, most_recipients(self._subjects(client))
        return await self._recipients.judge(
            transaction, rcpt, client, most if found is None else min(most, found[0])
        )

    def message(self, transaction: Transaction, client: Client) -> MessageBuffer:
        """Begin a message, whose header will be completed (RFC 6409 §8)."""
        assert client.login is not None
        withheld = not self._settings.submission_trace_client
        path, trace = self._acceptance.trace(transaction, client, withheld=withheld)
        reverse_path = transaction.mail.reverse_path
        domain = reverse_path.domain if reverse_path else client.login.credentials.domain
        date, message_id = mail_date(time.time()), f"<{transaction.id}@{domain}>"

        def completed(block: bytes) -> bytes:
            block = without_ours(block, self._settings.smtp_hostname)
            transaction.submitted = complete(block, date=date, message_id=message_id)
            return transaction.submitted.block

        return MessageBuffer(
            self._limits, path + trace, len(path), completed, client=client.address
        )

    async def accept(
        self, transaction: Transaction, message: MessageBuffer, client: Client
    ) -> Reply:
        """Accept a message whose end has come."""
        return await self._acceptance.accept(transaction, message, client, self._check)

    async def _check(self, transaction: Transaction, client: Client) -> Reply | Origin:
        login, submitted = client.login, transaction.submitted
        assert login is not None and submitted is not None
        if login.revoked:
            return smtp.REVOKED
        owned = bool(submitted.authors)
        for author in (*submitted.authors, *submitted.senders):
            owned = owned and await self.auth.owns(login, author)
        if not owned and self._settings.submission_check_from:
            log.info(
                "the author is not the account", message=str(transaction.id), detail=submitted.fault
            )
            if submitted.is_unquoted:
                return smtp.UNQUOTED_NAME
            return smtp.BAD_FROM if submitted.fault else smtp.NOT_THE_AUTHOR
        if await self._throttle.take(
            sent_message(self._subjects(client), len(transaction.recipients))
        ):
            return smtp.RATE_REACHED
        known = login.credentials
        return Origin(
            "submission", known.address, known.tenant, submitted.authors[0].domain if owned else ""
        )

    def _subjects(self, client: Client) -> tuple[RateLimitSubject, ...]:
        login = client.login
        assert login is not None
        if not login.subjects:
            known = login.credentials
            limits = known.account_limits.within(self._settings.account_limits)
            login.subjects = (
                RateLimitSubject("account", known.address, limits),
                RateLimitSubject("domain", known.domain, known.domain_limits),
                RateLimitSubject("tenant", str(known.tenant), known.tenant_limits),
            )
        return login.subjects
