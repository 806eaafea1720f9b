"""MAIL and RCPT: the envelope of a transaction as commands, with the extensions that the host
offers.

RFC 5321 §4.1.1.2 and §4.1.1.3, SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC
3461), AUTH (RFC 4954).
"""

from __future__ import annotations

import re
from collections.abc import Container

from posthorn.model.outbound import Notify
from posthorn_relay.smtp.types import MailTransaction, Recipient

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
_XTEXT = re.compile(r"[^!-*,-<>-~]")
_UNICODE_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")
_NOTIFY = (
    (Notify.NEVER, "NEVER"),
    (Notify.SUCCESS, "SUCCESS"),
    (Notify.FAILURE, "FAILURE"),
    (Notify.DELAY, "DELAY"),
)


def mail_command(
    transaction: MailTransaction, offered: Container[str], *, has_login: bool = False
) -> bytes:
    """Return the MAIL command, its line end included. ``offered``: keywords of the host's
    extensions; ``has_login``: the connection is logged in.

    No identity of a client is passed on: where the connection is logged in, ``AUTH=<>`` says so
    (RFC 4954 §5).
    """
    words = [f"MAIL FROM:<{transaction.reverse_path}>"]
    if "SIZE" in offered:
        words.append(f"SIZE={transaction.size}")
    if transaction.eight_bit and "8BITMIME" in offered:
        words.append("BODY=8BITMIME")
    if needs_utf8(transaction):
        words.append("SMTPUTF8")
    if "DSN" in offered:
        if transaction.ret:
            words.append(f"RET={transaction.ret}")
        if transaction.envid.isascii() and transaction.envid:
            words.append(f"ENVID={xtext(transaction.envid)}")
    if has_login and "AUTH" in offered:
        words.append("AUTH=<>")
    return f"{' '.join(words)}\r\n".encode()


def rcpt_command(recipient: Recipient, offered: Container[str]) -> bytes:
    """Return the RCPT command, its line end included. ``offered``: keywords of the host's
    extensions."""
    if not ("DSN" in offered and (recipient.notify or recipient.orcpt)):
        return f"RCPT TO:<{recipient.address}>\r\n".encode()
    words = [f"RCPT TO:<{recipient.address}>"]
    if recipient.notify:
        words.append("NOTIFY=" + ",".join(name for bit, name in _NOTIFY if recipient.notify & bit))
    kind, _, address = recipient.orcpt.partition(";")
    if address and not ends_early(kind):
        words.append(f"ORCPT={kind};{xtext(address, utf8=kind.lower() == 'utf-8')}")
    return f"{' '.join(words)}\r\n".encode()


def is_unsafe(address: str) -> bool:
    """Return whether an address cannot be a path in a command."""
    return not address or ends_early(address)


def ends_early(path: str) -> bool:
    """Return whether a path holds what would end it: control characters; angle brackets or a
    space outside quotes."""
    return _CONTROL.search(path) is not None or not {" ", "<", ">"}.isdisjoint(
        _QUOTED.sub("", path)
    )


def needs_utf8(transaction: MailTransaction) -> bool:
    """Return whether the transaction needs SMTPUTF8 (RFC 6531 §3.4)."""
    return (
        transaction.smtputf8
        or not transaction.reverse_path.isascii()
        or not all(recipient.address.isascii() for recipient in transaction.recipients)
    )


def needs_utf8_for_header_only(transaction: MailTransaction) -> bool:
    """Return whether only its header needs SMTPUTF8, which can be converted."""
    names = [transaction.reverse_path, *(recipient.address for recipient in transaction.recipients)]
    return transaction.eight_bit and all(name.isascii() for name in names)


def xtext(text: str, *, utf8: bool = False) -> str:
    """Return text encoded for ENVID and ORCPT (RFC 3461 §4); an address of the type utf-8, or one
    that is not ASCII, as utf-8-addr-xtext (RFC 6533 §3)."""
    if text.isascii() and not utf8:
        return _XTEXT.sub(lambda found: f"+{ord(found[0]):02X}", text)
    return _UNICODE_XTEXT.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)
