"""The server certificate, watched: a renewed one is taken without a restart.

Kubernetes replaces a mounted Secret by swapping a symlink, so the files are looked at again and again, not watched by inode.
New handshakes use the new certificate; sessions that are open keep theirs. A broken replacement is logged and the old one stays.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

log = structlog.get_logger()

CHECK_SECONDS = 5.0


class Certificate:
    """A directory with ``tls.crt`` (chain, PEM) and ``tls.key``, and the server contexts made from it."""

    def __init__(self, directory: Path) -> None:
        self._chain = directory / "tls.crt"
        self._key = directory / "tls.key"
        self._seen: tuple[bytes, bytes] = (b"", b"")
        self.context = self._load()
        """Pass it to listeners; a renewal changes it in place."""

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._seen = self._octets()
            context.load_cert_chain(self._chain, self._key)
        except (OSError, ssl.SSLError) as error:
            raise SystemExit(
                f"refusing to start: POSTHORN_TLS_DIR: cannot use {self._chain} with {self._key}: {error}"
            ) from None
        return context

    def _octets(self) -> tuple[bytes, bytes]:
        return self._chain.read_bytes(), self._key.read_bytes()

    def refresh(self) -> bool:
        """Take the files again if they changed; gives whether a new certificate is in use."""
        try:
            octets = self._octets()
            if octets == self._seen:
                return False
            trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # a half-written pair must not harm the one in use
            trial.load_cert_chain(self._chain, self._key)
            self.context.load_cert_chain(self._chain, self._key)
        except (OSError, ssl.SSLError) as error:
            log.error(
                "new certificate not usable, the old one stays", directory=str(self._chain.parent), error=str(error)
            )
            return False
        self._seen = octets
        log.info("certificate replaced", directory=str(self._chain.parent))
        return True

    async def watch(self) -> None:
        """Refresh for ever; run as a supervised task."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await asyncio.to_thread(self.refresh)
