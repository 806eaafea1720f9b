"""Documents of an issuer of tokens over HTTPS, for ``posthorn.runtime.oidc.keys``.

No redirect is followed, and no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import certifi
import httpcore

from posthorn.ports.errors import Unavailable
from posthorn.runtime.tls import verifying_context

FETCH_SECONDS = 5.0
"""How long the issuer may take for one document."""
_MOST_BYTES = 256 * 1024


async def fetch(url: str) -> bytes:
    """GET a document. Raises Unavailable."""
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            return await _fetch(url)
    except (
        OSError,
        EOFError,
        ValueError,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.TimeoutException,
    ) as error:
        raise Unavailable(
            "oidc", f"{urlsplit(url).hostname} does not answer: {type(error).__name__}"
        ) from None


async def _fetch(url: str) -> bytes:
    headers = [
        ("Host", urlsplit(url).netloc),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
    ]
    trust = verifying_context()
    # beside the system's anchors, among them what SSL_CERT_FILE names
    trust.load_verify_locations(certifi.where())
    async with (
        httpcore.AsyncConnectionPool(ssl_context=trust) as pool,
        pool.stream("GET", url, headers=[*headers, ("User-Agent", "posthorn")]) as response,
    ):
        data = b""
        async for part in response.aiter_stream():
            data += part
            if len(data) > _MOST_BYTES:
                raise Unavailable("oidc", "the issuer's document is too long")
        if response.status != 200:
            raise Unavailable("oidc", f"the issuer answers {response.status}")
        return data
