"""The commands of the next transaction, sent in one write with the end of the content before it
(RFC 2920 §3.1: RSET and MAIL may stand in one group with the final dot).

Rules:

- Only what is certain to be sent next is announced, for after DATA there is no way back but to
  close the connection: a message in memory whose form the host takes as it is, by DATA.
- RSET comes first. It is harmless after a message that was taken, it ends one that was not, and a
  host that minds the grouping says so there, where no reply concerns a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from posthorn.ports.errors import Unavailable
from posthorn_relay.smtp.content import Content
from posthorn_relay.smtp.downgrade import is_acceptable
from posthorn_relay.smtp.envelope import is_unsafe, mail_command, rcpt_command
from posthorn_relay.smtp.obstacles import obstacle
from posthorn_relay.smtp.types import MailTransaction


@dataclass(frozen=True, slots=True)
class Announcement:
    """A transaction whose commands are sent ahead."""

    transaction: MailTransaction
    content: Content
    """Its only block has been read."""
    commands: bytes
    """RSET, MAIL, each RCPT, and DATA."""
    replies: int
    """How many replies they ask for."""


async def announcement_of(
    transaction: MailTransaction, offered: Mapping[str, str], *, has_login: bool
) -> Announcement | None:
    """Return the announcement of a transaction; None: it is not to be announced to a host with
    these extensions."""
    if obstacle(transaction, offered) or any(
        is_unsafe(recipient.address) for recipient in transaction.recipients
    ):
        return None
    content = Content(transaction.content)
    try:
        await content.advance()
        if not content.ended or not is_acceptable(transaction, content.block, offered):
            await content.close()
            return None
    except Unavailable:  # its own turn will tell
        return None
    commands = [
        b"RSET\r\n",
        mail_command(transaction, offered, has_login=has_login),
        *(rcpt_command(recipient, offered) for recipient in transaction.recipients),
        b"DATA\r\n",
    ]
    return Announcement(transaction, content, b"".join(commands), len(commands))
