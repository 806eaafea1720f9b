"""The content of a QR code that sets up Thunderbird for Android.

It is a JSON array: version 1, part 1 of 1, the server for reading, and the servers for sending,
each with the identities that send by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from posthorn.model.client_settings import ClientServer

LONGEST = 800
"""Characters that a code may hold."""
_PROTOCOLS = {"imap": 0, "pop3": 1}
_SMTP = 0
_STARTTLS, _TLS = 2, 3
_PASSWORD = 1


def thunderbird_payload(
    address: str, display_name: str, password: str, servers: Sequence[ClientServer]
) -> str | None:
    """Return the content; None where mail cannot be both read and sent, or where it is longer than
    a code may be."""
    reading = next((each for each in servers if each.protocol != "smtp"), None)
    sending = next((each for each in servers if each.protocol == "smtp"), None)
    if reading is None or sending is None:
        return None
    incoming = [
        *(_PROTOCOLS[reading.protocol], reading.host, reading.port, _security(reading)),
        *(_PASSWORD, address, address, password),
    ]
    outgoing = [
        *(_SMTP, sending.host, sending.port, _security(sending), _PASSWORD, address, password)
    ]
    payload = json.dumps(
        [1, [1, 1], incoming, [[outgoing, [address, display_name]]]],
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return payload if len(payload) <= LONGEST else None


def _security(server: ClientServer) -> int:
    return _TLS if server.implicit_tls else _STARTTLS
