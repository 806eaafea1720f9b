"""Sender Rewriting Scheme: reverse-paths of forwarded mail, in the common form (SRS0 and SRS1), and
our own form for senders that are too long for it (SRS2).

Rules:

- ``SRS0=hash=day=domain=local`` stands for ``local@domain``. The hash is keyed, so that no one else
  can create one and relay through this host; the day lets it expire. Four characters of the
  forwarded message's id may follow the day: then each forward has its own address, whose DSNs can
  be counted (ADR 20).
- A sender that is an SRS0 address of another forwarder becomes ``SRS1=hash=forwarder=rest``,
  ``rest`` being what followed SRS0, its separator included. A sender that is an SRS1 address keeps
  its forwarder and rest and gets our hash. However many forwarders follow one another, the address
  grows no further, and its bounce goes to the first of them, which alone can verify hash and day of
  the SRS0 address.
- A local part has at most 64 bytes (RFC 5321 §4.5.3.1.1), and the characters of some senders may
  be changed in bounces. ``rewrite`` refuses such a sender with SrsError; ``rewrite_long`` returns
  ``SRS2=hash=day=token`` for it. The token names the sender without containing it: the forwarder
  stores the sender under the token (ADR 27). Hash and day are verified without that store. Its 33
  bytes leave the next forwarder room for an SRS0 address.
- The three kinds have distinct hash inputs: otherwise the part after a forwarder's name, which its
  sender may choose, could forge an address.
- In bounces the case of the whole local part may have been folded (against RFC 5321 §2.4, but
  common): the hash covers the folded text and is in lower case itself, and the day is encoded
  case-insensitively.
- The sender's local part is returned as it was written, whether our own grammar permits it or not
  (``wire.foreign_address``).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from base64 import b32encode
from collections.abc import Sequence
from contextlib import suppress

from posthorn.wire.address import MAX_LOCAL_OCTETS, AddressError, quote_local
from posthorn.wire.foreign_address import foreign_domain, local_is_plain

VALID_DAYS = 21
"""Days for which bounces are accepted: the five days that a host tries, and ample time for later
forwarders."""

_HASH = 8
"""Characters of the hash, five bits each."""
_TAG = 4
_TOKEN = 12
"""Characters of a token, five bits each. Two senders do not share one by chance; if they did,
the second would not be stored."""
_AHEAD_DAYS = 1
"""Days by which the clock of the writing process may be ahead of the reading one."""
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_CYCLE = len(_DIGITS) ** 2
_SRS0 = re.compile(r"srs0([-+=].*)\Z", re.IGNORECASE | re.DOTALL)
_OURS0 = re.compile(
    r"srs0=([a-z2-7]{8})=([a-z2-7]{2})(?:[a-z2-7]{4})?=([^=]+)=(.+)\Z", re.IGNORECASE | re.DOTALL
)
_SRS1 = re.compile(r"srs1[-+=]([^=]+)=([^=]+)=([-+=].*)\Z", re.IGNORECASE | re.DOTALL)
_OURS2 = re.compile(
    r"srs2=([a-z2-7]{8})=([a-z2-7]{2})(?:[a-z2-7]{4})?=([a-z2-7]{12})\Z", re.IGNORECASE | re.ASCII
)


class SrsError(ValueError):
    """The sender cannot be rewritten, or the address is not ours, forged or expired: permanent."""


def tag_of(message: bytes) -> str:
    """Return the characters that distinguish the forwards of one message, given by its id."""
    return b32encode(hashlib.sha256(message).digest()[:5]).decode()[:_TAG]


def rewrite(reverse_path: str, domain: str, key: bytes, day: int, tag: str = "") -> str:
    """Return the reverse-path with which a message from ``reverse_path`` is forwarded in the name
    of ``domain``.

    The null reverse-path is unchanged. ``day`` counts days since the epoch. ``tag`` (``tag_of``) is
    added where there is room. Raises SrsError when the result does not fit into 64 bytes, or when
    the sender's characters would not survive a bounce.
    """
    if tag:
        with suppress(SrsError):
            return _rewrite(reverse_path, domain, key, day, tag)
    return _rewrite(reverse_path, domain, key, day, "")


def _rewrite(reverse_path: str, domain: str, key: bytes, day: int, tag: str) -> str:
    if not reverse_path:
        return ""
    local, at, host = reverse_path.rpartition("@")
    if not (local and at and host):
        raise SrsError("the reverse-path has no domain to go back to")
    local = _kept(local)
    if again := _SRS1.match(local):
        new = f"SRS1={_hash(key, 'srs1:' + again[2] + again[3])}={again[2]}={again[3]}"
    elif first := _SRS0.match(local):
        new = f"SRS1={_hash(key, 'srs1:' + host + first[1])}={host}={first[1]}"
    else:
        rest = f"{_digits(day)}{tag}={host}={local}"
        new = f"SRS0={_hash(key, rest)}={rest}"
    quoted = quote_local(new)
    if max(len(quoted.encode()), len(_fold(quoted).encode())) > MAX_LOCAL_OCTETS:
        raise SrsError(f"the rewritten local part is longer than {MAX_LOCAL_OCTETS} octets")
    if not quoted.isascii():
        # a combining mark after a separator, for one, would change the character
        reverse(_fold(new), (key,), day)
    return f"{quoted}@{domain}"


def rewrite_long(reverse_path: str, domain: str, key: bytes, day: int, tag: str = "") -> str:
    """Return the SRS2 address for a sender that ``rewrite`` refuses, at ``domain``.

    The caller stores the sender under ``token_of``. ``day`` and ``tag`` as for ``rewrite``. Raises
    SrsError when the reverse-path has no domain to return to.
    """
    local, at, host = reverse_path.rpartition("@")
    if not (local and at and host):
        raise SrsError("the reverse-path has no domain to go back to")
    rest = f"{_digits(day)}{tag}={token_of(reverse_path)}"
    return f"SRS2={_hash(key, 'srs2:' + rest)}={rest}@{domain}"


def token_of(sender: str) -> str:
    """Return the token of a sender, as written, in an SRS2 address: the same for the same
    sender, in lower case."""
    digest = hashlib.sha256(sender.encode("utf-8", "surrogatepass")).digest()
    return b32encode(digest[:10]).decode()[:_TOKEN].lower()


def is_srs(local: str) -> bool:
    """Return whether a local part looks like a rewritten one. ``verify`` tells whether it is
    ours."""
    return local.lstrip('"')[:5].lower() in ("srs0=", "srs1=", "srs2=")


def is_long(local: str) -> bool:
    """Return whether a local part looks like an SRS2 one, whose sender is stored."""
    return local.lstrip('"')[:5].lower() == "srs2="


def verify(local: str, keys: Sequence[bytes], day: int) -> None:
    """Raise SrsError unless the local part is ours and has not expired. Parameters as for
    ``reverse``; needs no store."""
    if is_long(local):
        long_token(local, keys, day)
    else:
        reverse(local, keys, day)


def long_token(local: str, keys: Sequence[bytes], day: int) -> str:
    """Return the token of our SRS2 local part. Parameters as for ``reverse``. Raises SrsError."""
    ours = _OURS2.match(_unquoted(local))
    if ours is None:
        raise SrsError("the address is not of the form of a rewritten one")
    _check(keys, ours[1], "srs2:" + ours[0][len("SRS2=") + _HASH + 1 :])
    _check_age(ours[2], day)
    return ours[3].lower()


def reverse(local: str, keys: Sequence[bytes], day: int) -> str:
    """Return the original address of a rewritten local part, in the case in which it was received.

    ``local`` may be quoted or not; ``keys``: those that may have signed it; ``day``: today in days
    since the epoch. The result may itself be rewritten, by another forwarder or by us. Raises
    SrsError, also for an SRS2 address (``long_token``).
    """
    plain = _unquoted(local)
    if ours := _OURS0.match(plain):
        _check(keys, ours[1], plain[len("SRS0=") + _HASH + 1 :])
        _check_age(ours[2], day)
        return f"{_as_written(ours[4])}@{_domain(ours[3])}"
    if again := _SRS1.match(plain):
        _check(keys, again[1], "srs1:" + again[2] + again[3])
        return f"{_as_written('SRS0' + again[3])}@{_domain(again[2])}"
    raise SrsError("the address is not of the form of a rewritten one")


def _domain(text: str) -> str:
    """Return the domain in a local part, whose case may have been changed."""
    try:
        return foreign_domain(text)
    except AddressError as error:
        raise SrsError("the address stands for none") from error


def _check(keys: Sequence[bytes], claimed: str, text: str) -> None:
    given = claimed.lower().encode("utf-8", "surrogatepass")
    if not any(hmac.compare_digest(given, _hash(key, text).encode()) for key in keys):
        raise SrsError("the hash does not verify")


def _check_age(digits: str, day: int) -> None:
    age = (day - _number(digits) + _AHEAD_DAYS) % _CYCLE - _AHEAD_DAYS
    if age > VALID_DAYS:
        raise SrsError("the address has expired")


def _hash(key: bytes, text: str) -> str:
    digest = hmac.digest(key, _fold(text).encode("utf-8", "surrogatepass"), hashlib.sha256)
    return b32encode(digest[: _HASH * 5 // 8]).decode().lower()


def _digits(day: int) -> str:
    high, low = divmod(day % _CYCLE, len(_DIGITS))
    return _DIGITS[high] + _DIGITS[low]


def _number(digits: str) -> int:
    return _DIGITS.index(digits[0].upper()) * len(_DIGITS) + _DIGITS.index(digits[1].upper())


def _kept(local: str) -> str:
    """Return a sender's local part for a rewritten one: without its quotes, where they can be
    restored."""
    plain = _unquoted(local)
    return plain if plain == local or _as_written(plain) == local else local


def _as_written(local: str) -> str:
    """Return another host's local part as it was written: quoted only where necessary."""
    return local if local_is_plain(local) else quote_local(local)


def _unquoted(local: str) -> str:
    return (
        re.sub(r"\\(.)", r"\1", local[1:-1])
        if len(local) > 1 and local[0] == local[-1] == '"'
        else local
    )


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
