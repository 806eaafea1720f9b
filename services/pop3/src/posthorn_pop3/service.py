"""What the POP3 service decides: who may log in, whose maildrop is whose, what is deleted.

Rules:

- A fault of ours is never an empty maildrop and never a wrong password (promise 3): it is ``[SYS/TEMP]``.
- A maildrop is held under a lease by one session. All leases of the process are renewed in one call; a session whose lease is lost
  deletes nothing.
- Of all open maildrops it is asked in one call a second whether what their sessions logged in with still holds: a session whose
  password was changed or taken away, whose account is suspended or gone, or whose lease was taken over, is ended at once and
  deletes nothing. It gives its lease back, so that the owner can log in. A commit asks once more, in its own transaction.
- While Postgres cannot be asked, no session ends for it.
- A lease that could not be given back is given back once Postgres is there again; until then its maildrop is ``[SYS/TEMP]``.
- What a session does in its maildrop is in ``visit``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.ports.access import Ending, Proof
from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import RENEW_SECONDS, MaildropBusy, Maildrops
from posthorn.ports.maildrops import AccountLogin as Account
from posthorn.runtime.familiar_places import place_of
from posthorn.runtime.ids import new_id
from posthorn.runtime.passwords import Busy
from posthorn.wire.address import AddressError, parse_address
from posthorn.wire.pop3.events import Login
from posthorn_pop3.doorkeeper import Doorkeeper
from posthorn_pop3.reads import Reads
from posthorn_pop3.snapshot import Snapshot
from posthorn_pop3.visit import Bodies, Visit

log = structlog.get_logger()

WATCH_SECONDS = 1.0
"""How often it is asked whether the sessions of open maildrops may go on."""


_logins = Counter("posthorn_pop3_logins_total", "Attempts to log in", ["outcome"])
_revoked = Counter("posthorn_pop3_revoked_total", "Sessions ended because they might not go on", ["reason"])
_leases_lost = Counter("posthorn_pop3_leases_lost_total", "Sessions whose lease ran out")


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


def _any_number(account: str, tenant: str) -> bool:
    return True


class PostOffice:
    """All open maildrops of this process."""

    def __init__(self, maildrops: Maildrops, bodies: Bodies, doorkeeper: Doorkeeper, reads: Reads) -> None:
        self._maildrops = maildrops
        self._bodies = bodies
        self._doorkeeper = doorkeeper
        self._reads = reads
        self._visits: dict[UUID, Visit] = {}
        self._owed: dict[UUID, int] = {}  # leases to be given back: holder and account

    async def log_in(self, login: Login, client: str, claim: Callable[[str, str], bool] = _any_number) -> Visit:
        """Check name and password, take the lease, take the snapshot; ``client`` is its IP address. Raises LoginFailed.

        ``claim`` tells whether there is a place for one more session of an account and a tenant.
        """
        try:
            visit = await self._log_in(login, client, claim)
        except Busy:
            failed = LoginFailed("busy", "[SYS/TEMP] too many logins at this moment, try again")
        except Unavailable as error:
            log.warning("login not possible", part=error.part, detail=str(error))
            failed = LoginFailed("fault", "[SYS/TEMP] the maildrop cannot be reached at this moment, try again")
        except MaildropBusy:
            # fetchmail takes it for a wrong password unless the text says "locked" or [IN-USE]
            failed = LoginFailed("in-use", "[IN-USE] maildrop is locked by another session, try again later")
        except LoginFailed as error:
            failed = error
        else:
            _logins.labels("accepted").inc()
            return visit
        _logins.labels(failed.outcome).inc()
        raise failed

    async def _log_in(self, login: Login, client: str, claim: Callable[[str, str], bool]) -> Visit:
        known, proof = await self._known(login, client)
        if not claim(known.address, str(known.tenant)):
            raise LoginFailed("sessions", "[SYS/TEMP] too many sessions of this account or its tenant, try again later")
        holder = new_id()
        await self._give_back(known.account)
        try:
            listing = await self._maildrops.open(known.account, holder, by_app_password=bool(proof.app_password))
        except Unavailable:
            self._owe(known.account, holder)
            raise
        visit = Visit(self._maildrops, self._bodies, self._reads, known, proof, holder, Snapshot(listing))
        self._visits[holder] = visit
        visit.on_leave = lambda: self._visits.pop(holder, None)
        visit.on_owed = lambda: self._owe(known.account, holder)
        return visit

    async def _known(self, login: Login, client: str) -> tuple[Account, Proof]:
        address = _canonical(login.name)
        place = place_of(address, client) if address else b""
        known = await self._maildrops.login(address, place) if address else None
        is_own = not login.authorize_as or _canonical(login.authorize_as) == address
        proof = await self._doorkeeper.by_app_password(known, login.password)
        if proof is None or not is_own:
            familiar = known is not None and known.place_age is not None
            async with self._doorkeeper.attempt(address, client, familiar=familiar) as attempt:
                if attempt.refused:
                    raise LoginFailed("throttled", "[SYS/TEMP] too many failed logins, try again in some minutes")
                proof = await self._doorkeeper.by_password(known, login.password)
                if proof is None or not is_own:
                    await attempt.wrong()
                    raise LoginFailed("wrong", "[AUTH] name or password is wrong")
        assert known is not None
        if not known.active:
            raise LoginFailed("suspended", "[SYS/PERM] this account is suspended, ask its administrator")
        self._doorkeeper.let_in(known, place)
        return known, proof

    def _owe(self, account: int, holder: UUID) -> None:
        self._owed[holder] = account

    async def _give_back(self, account: int | None = None) -> None:
        """Give back the leases that could not be, all or those of an account. Raises Unavailable."""
        for holder, owner in list(self._owed.items()):
            if account in (None, owner):
                await self._maildrops.release(owner, holder)
                self._owed.pop(holder, None)

    async def keep_leases(self) -> None:
        """Renew for ever; run as a supervised task."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew the leases of all open maildrops once, in one call."""
        asked = dict(self._visits)
        if not asked:
            return
        try:
            held = await self._maildrops.renew([(visit.account, holder) for holder, visit in asked.items()])
        except Unavailable as error:
            # They may run out meanwhile; the next renewal, or the commit, finds out.
            log.warning("leases not renewed", part=error.part, detail=str(error), sessions=len(asked))
            return
        for holder, visit in asked.items():
            if holder not in held and not visit.is_leaving and self._visits.pop(holder, None) is not None:
                visit.end(Ending.TAKEN)
                _leases_lost.inc()
                log.warning("lease lost", account=visit.address, session=str(holder))

    async def keep_watch(self) -> None:
        """End sessions that may not go on, for ever; run as a supervised task."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.watch()

    async def watch(self) -> None:
        """End sessions that may not go on, and give back leases that could not be."""
        try:
            await self._give_back()
        except Unavailable as error:
            log.warning("leases not given back", part=error.part, detail=str(error), leases=len(self._owed))
            return
        asked = dict(self._visits)
        if not asked:
            return
        try:
            ended = await self._maildrops.ended({holder: visit.proof for holder, visit in asked.items()})
        except Unavailable as error:
            log.warning("sessions not looked at", part=error.part, detail=str(error), sessions=len(asked))
            return
        for holder, ending in ended.items():
            visit = asked[holder]
            if holder in self._visits and visit.ending is None and not visit.is_leaving:
                if ending is Ending.TAKEN:
                    self._visits.pop(holder, None)
                    _leases_lost.inc()
                visit.end(ending)
                _revoked.labels(ending.value).inc()
                log.info("session is ended", account=visit.address, session=str(holder), why=ending.value)


def _canonical(name: str) -> str | None:
    try:
        return str(parse_address(name))
    except AddressError:
        return None
