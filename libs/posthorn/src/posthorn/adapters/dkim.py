"""DKIM signing with the keys of the domains, off the event loop.

Rules:

- One field for each active key, RSA first: every verifier supports it.
- A message is never sent unsigned because of a local fault: it would harm the domain's reputation
  unnoticed. When none of a domain's keys can be decrypted (most likely POSTHORN_SECRET_KEY is
  wrong), signing is Unavailable, and the mail waits until the key is corrected; while one can be
  decrypted, it signs.
- A message that a host may not accept unchanged (8-bit content, long lines) is also signed in its
  7-bit form, which the relay sends to such a host (ADR 26).
- Memory use does not grow with a message that is read in pieces. Its 7-bit form is hashed block by
  block from a temporary file, one such message at a time. Where that file cannot be written, only
  the original form is signed.
- Active keys are cached for a few seconds, decrypted keys while there is room. A key never changes
  under its id.
"""

from __future__ import annotations

import asyncio
import mmap
import tempfile
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import BinaryIO
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from prometheus_client import Counter

from posthorn.adapters.blobs.threads import Threads
from posthorn.ports.errors import Unavailable
from posthorn.ports.signing import DkimKey, DkimKeys
from posthorn.runtime.secret_box import DecryptionFailed, SecretBox
from posthorn.wire.auth.dkim import finished_field, header_hash_input, sign_header, unsigned_field
from posthorn.wire.auth.message_hash import MessageHash
from posthorn.wire.message.content_fields import Inconvertible
from posthorn.wire.message.seven_bit import convert
from posthorn.wire.message.transfer_encoding import Octets

log = structlog.get_logger()

RSA_BITS = 2048
"""RFC 8301 §3.2 recommends at least 2048 bits; a longer key does not fit in every DNS server's
records."""
KEYS_SECONDS = 10.0
"""Seconds for which a domain's keys are cached: an immediate rotation takes this long to reach
every process."""

_DOMAINS = 10_000
_OPENED = 2_000
_THREADS = 2
_PATIENCE = 30.0
_LONGEST_HEADER = 1024 * 1024

_signatures = Counter("posthorn_signing_signatures_total", "DKIM signatures made", ["algorithm"])
_unwritten = Counter(
    "posthorn_signing_unwritten_files_total",
    "Large messages without a signature over their 7-bit form for lack of room in /tmp",
)
_refused = Counter("posthorn_signing_sealed_keys_total", "DKIM keys that could not be decrypted")

type PrivateKey = RSAPrivateKey | Ed25519PrivateKey
type Opening = Callable[[], AsyncIterator[bytes]]
type Content = bytes | Opening


