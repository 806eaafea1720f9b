"""Patterns of values that a service would refuse at its start: addresses, networks, host names,
URLs, durations.

They are regular expressions of RE2, which has no look-ahead: what the services tell by computing,
such as bits beyond a prefix, is written out as alternatives. ``tests/chart/test_patterns.py``
compares them with the settings classes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from posthorn.wire.imap.capabilities import CAPABILITIES

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP, _ZEROS = "[0-9A-Fa-f]{1,4}", "0{1,4}"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT = "(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"


def _any(choices: Iterable[str]) -> str:
    return "(?:" + "|".join(choices) + ")"


def whole(*choices: str) -> str:
    """Return the pattern of a text that is one of the choices."""
    return f"^{_any(choices)}$"


IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"


def _ipv6() -> str:
    forms = [f"(?:{_GROUP}:){{7}}{_GROUP}", f"(?:{_GROUP}:){{6}}{IPV4}"]
    for before in range(8):
        left = f"{_GROUP}(?::{_GROUP}){{{before - 1}}}" if before else ""
        tails = []
        if before < 7:
            tails.append(f"{_GROUP}(?::{_GROUP}){{0,{6 - before}}}")
        if before < 6:
            tails.append(f"(?:{_GROUP}:){{0,{5 - before}}}{IPV4}")
        forms.append(f"{left}::{_any(tails)}?" if tails else f"{left}::")
    return _any(forms)


IPV6 = _ipv6()


def _ipv4_network(prefix: int) -> str:
    """Return the addresses without bits beyond the prefix."""
    if prefix == 32:
        return IPV4
    octets, bits = divmod(prefix, 8)
    values = _any(str(value) for value in range(0, 256, 2 ** (8 - bits))) if bits else "0"
    return rf"(?:{_OCTET}\.){{{octets}}}{values}(?:\.0){{{3 - octets}}}"


def _ipv4_networks() -> str:
    """Return the networks, each with its prefix, its netmask or its host mask."""
    forms = []
    for prefix in range(33):
        mask = ipaddress.IPv4Network((0, prefix))
        masks = {str(mask.netmask)} | ({str(mask.hostmask)} if 0 < prefix < 32 else set())
        ends = _any([f"0*{prefix}", *(re.escape(text) for text in sorted(masks))])
        forms.append(f"{_ipv4_network(prefix)}/{ends}")
    return _any(forms)


def _group_of(bits: int) -> str:
    """Return a group of 16 bits of which only the first ones may be set."""
    digits, rest = divmod(bits, 4)
    if not rest:
        return f"(?:[0-9A-Fa-f]{{0,{digits}}}0{{{4 - digits}}}|{_ZEROS})" if digits else _ZEROS
    last = {1: "[08]", 2: "[048Cc]", 3: "[02468AaCcEe]"}[rest]
    return f"(?:[0-9A-Fa-f]{{0,{digits}}}{last}0{{{3 - digits}}}|{_ZEROS})"


def _left(groups: int) -> str:
    """Return so many groups before a ``::``."""
    return f"{_GROUP}(?::{_GROUP}){{{groups - 1}}}" if groups else ""


def _zeros(most: int) -> str:
    """Return what may stand behind a ``::`` when all is zero: at most so many groups, the last
    two perhaps in IPv4's form."""
    forms = []
    if most > 0:
        forms.append(f"{_ZEROS}(?::{_ZEROS}){{0,{most - 1}}}")
    if most > 1:
        forms.append(rf"(?:{_ZEROS}:){{0,{most - 2}}}0\.0\.0\.0")
    return f"{_any(forms)}?" if forms else ""


def _ipv6_networks() -> str:
    """Return the networks in every written form (RFC 4291 section 2.2).

    By the group in which the prefix ends: that group stands in full, behind a ``::``, within it, or
    before it; the groups behind it are zero.
    """
    forms = [f"{IPV6}/0*128"]
    for group in range(8):
        prefixes = range(16 * group, 16 * group + 16)
        rest = f"(?::{_ZEROS}){{{7 - group}}}"
        if group < 6:
            rest = rf"(?::{_ZEROS}){{{5 - group}}}(?::{_ZEROS}:{_ZEROS}|:0\.0\.0\.0)"
        behind = [f"{_left(left)}::(?:{_GROUP}:){{0,{group - 1 - left}}}" for left in range(group)]
        last = _any(f"{_group_of(prefix % 16)}{rest}/0*{prefix}" for prefix in prefixes)
        forms.append(_any([f"(?:{_GROUP}:){{{group}}}", *behind]) + last)
        within = f"(?:{_GROUP}(?::{_GROUP}){{0,{group - 1}}})?" if group else ""
        forms.append(f"{within}::{_zeros(7 - group)}/0*{_any(map(str, prefixes))}")
        if group < 7:
            ends = _any(
                f"(?::{_ZEROS}){{{more}}}::{_zeros(6 - group - more)}" for more in range(7 - group)
            )
            before = _any(f"{_group_of(prefix % 16)}{ends}/0*{prefix}" for prefix in prefixes)
            forms.append(f"(?:{_GROUP}:){{{group}}}{before}")
    written = _any(
        [
            f"(?:{_GROUP}:){{6}}",
            *(f"{_left(left)}::(?:{_GROUP}:){{0,{5 - left}}}" for left in range(6)),
        ]
    )
    forms.append(written + _any(f"{_ipv4_network(prefix)}/0*{prefix + 96}" for prefix in range(32)))
    return _any(forms)


