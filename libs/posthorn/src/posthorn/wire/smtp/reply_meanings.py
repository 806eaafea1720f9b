"""What replies of SMTP servers mean, in a sentence (RFC 5321 §4.2, RFC 3463, RFC 7505, and the IANA
registry of enhanced status codes)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_STATUSES: Mapping[str, str] = MappingProxyType(
    {
        "1.0": "There is a problem with the address that the server does not explain.",
        "1.1": "The mailbox does not exist.",
        "1.2": "The domain does not exist or cannot be reached.",
        "1.3": "The address is not written correctly.",
        "1.8": "The sender's domain does not exist.",
        "1.10": "The domain takes no mail.",
        "2.0": "There is a problem with the mailbox that the server does not explain.",
        "2.1": "The mailbox is disabled.",
        "2.2": "The mailbox is full.",
        "2.3": "The message is too large for the mailbox.",
        "3.0": "The server has a problem of its own.",
        "3.1": "The server's disk is full.",
        "3.2": "The server takes no messages at the moment.",
        "3.4": "The message is too large for the server.",
        "4.0": "There is a problem with the network or with routing.",
        "4.1": "The server does not answer.",
        "4.2": "The connection broke or was too slow.",
        "4.3": "DNS does not answer.",
        "4.4": "There is no route to the domain.",
        "4.6": "The message goes in a circle.",
        "4.7": "Delivery was given up after all attempts.",
        "5.0": "The servers did not understand each other.",
        "5.1": "The server does not permit the command at this point.",
        "5.2": "The server does not know the command.",
        "5.3": "There are too many recipients.",
        "6.3": "The message has a form that the server cannot take.",
        "6.7": "The server cannot take an address outside of ASCII.",
        "7.0": "A rule of the server forbids it; it does not say which.",
        "7.1": "A rule of the server forbids it, often by the reputation of the sender.",
        "7.4": "The encryption or the kind of login that is demanded is not to be had.",
        "7.5": "The certificate or the encryption is not as it is demanded.",
        "7.8": "The user name or password is wrong.",
        "7.11": "The login is given over an encrypted connection only.",
        "7.20": "The message has no valid DKIM signature.",
        "7.23": "SPF does not allow the sender.",
        "7.25": "The sending address has no matching reverse DNS.",
        "7.26": "The sender's domain could not be authenticated (SPF, DKIM or DMARC).",
        "7.27": "The sender's address takes no mail itself.",
    }
)
_FOR_NOW: Mapping[str, str] = MappingProxyType(
    {
        "7.0": "A rule of the server forbids it for now; it does not say which.",
        "7.1": "A rule of the server forbids it for now, often since it does not know the sender yet"
        " (greylisting).",
    }
)
_CODES: Mapping[int, str] = MappingProxyType(
    {
        220: "The server is ready.",
        221: "The server closes the connection.",
        235: "The login was accepted.",
        250: "The command was accepted.",
        251: "The address is accepted; the server sends its mail on.",
        252: "The server does not say whether the mailbox exists, and takes mail for it.",
        334: "The server asks for the next step of the login.",
        421: "The server ends the connection; it may take mail later.",
        432: "The password must be changed before this login works.",
        450: "The mailbox cannot be used at the moment.",
        451: "The server has a problem of its own.",
        452: "The server has no room at the moment, or there were too many recipients.",
        454: "The login or encryption cannot be used at the moment.",
        500: "The server does not know the command.",
        501: "The server does not understand the parameters.",
        502: "The server does not offer the command.",
        503: "The command does not fit at this point.",
        504: "The server does not offer this parameter.",
        521: "The host takes no mail.",
        530: "The server demands encryption or a login first.",
        534: "The server demands a stronger kind of login.",
        535: "The user name or password is wrong.",
        538: "The server demands encryption for this kind of login.",
        550: "The mailbox does not exist, or the server refuses it by a rule.",
        551: "The mailbox is not here.",
        552: "The mailbox is full, or the message is too large.",
        553: "The address is not permitted.",
        554: "The server refuses it.",
        556: "The domain takes no mail.",
    }
)
_CLASSES: Mapping[int, str] = MappingProxyType(
    {
        2: "The command was accepted.",
        3: "The server asks for more.",
        4: "The server may accept it later.",
        5: "The server refuses it permanently.",
    }
)
_OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "2": "The server took the message.",
        "4": "It is tried again.",
        "5": "It is not tried again.",
    }
)
_ENHANCED = re.compile(r"(?:^|[\s-])([245]\.\d{1,3}\.\d{1,3})(?=\s|$)")
_BASIC = re.compile(r"([245]\d\d)(?:[\s-]|$)")


def meaning_of(code: int, status: str = "") -> str:
    """Return what a reply means, in one sentence. ``code``: of the reply, 0 without one;
    ``status``: its enhanced code (RFC 3463), empty without one; empty if nothing is known."""
    kind, _, rest = status.partition(".")
    if rest and kind != "2":
        subject = rest.partition(".")[0]
        known = _STATUSES.get(rest) or _STATUSES.get(f"{subject}.0")
        if kind == "4":
            known = _FOR_NOW.get(rest, known)
        if known and not (rest.endswith(".0") and code in _CODES):
            return known
    return _CODES.get(code) or _CLASSES.get(code // 100, "")


def meaning_of_attempt(reply: str) -> str:
    """Return what the reply that ended an attempt means, and what follows from it; empty if it
    holds no code. ``reply``: such as ``550 5.1.1 no such user``, or the enhanced code alone."""
    basic, enhanced = _BASIC.match(reply), _ENHANCED.search(reply)
    status = enhanced[1] if enhanced else ""
    kind = status[:1] or (basic[1][0] if basic else "")
    if kind in ("", "2"):
        return _OUTCOMES.get(kind, "")
    known = meaning_of(int(basic[1]) if basic else 0, status)
    return f"{known} {_OUTCOMES[kind]}".lstrip()
