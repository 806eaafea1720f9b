"""Mail clients of the canary. They block, and raise ``FAULTS``."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from posthorn.runtime.canary.settings import CanarySettings
from posthorn.runtime.tls import verifying_context

FAULTS = (OSError, smtplib.SMTPException, poplib.error_proto, imaplib.IMAP4.error)
"""What a client raises for any fault of the network or of a server."""
_SECONDS = 15.0
_MOST_READ = 200
"""Messages that one session reads at most."""
_NAME = "canary.posthorn-canary.example"


class MailClients:
    """Sends and reads as the settings say."""

    def __init__(self, settings: CanarySettings) -> None:
        self._settings = settings
        self._address = settings.canary_address
        self._password = settings.canary_password.get_secret_value()

    def send(self, message: bytes) -> None:
        """Send a message to the account by SMTP."""
        assert self._settings.canary_smtp is not None
        host, port = _split(self._settings.canary_smtp)
        with smtplib.SMTP(host, port, _NAME, timeout=_SECONDS) as client:
            client.sendmail(self._settings.canary_sender, [self._address], message)

    def submit(self, message: bytes) -> None:
        """Submit a message of the account to itself."""
        assert self._settings.canary_submission is not None
        host, port = _split(self._settings.canary_submission)
        with smtplib.SMTP_SSL(
            host, port, _NAME, timeout=_SECONDS, context=self._context()
        ) as client:
            self._check(client.sock)
            client.login(self._address, self._password)
            client.sendmail(self._address, [self._address], message)

    def peek(self) -> list[bytes]:
        """Return the messages of the inbox by IMAP, and leave them there."""
        assert self._settings.canary_imap is not None
        host, port = _split(self._settings.canary_imap)
        client = imaplib.IMAP4_SSL(host, port, ssl_context=self._context(), timeout=_SECONDS)
        try:
            self._check(client.sock)
            client.login(self._address, self._password)
            count = int(client.select("INBOX", readonly=True)[1][0] or b"0")
            if not count:
                return []
            found = client.fetch(f"1:{min(count, _MOST_READ)}", "(BODY.PEEK[])")[1]
            return [part[1] for part in found if isinstance(part, tuple)]
        finally:
            with suppress(*FAULTS):
                client.logout()

    def take(self, read: Callable[[bytes], None]) -> None:
        """Pass each message of the inbox to ``read`` and delete it, by POP3."""
        host, port = _split(self._settings.canary_pop3)
        with _session(
            poplib.POP3_SSL(host, port, timeout=_SECONDS, context=self._context())
        ) as client:
            self._check(client.sock)
            client.user(self._address)
            client.pass_(self._password)
            for number in range(1, min(client.stat()[0], _MOST_READ) + 1):
                read(b"".join(line + b"\r\n" for line in client.retr(number)[1]))
                client.dele(number)

    def _context(self) -> ssl.SSLContext:
        context = verifying_context()
        if self._settings.canary_certificate is not None:  # compared in _check
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _check(self, connection: Any) -> None:
        """Require the certificate of the settings, before a password is sent."""
        file = self._settings.canary_certificate
        if file is None:
            return
        begin, end = file.read_text().partition("-----END CERTIFICATE-----")[:2]
        if connection.getpeercert(True) != ssl.PEM_cert_to_DER_cert(begin + end):
            raise ConnectionError("the server has another certificate")


@contextmanager
def _session(client: poplib.POP3_SSL) -> Iterator[poplib.POP3_SSL]:
    """End a session: by QUIT, which deletes, unless it failed."""
    try:
        yield client
        client.quit()
    finally:
        client.close()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
