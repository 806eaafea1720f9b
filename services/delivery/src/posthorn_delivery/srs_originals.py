"""SRS: which addresses the rewritten reverse-paths among a message's recipients stand for.

Rules:

- Only messages from the null reverse-path go back: anything else to such an address would be a way to send through us (ADR 15).
- What was rewritten here more than once is turned back step by step, ``MOST_REWRITINGS`` times at most.
- The senders that SRS2 addresses name are stored (ADR 27). They are asked for in rounds, all messages together, and only when such
  an address has verified. A sender that is not stored any more is treated as an address that has expired.
- An address that does not verify is one like any other, which means most likely that there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from posthorn.model.envelope import Envelope
from posthorn.ports.mailboxes import LongSender, Mailboxes
from posthorn.wire.foreign_address import canonical
from posthorn.wire.srs import SrsError, is_long, is_srs, long_token, reverse

MOST_REWRITINGS = 3
_DAY_SECONDS = 86_400

type SrsOriginals = Mapping[str, tuple[str, ...]]
"""For each recipient that stands for other addresses, these one behind the other."""


async def find_srs_originals(
    envelopes: Iterable[Envelope], keys: Sequence[bytes], mailboxes: Mailboxes
) -> Mapping[UUID, SrsOriginals]:
    """Return the originals of messages, by id. ``keys`` may have made the addresses. Raises Unavailable."""
    found: dict[UUID, SrsOriginals] = {}
    known: dict[LongSender, str | None] = {}
    open_ones = list(envelopes)
    while open_ones:
        asked: set[LongSender] = set()
        waiting = []
        for envelope in open_ones:
            found[envelope.id], wanted = originals(envelope, keys, known)
            if wanted:
                asked |= wanted
                waiting.append(envelope)
        if asked:
            stored = await mailboxes.long_senders(asked)
            known |= {each: stored.get(each) for each in asked}
        open_ones = waiting
    return found


def originals(
    envelope: Envelope, keys: Sequence[bytes], known: Mapping[LongSender, str | None]
) -> tuple[SrsOriginals, set[LongSender]]:
    """Return the originals of one message as far as ``known`` tells them (None: not stored), and the long senders to be asked for.

    A recipient that a notice goes to stands for its canonical form: a reverse-path stays as it was written, which an address of
    ours need not be.
    """
    found: dict[str, tuple[str, ...]] = {}
    wanted: set[LongSender] = set()
    if envelope.reverse_path:
        return found, wanted
    day = day_of(envelope)
    for recipient in envelope.recipients:
        chain: list[str] = []
        address = recipient
        with suppress(SrsError):
            while len(chain) < MOST_REWRITINGS and is_srs(local := address.rpartition("@")[0]):
                if is_long(local):
                    sender = address.rpartition("@")[2].lower(), long_token(local, keys, day)
                    if sender not in known:
                        wanted.add(sender)
                    if (stored := known.get(sender)) is None:
                        break
                    address = stored
                else:
                    address = reverse(local, keys, day)
                chain.append(address)
        if chain:
            if (ours := canonical(chain[-1])) != chain[-1]:
                chain.append(ours)  # in case it is an address of ours after all
            found[recipient] = tuple(chain)
        elif envelope.role == "notice" and (ours := canonical(recipient)) != recipient:
            found[recipient] = (ours,)
    return found, wanted


def day_of(envelope: Envelope) -> int:
    """Return the day, since the epoch, at which a message came in: the same however often it is delivered."""
    return int(envelope.received_at // _DAY_SECONDS)
