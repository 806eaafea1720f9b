"""Patterns of values that a service would refuse at its start: addresses, networks, host names, URLs, durations.

They are regular expressions of RE2, which has no look-ahead: what the services tell by computing, such as bits beyond a prefix, is
written out as alternatives. ``tests/chart/test_patterns.py`` compares them with the settings classes.
"""

from __future__ import annotations

from collections.abc import Iterable

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = "[0-9A-Fa-f]{1,4}"
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


def _ipv4_networks() -> str:
    """Return the networks without bits beyond the prefix."""
    forms = [f"{IPV4}/32"]
    for prefix in range(32):
        octets, bits = divmod(prefix, 8)
        step = 2 ** (8 - bits)
        values = _any(str(value) for value in range(0, 256, step)) if bits else "0"
        forms.append(rf"(?:{_OCTET}\.){{{octets}}}{values}(?:\.0){{{3 - octets}}}/{prefix}")
    return _any(forms)


def _group_of(bits: int) -> str:
    """Return a group of 16 bits of which only the first ones may be set."""
    digits, rest = divmod(bits, 4)
    if not rest:
        return f"(?:[0-9A-Fa-f]{{0,{digits}}}0{{{4 - digits}}}|0{{1,4}})"
    last = {1: "[08]", 2: "[048Cc]", 3: "[02468AaCcEe]"}[rest]
    return f"(?:[0-9A-Fa-f]{{0,{digits}}}{last}0{{{3 - digits}}}|0{{1,4}})"


def _ipv6_networks() -> str:
    """Return the networks: those that end with ``::`` exactly, of those written in another way what their last group shows."""
    forms = [f"{IPV6}/128"]
    for groups in range(8):
        prefixes = range(16 * groups, 16 * groups + 16)
        left = f"(?:{_GROUP}(?::{_GROUP}){{0,{groups - 1}}})?" if groups else ""
        forms.append(f"{left}::/{_any(map(str, prefixes))}")
        if groups < 7:
            forms += [
                f"(?:{_GROUP}:){{{groups}}}{_group_of(prefix % 16)}::/{prefix}" for prefix in prefixes if prefix % 16
            ]
    inner = f"(?:{_GROUP}:){{1,7}}|(?:(?:{_GROUP}:){{1,6}}:|::)(?:{_GROUP}:){{0,6}}"
    forms.append(f"(?:{inner})0{{1,4}}/{_any(map(str, range(113)))}")
    forms += [f"(?:{inner}){_group_of(prefix % 16)}/{prefix}" for prefix in range(113, 128)]
    return _any(forms)


NETWORK = whole(_ipv4_networks(), _ipv6_networks())
SOURCE = whole(IPV4, IPV6, _ipv4_networks(), _ipv6_networks())
"""An address or a network."""
HOST_NAME = rf"(?:{_LABEL}\.)*{_LABEL}"
HOST = whole(HOST_NAME)
RECORD_NAME = whole(rf"(?:_?{_LABEL}\.)*_?{_LABEL}")
LITERAL = rf"\[(?:{IPV4}|[Ii][Pp][Vv]6:{IPV6})\]"
DOMAIN = whole(rf"{HOST_NAME}\.?", LITERAL)
LISTENER = whole("", HOST_NAME, IPV4, IPV6)
NAME_SERVER = whole(rf"{IPV4}(?::{_PORT})?", IPV6, rf"\[{IPV6}\](?::{_PORT})?")
MAIL_ADDRESS = whole("", rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[^"\\]|\\.)+")@(?:{HOST_NAME}\.?|{LITERAL})')
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

OF_SETTINGS = {
    "POSTHORN_API_HOST": LISTENER,
    "POSTHORN_HEALTH_HOST": LISTENER,
    "POSTHORN_OIDC_ISSUER": ISSUER,
    "POSTHORN_POP3_HOST": LISTENER,
    "POSTHORN_RELAY_BIND_IPV4": whole(IPV4),
    "POSTHORN_RELAY_BIND_IPV6": whole(rf"{IPV6}(?:%[^%\s]+)?"),
    "POSTHORN_RELAY_DNS_SERVERS": NAME_SERVER,
    "POSTHORN_RELAY_OWN_NAMES": DOMAIN,
    "POSTHORN_RELAY_PRIVATE_NETWORKS": SOURCE,
    "POSTHORN_SMTP_HOST": LISTENER,
    "POSTHORN_SMTP_POSTMASTER": MAIL_ADDRESS,
    "POSTHORN_WEBHOOK_PRIVATE_NETWORKS": SOURCE,
}
"""What a text, or each text of a list, under ``settings`` must match."""
FREE_TEXTS = frozenset(
    f"POSTHORN_{name}" for name in ("OIDC_AUDIENCE", "OIDC_ROLE_CLAIM", "OIDC_TENANT_CLAIM", "RELAY_POSTMASTER")
)
"""Settings that may be any text."""
