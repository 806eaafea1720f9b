"""All checks of sender authentication on one message: iprev, SPF, DKIM, ARC and DMARC.

A message in memory::

    header, body = split_message(content)
    hashes = BodyHashes.of(header)
    hashes.update(body)
    found = await authenticate(lookup, check, header=header, hashes=hashes, ...)

A larger one is read twice at most: its header first, then its body in pieces; ``is_needed`` says
whether anybody asks for the hashes of the body.
"""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.wire.auth import arc
from posthorn.wire.auth.author_domains import author_domains_of
from posthorn.wire.auth.dkim_verify import verify_with
from posthorn.wire.auth.dmarc import Records, check_dmarc
from posthorn.wire.auth.header_signatures import BodyHashes, split_message
from posthorn.wire.auth.iprev import check_iprev
from posthorn.wire.auth.lookup import Lookup
from posthorn.wire.auth.public_key import PublicKeys, SignatureCheck
from posthorn.wire.auth.results import Arc, Authentication, Dkim, Iprev, Spf
from posthorn.wire.auth.spf import check_spf
from posthorn.wire.auth.waiting import Gather, in_turn

__all__ = ["BodyHashes", "authenticate", "author_domains_of", "split_message"]


async def authenticate(
    lookup: Lookup,
    check: SignatureCheck,
    *,
    header: bytes,
    hashes: BodyHashes,
    client: str,
    helo: str,
    reverse_path: str,
    hostname: str,
    now: float,
    iprev: Iprev | None = None,
    spf: tuple[Spf, ...] | None = None,
    authors: Sequence[str] | None = None,
    records: Records | None = None,
    gather: Gather = in_turn,
) -> Authentication:
    """Return all results for a message. Never raises for what the message or the DNS holds.

    ``hashes`` is of the same header and has taken the whole body. ``iprev`` and ``spf`` are results
    that are known already, ``authors`` what ``author_domains_of`` finds, ``records`` what is known of
    their DMARC records, to which it adds. ``now`` is in seconds since the epoch. With
    ``asyncio.gather`` what does not depend on each other waits for DNS at once.
    """
    keys = PublicKeys(lookup, check)
    authors = author_domains_of(header) if authors is None else authors
    records = Records(lookup) if records is None else records

    async def known_iprev() -> Iprev:
        return await check_iprev(lookup, client) if iprev is None else iprev

    async def known_spf() -> tuple[Spf, ...]:
        if spf is not None:
            return spf
        return await check_spf(
            lookup,
            client=client,
            helo=helo,
            reverse_path=reverse_path,
            hostname=hostname,
            now=int(now),
        )

    dkim: tuple[Dkim, ...]
    if iprev is None or spf is None or hashes.signatures.has_chain:
        # the author's policy first: what a sender chose may keep DNS busy meanwhile
        _, found_iprev, found_spf, dkim, chain = await gather(
            records.fetch(authors),
            known_iprev(),
            known_spf(),
            verify_with(keys, hashes, now=now, gather=gather),
            arc.validate(keys, hashes, now=now, gather=gather),
        )
    else:
        found_iprev, found_spf, chain = iprev, spf, Arc()
        signatures = verify_with(keys, hashes, now=now, gather=gather)
        if records.is_known(authors):
            dkim = await signatures
        else:
            _, dkim = await gather(records.fetch(authors), signatures)
    dmarc = await check_dmarc(lookup, authors, found_spf, dkim, records)
    return Authentication(found_iprev, found_spf, dkim, dmarc, chain)
