"""A configuration profile for Mail on iOS and macOS (Apple, "Device Management", payload
``com.apple.mail.managed``)."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from uuid import NAMESPACE_DNS, uuid5

from posthorn.model.client_settings import ClientServer

MEDIA_TYPE = "application/x-apple-aspen-config"


def apple_profile(domain: str, address: str, servers: Sequence[ClientServer]) -> bytes | None:
    """Return the profile of an address, without a password, for which the device asks; None where
    mail cannot be both read and sent. Its ids stay the same, so that a second one replaces it."""
    reading = next((each for each in servers if each.protocol != "smtp"), None)
    sending = next((each for each in servers if each.protocol == "smtp"), None)
    if reading is None or sending is None:
        return None
    kind = "EmailTypeIMAP" if reading.protocol == "imap" else "EmailTypePOP"
    account = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{domain}.posthorn.mail.account",
        "PayloadUUID": _uuid(f"account.{address}"),
        "PayloadDisplayName": address,
        "EmailAccountType": kind,
        "EmailAccountDescription": address,
        "EmailAddress": address,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "IncomingMailServerHostName": reading.host,
        "IncomingMailServerPortNumber": reading.port,
        # TLS is required either way; the port decides between TLS and STARTTLS
        "IncomingMailServerUseSSL": True,
        "IncomingMailServerUsername": address,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": sending.host,
        "OutgoingMailServerPortNumber": sending.port,
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": address,
        "OutgoingPasswordSameAsIncomingPassword": True,
    }
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadIdentifier": f"{domain}.posthorn.mail",
            "PayloadUUID": _uuid(f"profile.{address}"),
            "PayloadDisplayName": f"Mail of {address}",
            "PayloadContent": [account],
        }
    )


def _uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, f"{name}.posthorn")).upper()
