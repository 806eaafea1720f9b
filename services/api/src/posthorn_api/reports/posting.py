"""Posting TLS reports to the HTTPS URLs that domains name for them (RFC 8460 §5.4).

Rules:

- Strangers name these URLs: private addresses are never connected to, no redirect is followed, and
  one round spends a limited time on them (``runtime.egress``).
- The certificate is not verified, as RFC 8460 §3 allows: the domain's TLS may be what the report is
  about, and it holds nothing that the domain's own servers did not see.
"""

from __future__ import annotations

import gzip
import ssl
import time

from posthorn.model.ip_addresses import PUBLIC_ADDRESSES, AddressPolicy
from posthorn_api.webhooks.post import Poster, Unreachable

SECONDS = 10.0
"""For one request."""
ROUND_SECONDS = 120.0
"""For all requests of a round; what is left waits for the next one."""
SENT = "sent"


class ReportPoster:
    """Posts reports. ``policy`` is another than the public addresses in tests only."""

    def __init__(self, policy: AddressPolicy = PUBLIC_ADDRESSES) -> None:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
        self._poster = Poster(policy, trust=trust, seconds=SECONDS)
        self._until = 0.0

    def begin_round(self) -> None:
        """Allow the time of a round."""
        self._until = time.monotonic() + ROUND_SECONDS

    async def post(self, url: str, content: bytes) -> str:
        """Post a JSON document once; return SENT, or why it was not taken."""
        if time.monotonic() > self._until:
            return "no time in this round"
        try:
            body = gzip.compress(content, mtime=0)
            reply = await self._poster.post(url, {"Content-Type": "application/tlsrpt+gzip"}, body)
        except Unreachable as fault:
            return str(fault)
        return SENT if reply.status // 100 == 2 else f"answered with {reply.status}"
