"""The keys that an issuer of tokens signs with (OpenID Connect Discovery 1.0 §4, RFC 7517 §5).

Rules:

- Documents come over HTTPS, or from this very host; no redirect is followed, and no proxy of the
  environment is used.
- The configuration names the very issuer that the settings name (Discovery §4.3), or its keys are
  not taken.
- Keys are fetched now and then in the background. Who shows a key id that is not known waits for
  one fetch that all such callers share, and there is at most one of those in ``APART_SECONDS``:
  nobody can have us storm the issuer.
- While the issuer does not answer, the keys that are known remain; one that its answer names no
  more is forgotten.
- A key serves the algorithms of its own kind and no other. Symmetric keys, short ones and those for
  encryption are not taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.runtime.oidc.documents import document_in
from posthorn.runtime.oidc.trust import is_safe

log = structlog.get_logger()

APART_SECONDS = 10.0
"""The least time between two fetches for key ids that are not known."""
_MOST_KEYS = 100
_RETRY_SECONDS = 15.0
_SHORTEST_RSA = 2048  # RFC 7518 §3.3
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")
_ALGORITHMS = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""What keys of a kind, by type and curve, may have signed with."""
ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)
"""All algorithms that are taken."""

_fetches = Counter("posthorn_oidc_fetches_total", "Fetches of the issuer's keys", ["outcome"])

type Keys = Mapping[tuple[str | None, str], PyJWK]
"""Keys by id and algorithm."""


class Fetch(Protocol):
    """Gives the bytes of a document. Raises Unavailable."""

    async def __call__(self, url: str) -> bytes:
        """Fetch it."""
        ...


class IssuerKeys:
    """The keys of one issuer. ``run`` renews them until it is cancelled."""

    def __init__(
        self,
        issuer: str,
        fetch: Fetch,
        *,
        refresh_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._refresh_seconds = refresh_seconds
        self._fetch = fetch
        self._clock = clock
        self._keys: Keys = {}
        self._asked_at = float("-inf")
        self._is_well = False
        self._renewing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Renew the keys now and then."""
        try:
            while True:
                await self._renewed()
                seconds = self._refresh_seconds
                await asyncio.sleep(seconds if self._is_well else min(_RETRY_SECONDS, seconds))
        finally:
            if self._renewing is not None:
                self._renewing.cancel()

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key with this id; without an id, the only one there is for the algorithm.
        None when the issuer has no such key. Raises Unavailable when that cannot be known."""
        if self._knows(kid):
            return self._known(kid, algorithm)
        if self._renewing is not None or self._clock() - self._asked_at >= APART_SECONDS:
            await self._renewed()
        if not self._is_well and not self._knows(kid):
            raise Unavailable("oidc", "the issuer's keys cannot be had")
        return self._known(kid, algorithm)

    def _knows(self, kid: str | None) -> bool:
        return bool(self._keys) if kid is None else any(each == kid for each, _ in self._keys)

    def _known(self, kid: str | None, algorithm: str) -> PyJWK | None:
        if kid is not None:
            return self._keys.get((kid, algorithm))
        fitting = [key for (_, each), key in self._keys.items() if each == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _renewed(self) -> None:
        """Wait for the fetch that is under way, or begin one. Who waits may give up; the fetch
        goes on."""
        if self._renewing is None:
            self._asked_at = self._clock()
            self._renewing = asyncio.create_task(self._renew(), name="oidc-keys")
        await asyncio.shield(self._renewing)

    async def _renew(self) -> None:
        try:
            self._keys = await self._fetched()
        except Unavailable as fault:
            self._is_well = False
            _fetches.labels("failed").inc()
            log.warning(
                "the keys of the issuer of tokens cannot be had",
                fault=fault,
                known=len(self._keys),
            )
        else:
            self._is_well = True
            _fetches.labels("done").inc()
        finally:
            self._renewing = None

    async def _fetched(self) -> Keys:
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        configuration = document_in(await self._fetch(place))
        if configuration.get("issuer") != self._issuer:
            raise Unavailable("oidc", "the configuration is another issuer's")
        source = configuration.get("jwks_uri")
        if not isinstance(source, str) or not is_safe(source):
            raise Unavailable("oidc", "the configuration names no jwks_uri that is HTTPS")
        found = keys_in(document_in(await self._fetch(source)))
        if not found:
            raise Unavailable("oidc", "the issuer shows no key that can be used")
        return found


def keys_in(document: Mapping[str, Any]) -> Keys:
    """Read a JWK Set; what cannot be used in it is passed over (RFC 7517 §5)."""
    listed = document.get("keys")
    found: dict[tuple[str | None, str], PyJWK] = {}
    for each in listed[:_MOST_KEYS] if isinstance(listed, list) else []:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        kid, named = each.get("kid"), each.get("alg")
        if kid is not None and not isinstance(kid, str):
            continue
        if (each.get("kty"), each.get("crv")) not in _ALGORITHMS:
            continue
        for algorithm in _ALGORITHMS[each["kty"], each.get("crv")]:
            if named in (None, algorithm) and (key := _key(each, algorithm)) is not None:
                found.setdefault((kid, algorithm), key)
    return found


def _key(source: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    try:
        key = PyJWK.from_dict({name: source[name] for name in _PUBLIC if name in source}, algorithm)
    except (PyJWTError, ValueError, TypeError):
        log.warning("a key of the issuer of tokens does not read", kid=str(source.get("kid"))[:100])
        return None
    if source["kty"] == "RSA" and key.key.key_size < _SHORTEST_RSA:
        return None
    return key
