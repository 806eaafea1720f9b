"""MTA Strict Transport Security: the TXT record and the policy (RFC 8461 §3), without I/O.

Rules:

- A record or policy that breaks the grammar is none at all; a field that is not known is passed
  over (§3.1, §3.2). Two faults leave no doubt about what is meant, and a policy dropped for them
  would leave the mail unprotected: empty lines are passed over, and a ``max_age`` above the year
  that §3.2 allows counts as a year.
- A pattern ``*.example.com`` stands for exactly one label more (§4.1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

MAX_POLICY_OCTETS = 64 * 1024
"""RFC 8461 §3.3."""
MAX_AGE_SECONDS = 31_557_600
"""A year (RFC 8461 §3.2)."""

_MOST_HOSTS = 500
_RECORD_FIELD = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=[ \t]*([\x21-\x3a\x3c\x3e-\x7e]+)\Z"
)
_POLICY_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*\Z")
_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")


class PolicyError(ValueError):
    """The text is not a valid policy; the message says why."""


class Mode(Enum):
    """What a sender does about a host that fails the policy (RFC 8461 §5)."""

    ENFORCE = "enforce"
    """Do not send to it."""
    TESTING = "testing"
    """Send, and report the failure."""
    NONE = "none"
    """Nothing: the domain withdraws its policy."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as published."""

    mode: Mode
    hosts: tuple[str, ...]
    """Patterns of MX hosts, in lower case."""
    max_age: int
    """Seconds that it may be cached."""

    def allows(self, host: str) -> bool:
        """Return whether a pattern matches this MX host."""
        name = host.lower().removesuffix(".")
        rest = name.partition(".")[2]
        return any(
            name == pattern or (pattern[:2] == "*." and rest == pattern[2:])
            for pattern in self.hosts
        )


def policy_id(texts: Sequence[str]) -> str | None:
    """Return the ``id`` of the record among the TXT records at ``_mta-sts.<domain>``; None
    unless there is exactly one."""
    found = [text for text in texts if re.match(r"v=STSv1[ \t]*(?:;|\Z)", text)]
    if len(found) != 1:  # RFC 8461 §3.1: several are as good as none
        return None
    fields = [field.strip(" \t") for field in found[0].split(";")]
    if not fields[-1]:
        fields.pop()
    identifier = None
    for field in fields[1:]:
        parsed = _RECORD_FIELD.match(field)
        if parsed is None:
            return None
        if parsed[1] == "id" and identifier is None:
            identifier = parsed[2]
    return identifier if identifier is not None and _ID.match(identifier) else None


def parse_policy(data: bytes) -> Policy:
    """Parse a policy. Raises PolicyError."""
    if len(data) > MAX_POLICY_OCTETS:
        raise PolicyError(f"the policy is longer than {MAX_POLICY_OCTETS} octets")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise PolicyError("the policy is not UTF-8") from None
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for line in (line.removesuffix("\r") for line in text.split("\n")):
        if not line.strip(" \t\r"):
            continue
        parsed = _POLICY_FIELD.match(line)
        if parsed is None:
            raise PolicyError("a line is no field of the form name: value")
        if parsed[1] == "mx":
            hosts.append(_pattern(parsed[2]))
        else:
            fields.setdefault(parsed[1], parsed[2])  # §3.2: but for mx, the first one counts
    return _policy(fields, hosts)


def policy_text(policy: Policy) -> str:
    """Return the policy as it is published (RFC 8461 §3.2)."""
    lines = [
        "version: STSv1",
        f"mode: {policy.mode.value}",
        *(f"mx: {host}" for host in policy.hosts),
    ]
    return "".join(f"{line}\r\n" for line in [*lines, f"max_age: {policy.max_age}"])


def _policy(fields: dict[str, str], hosts: list[str]) -> Policy:
    if fields.get("version") != "STSv1":
        raise PolicyError("the version is not STSv1")
    try:
        mode = Mode(fields.get("mode"))
    except ValueError:
        raise PolicyError("the mode is none of enforce, testing and none") from None
    age = fields.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,100}", age):
        raise PolicyError("max_age is no number of seconds")
    if not hosts and mode is not Mode.NONE:
        raise PolicyError("there is no mx field")
    if len(hosts) > _MOST_HOSTS:
        raise PolicyError(f"there are more than {_MOST_HOSTS} mx fields")
    return Policy(mode, tuple(hosts), min(int(age), MAX_AGE_SECONDS))


def _pattern(text: str) -> str:
    if not _HOST.match(text) or len(text) > 255:
        raise PolicyError("an mx field is no host name and no *. before one")
    return text.lower()
