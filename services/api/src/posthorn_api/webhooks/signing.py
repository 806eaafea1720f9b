"""Signatures of webhooks, as Standard Webhooks has them (symmetric ones, v1).

- What is signed is ``<webhook-id>.<webhook-timestamp>.<body>``; the timestamp is that of the
  attempt, in seconds since the epoch.
- A secret is shown as ``whsec_`` and 32 random bytes in base64; these bytes are the key of the
  HMAC-SHA256.
- After a rotation the secret before signs too, for a day: the header then holds two signatures, and
  either will do.
- At rest the secrets of a webhook are one encrypted JSON document: ``[{"key": …, "until": …}]``,
  the present one first.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "whsec_"
OVERLAP_SECONDS = 86_400.0
"""How long the secret before goes on signing."""
_OCTETS = 32


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that signs."""

    key: bytes
    until: float | None = None
    """Seconds since the epoch; None: until it is rotated."""

    @property
    def shown(self) -> str:
        """Its form for the receiver."""
        return PREFIX + base64.b64encode(self.key).decode()


def new_secret() -> Secret:
    """Make one."""
    return Secret(secrets.token_bytes(_OCTETS))


def rotated(document: bytes, now: float) -> tuple[bytes, Secret]:
    """Return the document with a new secret in front, and that secret. What has ended is left
    out; of those that signed alone or first the last one goes on for the overlap."""
    made = new_secret()
    before = [Secret(each.key, now + OVERLAP_SECONDS) for each in read_secrets(document, now)[:1]]
    return write_secrets(made, *before), made


def write_secrets(*present: Secret) -> bytes:
    """Return the form at rest, still to be encrypted."""
    return json.dumps(
        [{"key": base64.b64encode(each.key).decode(), "until": each.until} for each in present]
    ).encode()


def read_secrets(document: bytes, now: float) -> list[Secret]:
    """Return those that sign now, the present one first."""
    found = [Secret(base64.b64decode(each["key"]), each["until"]) for each in json.loads(document)]
    return [each for each in found if each.until is None or each.until > now]


def signed_headers(delivery: str, now: float, body: bytes, *present: Secret) -> Mapping[str, str]:
    """Return the headers that go with the body."""
    timestamp = str(int(now))
    signed = b".".join((delivery.encode(), timestamp.encode(), body))
    signatures = (
        base64.b64encode(hmac.digest(each.key, signed, hashlib.sha256)).decode() for each in present
    )
    return {
        "webhook-id": delivery,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
