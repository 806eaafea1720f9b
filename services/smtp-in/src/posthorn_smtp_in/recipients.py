"""Whether a recipient is accepted at RCPT (RFC 5321 §3.3, §4.5.1).

Rules:

- A recipient is what the directory says. A directory that cannot answer is a fault of ours and a
  4yz (promise 3), and so is what it does not hold while it is behind with changes (ADR 22).
- Mail for a postmaster who is nobody here goes to another that the installation or the domain has
  (``runtime.postmasters``).
- One thing the directory does not know: rewritten reverse-paths (``wire.srs``), to which bounces of
  forwarded mail come back. They take nothing but what looks like a report or an automatic reply,
  which is known at the end of data.
- Recipients at other domains are for the submission role only: never an open relay (promise 6).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from posthorn.model.directory_entry import RecipientStatus
from posthorn.ports.directory import DirectoryBehind, DirectoryWithRoom
from posthorn.ports.errors import Unavailable
from posthorn.runtime.postmasters import LOCAL_PART, Postmasters
from posthorn.wire import srs
from posthorn.wire.address import Address
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import Mail, Rcpt
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.refusals import record_refusal
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.transaction import Client, Transaction, dsn_of

log = structlog.get_logger()

_DAY_SECONDS = 86_400
_PATIENCE = 5
"""How many times the allowed unknown recipients a session may name while its transaction has a
good one."""

_NOBODY = (RecipientStatus.UNKNOWN, RecipientStatus.FOREIGN)
_REPLIES = {
    RecipientStatus.DELIVERABLE: smtp.RECIPIENT_OK,
    RecipientStatus.OVER_QUOTA: smtp.OVER_QUOTA,
    RecipientStatus.SUSPENDED: smtp.SUSPENDED,
    RecipientStatus.LIMITED: smtp.LIMITED,
    RecipientStatus.UNKNOWN: smtp.UNKNOWN_RECIPIENT,
    RecipientStatus.FOREIGN: smtp.FOREIGN_RECIPIENT,
}


class Recipients:
    """Judges recipients by the directory."""

    def __init__(
        self,
        settings: SmtpSettings,
        directory: DirectoryWithRoom,
        srs_keys: Sequence[bytes],
        *,
        takes_remote: bool,
        takes_single_labels: bool = False,
    ) -> None:
        """``takes_remote``: recipients at other domains are accepted. Delivery asks Postgres
        what an address is, so for these it is enough that the directory does not know it.
        ``takes_single_labels``: also at domains that are not fully qualified."""
        self._settings = settings
        self._directory = directory
        self._srs_keys = srs_keys
        self._takes_remote = takes_remote
        self._takes_single_labels = takes_single_labels
        self._postmasters = Postmasters(settings.smtp_postmaster, settings.smtp_hostname)

    async def judge(self, transaction: Transaction, rcpt: Rcpt, client: Client, most: int) -> Reply:
        """Judge RCPT, of ``most`` recipients; one that is accepted is entered in the
        transaction."""
        reply = await self._judge(transaction, rcpt, most)
        if reply is smtp.UNKNOWN_RECIPIENT:
            client.unknown += 1
            # an old list with some good addresses in it must get through, as far as patience goes
            patience = _PATIENCE if transaction.recipients else 1
            if client.unknown >= self._settings.smtp_max_unknown * patience:
                reply = smtp.HARVESTING
        if reply is not smtp.RECIPIENT_OK:
            recipient = str(rcpt.forward_path or "postmaster")
            record_refusal(reply, client, message=str(transaction.id), recipient=recipient)
        return reply

    async def _judge(self, transaction: Transaction, rcpt: Rcpt, most: int) -> Reply:
        address = rcpt.forward_path
        wanted = address or self._postmasters.general[0]
        if str(wanted) in transaction.recipients:
            return smtp.RECIPIENT_OK
        if len(transaction.recipients) >= most:
            return smtp.TOO_MANY_RECIPIENTS
        try:
            standing, is_sure = await self._standing(wanted)
            if _is_nobody(standing, address):
                domain = address.domain if address else None
                async for other in self._postmasters.candidates(self._directory, domain):
                    found, is_known = await self._standing(other)
                    is_sure = is_sure and is_known
                    if found not in _NOBODY:
                        wanted, standing = other, found
                        break
            size = transaction.mail.size
            if standing is RecipientStatus.DELIVERABLE and size is not None:
                room = await self._directory.room(wanted)
                if room is not None and size > room:
                    return smtp.NO_ROOM
        except Unavailable as fault:
            log.warning(
                "the directory does not answer",
                message=str(transaction.id),
                fault=fault,
            )
            return smtp.FAULT
        if standing is RecipientStatus.DELIVERABLE:
            transaction.recipients.setdefault(str(wanted), dsn_of(rcpt))
            return smtp.RECIPIENT_OK
        if standing is RecipientStatus.UNKNOWN and self._is_returning(transaction.mail, wanted):
            # as written: the address it stands for may be of a host that minds the case
            transaction.recipients.setdefault(rcpt.written, dsn_of(rcpt))
            transaction.returns = True
            return smtp.RECIPIENT_OK
        if standing is RecipientStatus.FOREIGN and address is not None and self._takes_remote:
            if not (self._takes_single_labels or "." in address.domain or "[" in address.domain):
                return smtp.UNQUALIFIED_DOMAIN  # RFC 6409 §4.2
            transaction.recipients.setdefault(rcpt.written, dsn_of(rcpt))
            return smtp.RECIPIENT_OK
        if not is_sure and not (standing is RecipientStatus.FOREIGN and self._takes_remote):
            return smtp.FAULT
        if standing is RecipientStatus.FOREIGN and address is None:
            return smtp.UNKNOWN_RECIPIENT  # nobody asked for relaying: there is just no postmaster
        return _REPLIES[standing]

    async def _standing(self, address: Address) -> tuple[RecipientStatus, bool]:
        """Return what the directory says, and whether that is sure. Raises Unavailable."""
        try:
            return await self._directory.standing(address), True
        except DirectoryBehind as behind:
            return behind.standing, False

    def _is_returning(self, mail: Mail, address: Address) -> bool:
        """Return whether this is a bounce that comes to a reverse-path that we have rewritten."""
        if mail.reverse_path is not None or not srs.is_srs(address.local):
            return False
        try:
            srs.verify(address.local, self._srs_keys, int(time.time() // _DAY_SECONDS))
        except srs.SrsError as error:
            log.info("not a reverse-path of ours", recipient=str(address), detail=str(error))
            return False
        return True


def _is_nobody(standing: RecipientStatus, address: Address | None) -> bool:
    """Return whether an address, None for the bare one, is a postmaster's, and nobody's here by
    itself."""
    if address is None:
        return standing in _NOBODY
    return standing is RecipientStatus.UNKNOWN and address.local == LOCAL_PART
