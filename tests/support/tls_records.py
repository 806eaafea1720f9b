"""A TLS 1.3 client that says what it sends record by record (RFC 8446 §5): ones that no TLS library
sends, or not so many of them."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import tempfile

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HANDSHAKE, DATA, ALERT = 22, 23, 21
KEY_UPDATE = b"\x18\x00\x00\x01\x00"
"""Says that the sender has changed its key (§4.6.3)."""
KEY_UPDATE_REQUEST = b"\x18\x00\x00\x01\x01"
"""And that the other end is to change its own."""
CLOSE_NOTIFY = b"\x01\x00"


class RecordClient:
    """A connection whose handshake OpenSSL does, and whose records are made here."""

    def __init__(self, connected: socket.socket, trusting: ssl.SSLContext) -> None:
        """``connected``: a socket that blocks. Shakes hands."""
        self.socket = connected
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with tempfile.NamedTemporaryFile("r") as keys:
            trusting.keylog_filename = keys.name
            self._tls = trusting.wrap_bio(
                self._incoming, self._outgoing, server_hostname="localhost"
            )
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self._exchange()
            self.socket.sendall(self._outgoing.read())
            (said,) = (line for line in keys if line.startswith("CLIENT_TRAFFIC_SECRET_0 "))
        self._secret = bytes.fromhex(said.split()[2])
        self._hash = hashlib.sha384 if len(self._secret) == 48 else hashlib.sha256
        self._key_bytes = 32 if len(self._secret) == 48 else 16
        self._set_keys()

    def send(self, content: bytes, kind: int = DATA, padding: int = 0) -> None:
        """Send one record."""
        self.socket.sendall(self.record(content, kind, padding))

    def record(self, content: bytes, kind: int = DATA, padding: int = 0) -> bytes:
        """Return one record, which must be sent in its turn."""
        inner = content + bytes([kind]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce = int.from_bytes(self._iv) ^ self._number
        self._number += 1
        return header + self._aead.encrypt(nonce.to_bytes(12), inner, header)

    def key_update(self, message: bytes = KEY_UPDATE) -> bytes:
        """Return a record that announces the next key, which is used from then on."""
        said = self.record(message, HANDSHAKE)
        self.next_key()
        return said

    def next_key(self) -> None:
        """Use the next key (§7.2)."""
        self._secret = self._expand(b"traffic upd", len(self._secret))
        self._set_keys()

    def read(self, count: int) -> bytes:
        """Return so many bytes from the server, or fewer at the end of TLS."""
        got = bytearray()
        while len(got) < count:
            try:
                data = self._tls.read(count - len(got))
            except ssl.SSLWantReadError:
                self._exchange()
                continue
            except ssl.SSLZeroReturnError:
                break
            if not data:
                break
            got += data
        return bytes(got)

    def _exchange(self) -> None:
        if self._outgoing.pending:
            self.socket.sendall(self._outgoing.read())
        if data := self.socket.recv(65536):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _set_keys(self) -> None:
        self._aead = AESGCM(self._expand(b"key", self._key_bytes))
        self._iv = self._expand(b"iv", 12)
        self._number = 0

    def _expand(self, label: bytes, count: int) -> bytes:
        label = b"tls13 " + label
        info = count.to_bytes(2) + bytes([len(label)]) + label + b"\x00\x01"
        return hmac.new(self._secret, info, self._hash).digest()[:count]