NETWORK = whole(IPV4, IPV6, _ipv4_networks(), _ipv6_networks())
"""A network or an address, as ``posthorn.model.networks.parse_network`` reads it."""
HOST_NAME = rf"(?:{_LABEL}\.)*{_LABEL}"
HOST = whole(HOST_NAME)
RECORD_NAME = whole(rf"(?:_?{_LABEL}\.)*_?{_LABEL}")
LITERAL = rf"\[(?:{IPV4}|[Ii][Pp][Vv]6:{IPV6})\]"
DOMAIN = whole(rf"{HOST_NAME}\.?", LITERAL)
LISTENER = whole("", HOST_NAME, IPV4, IPV6)
NAME_SERVER = whole(rf"{IPV4}(?::{_PORT})?", IPV6, rf"\[{IPV6}\](?::{_PORT})?")
WEB_LINK = r"^(https?://[^\s<>\"]+)?$"
ENGINE_URL = r"^(https?://[A-Za-z0-9.:\[\]_-]+(/[^\s?#]*)?)?$"
ENGINE_ADDRESS = rf"^([A-Za-z0-9._-]+:{_PORT})?$"
MAIL_ADDRESS = whole(
    "", rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[^"\\]|\\.)+")@(?:{HOST_NAME}\.?|{LITERAL})'
)
_AUTHORITY = rf"(?:{HOST_NAME}|\[{IPV6}\])(?::{_PORT})?"
ENDPOINT = whole("", rf"https?://{_AUTHORITY}")
ISSUER = whole(
    "",
    rf"https://(?:[^/?#@:\[\]\s]+|\[{IPV6}\])(?::{_PORT})?(?:/[^?#\s]*)?",
    rf"http://(?:localhost|127(?:\.{_OCTET}){{3}}|\[::1\])(?::{_PORT})?(?:/[^?#\s]*)?",
)
BUCKET = r"^[a-z0-9]+(?:-[a-z0-9]+)*(/[A-Za-z0-9._/-]*)?$"
"""Without dots: a name with one would be taken for a host."""
BUCKET_LENGTH = "^[^/]{3,63}(/|$)"
REGION = "^[A-Za-z0-9_-]{0,64}$"
CAPABILITY = whole(*map(re.escape, CAPABILITIES))

OF_SETTINGS = {
    "POSTHORN_API_HOST": LISTENER,
    "POSTHORN_API_PROXY_NETWORKS": NETWORK,
    "POSTHORN_API_PUBLIC_URL": ISSUER,
    "POSTHORN_FEEDBACK_SOURCES": DOMAIN,
    "POSTHORN_HEALTH_HOST": LISTENER,
    "POSTHORN_IMAP_HIDDEN_CAPABILITIES": CAPABILITY,
    "POSTHORN_IMAP_HOST": LISTENER,
    "POSTHORN_OIDC_ISSUER": ISSUER,
    "POSTHORN_OIDC_MAIL_DOMAINS": DOMAIN,
    "POSTHORN_OIDC_REDIRECT_URI": ISSUER,
    "POSTHORN_POP3_HOST": LISTENER,
    "POSTHORN_RELAY_BIND_IPV4": whole(IPV4),
    "POSTHORN_RELAY_BIND_IPV6": whole(rf"{IPV6}(?:%[^%\s]+)?"),
    "POSTHORN_RELAY_DNS_SERVERS": NAME_SERVER,
    "POSTHORN_RELAY_OWN_NAMES": DOMAIN,
    "POSTHORN_RELAY_PRIVATE_NETWORKS": NETWORK,
    "POSTHORN_SCAN_ARC_SEALERS": DOMAIN,
    "POSTHORN_SMTP_HOST": LISTENER,
    "POSTHORN_SMTP_POSTMASTER": MAIL_ADDRESS,
    "POSTHORN_WATCH_ADDRESSES": whole(IPV4, IPV6),
    "POSTHORN_WEBHOOK_PRIVATE_NETWORKS": NETWORK,
}
"""What a text, or each text of a list, under ``settings`` must match."""
FREE_TEXTS = frozenset(
    f"POSTHORN_{name}"
    for name in (
        "OIDC_ADDRESS_CLAIM",
        "OIDC_AUDIENCE",
        "OIDC_CLIENT_ID",
        "OIDC_MAIL_SCOPE",
        "OIDC_NAME",
        "OIDC_ROLE_CLAIM",
        "OIDC_TENANT_CLAIM",
        "RELAY_POSTMASTER",
    )
)
"""Settings that may be any text."""