class DkimSigner:
    """Signs messages. ``clock`` returns seconds since 1970 for ``t=``."""

    def __init__(
        self, keys: DkimKeys, secret_box: SecretBox, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._secret_box = secret_box
        self._clock = clock
        self._threads = Threads("signing", _THREADS, _PATIENCE)
        self._one_file = asyncio.Lock()
        self._known: OrderedDict[str, tuple[float, Sequence[DkimKey]]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Sequence[DkimKey]]] = {}
        self._opened: OrderedDict[UUID, PrivateKey] = OrderedDict()

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    async def sign(self, domain: str, content: Content) -> str:
        """Return the DKIM-Signature fields for a message; see Signer.

        ``domain`` is canonical. Raises Unavailable, and what reading the content raises.
        """
        keys = await self._of(domain)
        if not keys:
            return ""
        if isinstance(content, bytes):
            return await self._threads.run(lambda: self._sign_octets(domain, keys, content))
        read = await self._read(content)
        if read is None:
            log.warning("not signed: the header is too long", domain=domain)
            return ""
        fields = await self._threads.run(lambda: self._sign_read(domain, keys, read))
        if not fields or read.is_fit:
            return fields
        async with self._one_file:
            return fields + await self._sign_laid(domain, keys, content)

    async def _of(self, domain: str) -> Sequence[DkimKey]:
        until, keys = self._known.get(domain, (0.0, ()))
        if until > time.monotonic():
            return keys
        task = self._asking.get(domain)
        if task is None:
            task = self._asking[domain] = asyncio.create_task(self._ask(domain))
            task.add_done_callback(lambda _: self._asking.pop(domain, None))
        return await asyncio.shield(task)

    async def _ask(self, domain: str) -> Sequence[DkimKey]:
        found = (await self._keys.signing([domain])).get(domain, ())
        keys = sorted(found, key=lambda key: key.algorithm != "rsa")
        self._known[domain] = time.monotonic() + KEYS_SECONDS, keys
        self._known.move_to_end(domain)
        if len(self._known) > _DOMAINS:
            self._known.popitem(last=False)
        return keys

    async def _read(self, opening: Opening) -> MessageHash | None:
        """Read a message in pieces; None: its header is too long."""
        read = MessageHash()
        async with aclosing(opening()) as pieces:  # type: ignore[type-var]  # it is a generator
            async for piece in pieces:
                await self._threads.run(partial(read.update, piece))
                if read.open_header_bytes > _LONGEST_HEADER:
                    return None
        return read

    async def _sign_laid(self, domain: str, keys: Sequence[DkimKey], opening: Opening) -> str:
        """Return the fields over the 7-bit form of a message that is read in pieces; empty where
        its file cannot be written."""
        try:
            with tempfile.TemporaryFile() as file:
                async with aclosing(opening()) as pieces:  # type: ignore[type-var]  # it is a generator
                    async for piece in pieces:
                        await self._threads.run(partial(file.write, piece))
                return await self._threads.run(partial(self._sign_file, domain, keys, file))
        except OSError as error:
            _unwritten.inc()
            log.error(
                "no signature over the 7-bit form: its file cannot be written",
                domain=domain,
                detail=str(error),
            )
            return ""

    def _sign_file(self, domain: str, keys: Sequence[DkimKey], file: BinaryIO) -> str:
        file.flush()
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            return self._sign_seven_bit(domain, keys, data)

    def _sign_octets(self, domain: str, keys: Sequence[DkimKey], content: bytes) -> str:
        read = MessageHash()
        read.update(content)
        fields = self._sign_read(domain, keys, read)
        return (
            fields
            if not fields or read.is_fit
            else fields + self._sign_seven_bit(domain, keys, content)
        )

    def _sign_seven_bit(self, domain: str, keys: Sequence[DkimKey], content: Octets) -> str:
        """Return the fields over the 7-bit form, marked as such (``wire.auth.dkim.by_form``);
        empty where there is none."""
        made = MessageHash()
        try:
            for block in convert(content, eight_bit=False).blocks():
                made.update(block)
        except Inconvertible:
            return ""
        return self._sign_read(domain, keys, made, seven_bit=True)

    def _sign_read(
        self, domain: str, keys: Sequence[DkimKey], read: MessageHash, *, seven_bit: bool = False
    ) -> str:
        block, body_hash = read.result()
        return self._sign(domain, keys, block, body_hash, seven_bit=seven_bit)

    def _sign(
        self,
        domain: str,
        keys: Sequence[DkimKey],
        block: bytes,
        body_hash: bytes,
        *,
        seven_bit: bool = False,
    ) -> str:
        signed = sign_header(block)
        if signed is None:
            log.warning("not signed: the message has no From field", domain=domain)
            return ""
        fields = []
        for key in keys:
            private = self._open(key)
            if private is None:
                continue
            unsigned = unsigned_field(
                domain,
                key.selector,
                key.algorithm,
                signed,
                body_hash,
                int(self._clock()),
                seven_bit=seven_bit,
            )
            fields.append(
                finished_field(
                    unsigned, make_signature(private, header_hash_input(signed, unsigned))
                )
            )
            _signatures.labels(key.algorithm).inc()
        if not fields:
            raise Unavailable("keys", f"no DKIM key of {domain} opens")
        return "".join(fields)

    def _open(self, key: DkimKey) -> PrivateKey | None:
        private = self._opened.get(key.id)
        if private is not None:
            return private
        try:
            private = load_private_key(self._secret_box.decrypt(key.private_key, f"dkim:{key.id}"))
        except (DecryptionFailed, ValueError) as error:
            _refused.inc()
            log.error(
                "a DKIM key cannot be decrypted",
                domain=key.domain,
                selector=key.selector,
                fault=type(error).__name__,
            )
            return None
        if len(self._opened) >= _OPENED:
            self._opened.popitem(last=False)
        self._opened[key.id] = private
        return private


def make_signature(private: PrivateKey, hashed: bytes) -> bytes:
    """Sign the header of a message, given its hash input (RFC 6376 §3.7, RFC 8463 §3)."""
    if isinstance(private, RSAPrivateKey):
        return private.sign(hashed, PKCS1v15(), SHA256())
    digest = Hash(SHA256())
    digest.update(hashed)
    return private.sign(digest.finalize())


def load_private_key(der: bytes) -> PrivateKey:
    """Load a private key in PKCS #8 DER. Raises ValueError. Not validated: the secret box has
    authenticated it."""
    private = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, (RSAPrivateKey, Ed25519PrivateKey)):
        raise ValueError("a key of the wrong type")
    return private


def generate(algorithm: str) -> tuple[bytes, bytes]:
    """Generate a key: private in PKCS #8 DER, public as ``DkimKey.public_key``. RSA takes a
    large part of a second: not on the loop."""
    private: PrivateKey
    if algorithm == "rsa":
        private = generate_private_key(65537, RSA_BITS)
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), public
