"""SRS: the original addresses of rewritten reverse-paths among a message's recipients.

Rules:

- Only messages with the null reverse-path are sent back: anything else would make this host an open
  relay (ADR 15).
- An address rewritten here more than once is resolved step by step, ``MOST_REWRITINGS`` times at
  most.
- The senders that SRS2 addresses name are stored (ADR 27). They are looked up in rounds, for all
  messages together, and only after the address has verified. A sender that is no longer stored is
  treated like an expired address.
- An address that does not verify is resolved like any other, and most likely does not exist.
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
"""For each rewritten recipient, the addresses that it stands for, step by step."""


async def find_srs_originals(
    envelopes: Iterable[Envelope], keys: Sequence[bytes], mailboxes: Mailboxes
) -> Mapping[UUID, SrsOriginals]:
    """Return the originals of messages, by message id. ``keys``: SRS keys that may have signed
    the addresses. Raises Unavailable."""
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
    """Return the originals of one message as far as ``known`` holds them (None: not stored), and
    the long senders to look up.

    The recipient of a DSN is resolved in its canonical form: a reverse-path is kept as written, a
    local address is canonical.
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
                chain.append(ours)  # in case it is a local address after all
            found[recipient] = tuple(chain)
        elif envelope.role == "notice" and (ours := canonical(recipient)) != recipient:
            found[recipient] = (ours,)
    return found, wanted


def day_of(envelope: Envelope) -> int:
    """Return the day, since the epoch, at which a message came in: the same however often it is
    delivered."""
    return int(envelope.received_at // _DAY_SECONDS)
