"""What the POP3 service decides: who may log in, whose maildrop is whose, what is deleted.

Rules:

- A fault of ours is never an empty maildrop and never a wrong password (promise 3): it is
  ``[SYS/TEMP]``.
- A maildrop is held under a lease by one session. All leases of the process are renewed in one
  call; a session whose lease is lost deletes nothing.
- Of all open maildrops it is asked in one call a second whether what their sessions logged in with
  still holds: a session whose password was changed or taken away, whose account is suspended or
  gone, or whose lease was taken over, is ended at once and deletes nothing. It gives its lease
  back, so that the owner can log in. A commit asks once more, in its own transaction.
- While Postgres cannot be asked, no session ends for it. A token ends by the clock.
- QUIT is answered before the lease is released (RFC 1939 §6), and whoever logs in after it must find
  the maildrop free: in this process the login waits for the release (``lease_returns``); a maildrop
  that is held elsewhere is tried a second time before it is ``[IN-USE]``.
- What a session does in its maildrop is in ``open_maildrop``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.ports.access import Ending, Proof
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import RENEW_SECONDS, Listing, MaildropBusy, Maildrops
from posthorn.ports.maildrops import AccountLogin as Account
from posthorn.runtime import traces
from posthorn.runtime.ids import new_id
from posthorn.runtime.mail_login import LoginRefused, MailLogin, Refusal
from posthorn.runtime.passwords import Busy
from posthorn.runtime.read_events import ReadEvents
from posthorn.wire.pop3.events import Login, TokenLogin
from posthorn_pop3.known_listings import KnownListings
from posthorn_pop3.lease_returns import LeaseReturns
from posthorn_pop3.login_days import LoginDays
from posthorn_pop3.metrics import LOGIN_SECONDS, TEMPORARY_FAILURES
from posthorn_pop3.open_maildrop import OpenMaildrop
from posthorn_pop3.snapshot import Snapshot

log = structlog.get_logger()

WATCH_SECONDS = 1.0
"""How often it is asked whether the sessions of open maildrops may go on."""
BUSY_SECONDS = 0.25
"""Pause before a maildrop that is held is tried again: its session may have ended just now."""


_logins = Counter("posthorn_pop3_logins_total", "Attempts to log in", ["outcome"])
_revoked = Counter(
    "posthorn_pop3_revoked_total", "Sessions ended because they might not go on", ["reason"]
)
_leases_lost = Counter("posthorn_pop3_leases_lost_total", "Sessions whose lease ran out")


_REFUSALS = {
    Refusal.WRONG: "[AUTH] name or password is wrong",
    # not [AUTH]: mail clients would ask their owners for a new password
    Refusal.THROTTLED: "[SYS/TEMP] too many failed logins, try again in some minutes",
    Refusal.SUSPENDED: "[SYS/PERM] this account is suspended, ask its administrator",
    Refusal.NETWORK: "[SYS/PERM] this account may not log in from your network",
}


class LoginFailed(Exception):
    """No login; ``reply`` is the text after ``-ERR``, response code included."""

    def __init__(self, outcome: str, reply: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        """A word for metrics and logs."""
        self.reply = reply

    @property
    def wrong(self) -> bool:
        """Whether name or password were wrong: to be delayed, and counted against the client."""
        return self.outcome == "wrong"

    @property
    def is_our_fault(self) -> bool:
        """Whether it failed by a fault or for want of capacity, not by what the client did."""
        return self.outcome in ("fault", "busy")


def _count_login(outcome: str, began: float) -> None:
    _logins.labels(outcome).inc()
    if traces.tracer is not None:
        start = traces.nanoseconds_ago(time.monotonic() - began)
        traces.login(traces.tracer, new_id(), start, "pop3", outcome)


def _any_number(account: str, tenant: str) -> bool:
    return True


class MaildropService:
    """All open maildrops of this process."""

    def __init__(
        self,
        maildrops: Maildrops,
        bodies: BodyReader,
        mail_login: MailLogin[Account],
        read_events: ReadEvents,
        login_days: LoginDays | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._maildrops = maildrops
        self._bodies = bodies
        self._mail_login = mail_login
        self._read_events = read_events
        self._login_days = login_days
        self._clock = clock
        self._open: dict[UUID, OpenMaildrop] = {}
        self._known = KnownListings()
        self._returns = LeaseReturns(maildrops)

    async def log_in(
        self,
        login: Login | TokenLogin,
        client: str,
        claim: Callable[[str, str], bool] = _any_number,
    ) -> OpenMaildrop:
        """Check name and password, or the token, take the lease, take the snapshot; ``client`` is its IP address.
        Raises LoginFailed.

        ``claim`` tells whether there is a place for one more session of an account and a tenant.
        """
        began = time.monotonic()
        try:
            maildrop = await self._log_in(login, client, claim)
        except Busy:
            failed = LoginFailed("busy", "[SYS/TEMP] too many logins at this moment, try again")
        except Unavailable as error:
            log.warning("login not possible", fault=error)
            failed = LoginFailed(
                "fault", "[SYS/TEMP] the maildrop cannot be reached at this moment, try again"
            )
        except MaildropBusy:
            # fetchmail takes it for a wrong password unless the text says "locked" or [IN-USE]
            failed = LoginFailed(
                "in-use", "[IN-USE] maildrop is locked by another session, try again later"
            )
        except LoginFailed as error:
            failed = error
        else:
            LOGIN_SECONDS.observe(time.monotonic() - began)
            _count_login("accepted", began)
            return maildrop
        _count_login(failed.outcome, began)
        if failed.is_our_fault:
            TEMPORARY_FAILURES.labels("login").inc()
        raise failed

    async def _log_in(
        self, login: Login | TokenLogin, client: str, claim: Callable[[str, str], bool]
    ) -> OpenMaildrop:
        try:
            if isinstance(login, TokenLogin):
                known, proof = await self._mail_login.log_in_by_token(login.bearer, client)
            else:
                known, proof = await self._mail_login.log_in(
                    login.name, login.password, client, acts_as=login.authorize_as
                )
        except LoginRefused as refused:
            raise LoginFailed(refused.refusal.value, _REFUSALS[refused.refusal]) from None
        if self._login_days is not None:
            self._login_days.note(known.account)
        if not claim(known.address, str(known.tenant)):
            raise LoginFailed(
                "sessions",
                "[SYS/TEMP] too many sessions of this account or its tenant, try again later",
            )
        holder = new_id()
        await self._returns.freed(known.account)
        listing = await self._opened(known.account, holder, proof)
        maildrop = OpenMaildrop(
            self, self._maildrops, self._bodies, known, proof, holder, Snapshot(listing)
        )
        self._open[holder] = maildrop
        return maildrop

    async def _opened(self, account: int, holder: UUID, proof: Proof) -> Listing:
        """Take the lease and return the listing. Raises MaildropBusy, Unavailable."""
        for pause in (BUSY_SECONDS, 0.0):
            try:
                listing = await self._maildrops.open(
                    account,
                    holder,
                    by_app_password=bool(proof.app_password),
                    known=self._known.get(account),
                )
            except Unavailable:
                self._returns.later(account, holder)
                raise
            except MaildropBusy:
                if not pause:
                    raise
                await asyncio.sleep(pause)
            else:
                return self._known.keep(account, listing)
        raise AssertionError  # the second try returns or raises

    @property
    def takes_tokens(self) -> bool:
        """Whether tokens of an issuer are taken."""
        return self._mail_login.tokens is not None

    def token_failure(self, mechanism: str) -> bytes:
        """Return the challenge after a token that was refused."""
        tokens = self._mail_login.tokens
        return b"" if tokens is None else tokens.failure(mechanism)

    def closed(self, holder: UUID) -> None:
        """Forget a maildrop that its session has closed."""
        self._open.pop(holder, None)

    async def release(self, account: int, holder: UUID) -> None:
        """Release a lease, at once or when Postgres is there again. Raises nothing."""
        await self._returns.release(account, holder)

    def retrieved(self, messages: Sequence[UUID], reader: Mapping[str, str]) -> None:
        """Record that messages were sent whole to a client."""
        self._read_events.note(messages, reader)

    async def keep_leases(self) -> None:
        """Renew leases forever; run as a supervised task."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew the leases of all open maildrops once, in one call."""
        asked = dict(self._open)
        if not asked:
            return
        try:
            held = await self._maildrops.renew(
                [(maildrop.account, holder) for holder, maildrop in asked.items()]
            )
        except Unavailable as error:
            # They may run out meanwhile; the next renewal, or the commit, finds out.
            log.warning("leases not renewed", fault=error, sessions=len(asked))
            return
        for holder, maildrop in asked.items():
            if (
                holder not in held
                and not maildrop.is_leaving
                and self._open.pop(holder, None) is not None
            ):
                maildrop.end(Ending.TAKEN)
                _leases_lost.inc()
                log.warning("lease lost", account=maildrop.address, session=str(holder))

    async def keep_watch(self) -> None:
        """End sessions that may not go on, forever; run as a supervised task."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.watch()

    async def watch(self) -> None:
        """End sessions that may not go on, and release leases that could not be released."""
        now = self._clock()
        for holder, maildrop in list(self._open.items()):
            if maildrop.proof.has_expired(now):
                self._end(maildrop, holder, Ending.EXPIRED)
        try:
            await self._returns.try_again()
        except Unavailable as error:
            log.warning(
                "leases not released",
                fault=error,
                leases=len(self._returns),
            )
            return
        asked = dict(self._open)
        if not asked:
            return
        try:
            ended = await self._maildrops.ended(
                {holder: maildrop.proof for holder, maildrop in asked.items()}
            )
        except Unavailable as error:
            log.warning("sessions not checked", fault=error, sessions=len(asked))
            return
        for holder, ending in ended.items():
            self._end(asked[holder], holder, ending)

    def _end(self, maildrop: OpenMaildrop, holder: UUID, ending: Ending) -> None:
        if holder not in self._open or maildrop.ending is not None or maildrop.is_leaving:
            return
        if ending is Ending.TAKEN:
            self._open.pop(holder, None)
            _leases_lost.inc()
        maildrop.end(ending)
        _revoked.labels(ending.value).inc()
        log.info(
            "session is ended",
            account=maildrop.address,
            session=str(holder),
            why=ending.value,
        )
