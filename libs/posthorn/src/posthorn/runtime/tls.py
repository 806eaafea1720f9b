"""TLS contexts: one that verifies other servers, and the server's, which reloads a renewed
certificate without a restart.

Kubernetes replaces a mounted Secret by swapping a symlink, so the files are polled, not watched by
inode. New handshakes use the new certificate; open sessions keep theirs. An invalid replacement is
logged and the old one stays.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import structlog
from prometheus_client import Gauge

from posthorn.wire.certificate import not_after

log = structlog.get_logger()

CHECK_SECONDS = 5.0

_end = Gauge(
    "posthorn_tls_certificate_end_seconds",
    "End of the validity of the certificate in use, in seconds since the epoch; 0: none is in use",
)


def verifying_context(anchors: Path | str | None = None) -> ssl.SSLContext:
    """Return a client's context that verifies a certificate's chain, dates and name (RFC 5280 §6,
    RFC 9525).

    ``anchors``: a file of trusted certificates (PEM); None: the system's. ``VERIFY_X509_STRICT``,
    which Python sets from 3.13 on, is left out: it refuses trusted chains for extensions that many
    authorities leave out (Authority Key Identifier, Subject Key Identifier, key usage of a CA), as
    no other mail server, nor any browser, does.
    """
    context = ssl.create_default_context(cafile=None if anchors is None else str(anchors))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def cipher_of(layer: ssl.SSLObject) -> str:
    """Return version and cipher of a TLS connection, as the Received field tells them."""
    cipher = layer.cipher()
    return f"{layer.version()} {cipher[0] if cipher else ''}".strip()


class Certificate:
    """A directory with ``tls.crt`` (chain, PEM) and ``tls.key``, and the server context made from
    it.

    Each renewal makes a new context, and a handshake uses the newest after the ClientHello. Loading
    into the context in use is not possible: a mismatched pair would break it, and a key of another
    type would be added beside the old one, which clients might still get.
    """

    def __init__(self, directory: Path) -> None:
        self._chain = directory / "tls.crt"
        self._key = directory / "tls.key"
        try:
            self._seen = self._octets()
            self.context = self._newest = self._load()
            """Pass it to listeners; a renewal takes effect through it."""
        except (OSError, ssl.SSLError) as error:
            raise SystemExit(
                f"refusing to start: POSTHORN_TLS_DIR: cannot use {self._chain} with {self._key}: {_described(error)}"
            ) from None
        self.context.sni_callback = self._greeted
        self._refused = ""
        """The fault of files that cannot be used, once it is logged."""
        self.ends_at = self._end()
        """When the certificate in use expires."""

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._chain, self._key, password="")
        return context

    def _octets(self) -> tuple[bytes, bytes]:
        return self._chain.read_bytes(), self._key.read_bytes()

    def _end(self) -> datetime | None:
        first, _, _ = self._seen[0].decode("ascii", "replace").partition(ssl.PEM_FOOTER)
        _, begun, body = first.partition(ssl.PEM_HEADER)
        try:
            ends_at = not_after(ssl.PEM_cert_to_DER_cert(f"{begun}{body}{ssl.PEM_FOOTER}"))
        except ValueError as error:  # it is used all the same
            log.warning("the end of the certificate cannot be read", error=str(error))
            return None
        _end.set(ends_at.timestamp())
        if ends_at <= datetime.now(UTC):
            log.error(
                "the certificate has expired: clients refuse it",
                file=str(self._chain),
                ended_at=ends_at.isoformat(),
            )
        return ends_at

    def _greeted(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        if connection.context is not self._newest:
            connection.context = self._newest

    def refresh(self) -> bool:
        """Reload the files if they changed; return whether a new certificate is in use."""
        try:
            data = self._octets()
            if data == self._seen:
                return False
            self._newest = self._load()
        except (OSError, ssl.SSLError) as error:
            if self._refused != str(error):
                self._refused = str(error)
                log.error(
                    "new certificate is not valid; the old one stays",
                    chain=str(self._chain),
                    key=str(self._key),
                    error=_described(error),
                )
            return False
        self._seen, self._refused = data, ""
        self.ends_at = self._end()
        log.info("certificate replaced", directory=str(self._chain.parent))
        return True

    async def watch(self) -> None:
        """Refresh until cancelled; run as a supervised task."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await asyncio.to_thread(self.refresh)


def _described(error: OSError | ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLError):
        return str(error)  # names the file
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return f"they must hold a certificate chain and its key in PEM, without a password ({error})"
