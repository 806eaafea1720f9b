"""Whether an ARC chain is believed (RFC 8617 §7.2)."""

from __future__ import annotations

import re
from collections.abc import Collection

from posthorn.wire.auth.results import Arc, Outcome

_PASSED = re.compile(r"(?:^|[;\s])dmarc\s*=\s*pass\b", re.IGNORECASE)


def trusted_sealer(arc: Arc, sealers: Collection[str]) -> str:
    """Return the newest sealer, if a chain shows that the message passed DMARC before it was
    forwarded; else an empty string.

    Every sealer must be trusted: the oldest one says what the results were, and whoever is not
    could have written them. A trusted domain stands for its subdomains. A chain that names trusted
    sealers alone, and whose keys DNS did not give, gets the benefit of the doubt: nothing is
    refused for a fault of DNS, and nobody but a sealer can make its own keys fail.
    """
    is_shown = arc.outcome is Outcome.PASS and _PASSED.search(arc.results) is not None
    if not arc.sealers or not (is_shown or arc.outcome is Outcome.TEMPERROR):
        return ""
    if all(_is_trusted(each, sealers) for each in arc.sealers):
        return arc.sealers[0]
    return ""


def _is_trusted(sealer: str, sealers: Collection[str]) -> bool:
    labels = sealer.lower().rstrip(".").split(".")
    return any(".".join(labels[at:]) in sealers for at in range(len(labels)))
