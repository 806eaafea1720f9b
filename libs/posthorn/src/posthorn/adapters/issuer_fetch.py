"""Documents of an issuer of tokens over HTTPS, for ``posthorn.runtime.oidc.keys``, and its token
endpoint.

No redirect is followed, and no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import httpcore

from posthorn.ports.errors import Unavailable
from posthorn.runtime.oidc.documents import document_in
from posthorn.runtime.tls import verifying_context

FETCH_SECONDS = 5.0
"""How long the issuer may take for one document."""
_REMEMBER_SECONDS = 600.0
_MOST_BYTES = 256 * 1024


async def fetch(url: str) -> bytes:
    """GET a document. Raises Unavailable."""
    status, data = await _asked("GET", url, {}, None)
    if status != 200:
        raise Unavailable("oidc", f"the issuer answers {status}")
    return data


class HttpIssuer:
    """An issuer's configuration and its token endpoint."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._known: tuple[float, Mapping[str, Any]] | None = None

    async def configuration(self) -> Mapping[str, Any]:
        """Return the configuration (OpenID Connect Discovery 1.0 §4), as it was within the last
        ten minutes. Raises Unavailable."""
        if self._known is not None and time.monotonic() - self._known[0] < _REMEMBER_SECONDS:
            return self._known[1]
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = document_in(await fetch(place))
        if found.get("issuer") != self._issuer:
            raise Unavailable("oidc", "the configuration is another issuer's")
        self._known = time.monotonic(), found
        return found

    async def post(self, url: str, form: Mapping[str, str], basic: str | None) -> Mapping[str, Any]:
        """POST a form; return the JSON object of the answer, whatever its status below 500. Raises
        Unavailable."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if basic is not None:
            headers["Authorization"] = f"Basic {basic}"
        status, data = await _asked("POST", url, headers, urlencode(form).encode())
        if status >= 500:
            raise Unavailable("oidc", f"the issuer answers {status}")
        return document_in(data)


async def _asked(
    method: str, url: str, headers: Mapping[str, str], content: bytes | None
) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            return await _ask(method, url, headers, content)
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


async def _ask(
    method: str, url: str, headers: Mapping[str, str], content: bytes | None
) -> tuple[int, bytes]:
    fields = [
        ("Host", urlsplit(url).netloc),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
    ]
    trust = verifying_context()
    # beside the system's anchors, among them what SSL_CERT_FILE names
    trust.load_verify_locations(certifi.where())
    async with (
        httpcore.AsyncConnectionPool(ssl_context=trust) as pool,
        pool.stream(
            method,
            url,
            headers=[*fields, *headers.items(), ("User-Agent", "posthorn")],
            content=content,
        ) as response,
    ):
        data = b""
        async for part in response.aiter_stream():
            data += part
            if len(data) > _MOST_BYTES:
                raise Unavailable("oidc", "the issuer's document is too long")
        return response.status, data
