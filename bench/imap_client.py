"""An IMAP client that costs next to nothing, so that the server is what is measured."""

from __future__ import annotations

import socket
import ssl
import time


class BenchImap:
    """A connection that is logged in."""

    def __init__(
        self, port: int, user: str, password: str, context: ssl.SSLContext | None = None
    ) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = (
            plain if context is None else context.wrap_socket(plain, server_hostname="localhost")
        )
        self._number = 0
        self._read_line()
        self.ask(f'LOGIN "{user}" "{password}"')

    def ask(self, command: str | bytes) -> bytes:
        """Send a command; return all replies, the tagged one last. Raises RuntimeError unless it
        is OK."""
        self.send(command)
        return self.wait()

    def send(self, command: str | bytes) -> None:
        """Send a command without waiting for its replies."""
        self._number += 1
        line = command if isinstance(command, bytes) else command.encode()
        self._socket.sendall(b"t%d %b\r\n" % (self._number, line))

    def wait(self) -> bytes:
        """Return the replies to the last command."""
        tag = b"t%d " % self._number
        found = bytearray()
        while True:
            octets = self._socket.recv(1 << 20)
            if not octets:
                raise RuntimeError(f"IMAP closed the connection after {bytes(found[-200:])!r}")
            found += octets
            if not found.endswith(b"\r\n"):
                continue
            last = found.rfind(b"\r\n", 0, -2) + 2 if found.count(b"\r\n", -4096) > 1 else 0
            if found.startswith(tag, last):
                if not found.startswith(tag + b"OK", last):
                    raise RuntimeError(f"IMAP said {bytes(found[last:])!r}")
                return bytes(found)

    def append(self, mailbox: str, *messages: bytes) -> None:
        """Append messages, several as one (MULTIAPPEND)."""
        parts = b"".join(b" {%d+}\r\n%b" % (len(message), message) for message in messages)
        self.ask(b"APPEND " + mailbox.encode() + parts)

    def idle(self) -> None:
        """Begin IDLE."""
        self.send("IDLE")
        self._read_line()

    def await_exists(self) -> float:
        """Return the time at which new mail is told of."""
        while b" EXISTS" not in self._read_line():
            pass
        return time.monotonic()

    def done(self) -> None:
        """End IDLE."""
        self._socket.sendall(b"DONE\r\n")
        self.wait()

    def close(self) -> None:
        """Log out."""
        self.ask("LOGOUT")
        self._socket.close()

    def abandon(self) -> None:
        """Close without a word."""
        self._socket.close()

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            if not (octet := self._socket.recv(1)):
                raise RuntimeError("IMAP closed the connection")
            line += octet
        return line
