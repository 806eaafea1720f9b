"""What was read of another server's domains, accounts and aliases: a document for ``/v1/config``,
and what cannot be taken and why.

Rules:

- Nothing is guessed: what has no equal here is named with the reason, and the rest is taken.
- A password hash that the API would refuse by its scheme is left out, and the account with it gets
  no password; hashes are never printed.
- The first of two that have the same name counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_OBJECTS: Final = 20_000
"""Objects of a kind that the API takes in one document."""
NOBODY: Final = "no password"
_LABEL = r"[A-Za-z0-9\u0080-\U0010ffff_](?:[A-Za-z0-9\u0080-\U0010ffff_-]{0,61}[A-Za-z0-9\u0080-\U0010ffff_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LOCAL = re.compile(r"[^\s@\"<>(),:;\\\[\]\x00-\x20\x7f|/]{1,64}")
_SCHEMES: Final = (
    ("argon2id", r"(?:\{(?:ARGON2ID|CRYPT)\})?\$argon2id\$.*"),
    ("sha512-crypt", r"(?:\{(?:SHA512-CRYPT|CRYPT)\})?\$6\$.*"),
    ("sha256-crypt", r"(?:\{(?:SHA256-CRYPT|CRYPT)\})?\$5\$.*"),
    ("bcrypt", r"(?:\{(?:BLF-CRYPT|CRYPT)\})?\$2[aby]\$.*"),
    ("bcrypt-sha256", r"(?:\{CRYPT\})?\$bcrypt-sha256\$.*"),
    ("ssha", r"\{SSHA(?:256|512)?(?:\.\w+)?\}.*"),
    ("pbkdf2", r"(?:\{(?:PBKDF2|CRYPT)\})?(?:\$pbkdf2(?:-sha256|-sha512)?\$|pbkdf2_sha\d+\$).*"),
    ("pbkdf2", r"\{PBKDF2\}\$1\$.*"),
)
_WEAK: Final = (
    ("md5-crypt", r"(?:\{(?:MD5-CRYPT|CRYPT)\})?\$1\$.*"),
    ("plain-md5", r"\{(?:PLAIN-MD5|LDAP-MD5)(?:\.\w+)?\}.*"),
    ("smd5", r"\{SMD5(?:\.\w+)?\}.*"),
    ("unsalted sha", r"\{SHA(?:1|256|512)?(?:\.\w+)?\}.*"),
)


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Something that cannot be taken, and why."""

    kind: str
    name: str
    reason: str


@dataclass(slots=True)
class SourceDirectory:
    """The domains, accounts and aliases of another server."""

    only: frozenset[str] = frozenset()
    """Domains that are wanted; empty: all."""
    allow_weak: bool = False
    """Whether hashes without a salt, and of MD5, are taken; the API must be set to take them."""
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    hashes: Counter[str] = field(default_factory=Counter)
    """Accounts by the scheme of their password hash."""
    not_taken: list[NotTaken] = field(default_factory=list)
    _catch_alls: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, kind: str, name: str, reason: str) -> None:
        """Name something that is not taken."""
        self.not_taken.append(NotTaken(kind, name[:300], reason))

    def add_domain(self, name: str, **fields: Any) -> None:
        """Take a domain; fields with None are left out."""
        name = name.strip().lower().rstrip(".")
        if not self._is_wanted(name):
            return
        if _DOMAIN.fullmatch(name) is None or len(name) > 253:
            self.skip("domain", name, "this is no domain name")
            return
        given = {key: value for key, value in fields.items() if value is not None}
        self.domains.setdefault(name, {"name": name} | given)

    def add_account(
        self,
        address: str,
        password_hash: str | None,
        *,
        quota_bytes: int | None = None,
        is_active: bool = True,
    ) -> None:
        """Take an account; a quota that is None or not positive is none."""
        name = self._address("account", address)
        if name is None:
            return
        if name in self.accounts:
            self.skip("account", name, "it is there twice; the first one counts")
            return
        account: dict[str, Any] = {"address": name}
        if quota_bytes is not None and quota_bytes > 0:
            account["quota_bytes"] = quota_bytes
        if not is_active:
            account["state"] = "suspended"
        scheme = self._scheme(name, password_hash)
        if scheme is not None and password_hash is not None:
            account["password_hash"] = password_hash
        self.hashes[scheme or NOBODY] += 1
        self.accounts[name] = account

    def add_alias(self, address: str, targets: Iterable[str]) -> None:
        """Take an alias; ``@domain`` is the domain's catch-all."""
        address = address.strip()
        if address.startswith("@"):
            self._add_catch_all(address[1:].lower(), list(targets))
            return
        name = self._address("alias", address)
        if name is None:
            return
        taken = self._targets(name, targets)
        if name in self.aliases:
            self.skip("alias", name, "it is there twice; the first one counts")
        elif taken:
            self.aliases[name] = taken

    def finish(self) -> None:
        """Settle what depends on the whole: aliases beside accounts, and catch-alls."""
        for name in [each for each in self.aliases if each in self.accounts]:
            targets = self.aliases.pop(name)
            if targets != [name]:
                elsewhere = ", ".join(target for target in targets if target != name)
                reason = f"the mailbox forwards to {elsewhere}: its owner sets that up as a filter"
                self.skip("forward", name, reason)
        for name, targets in list(self.aliases.items()):
            rest = [target for target in targets if target != name]
            if rest:
                self.aliases[name] = rest
            else:
                del self.aliases[name]
                self.skip("alias", name, "it leads to itself alone, and there is no such mailbox")
        for domain, targets in self._catch_alls.items():
            known = len(targets) == 1 and (
                targets[0] in self.accounts or targets[0] in self.aliases
            )
            if known:
                self.domains[domain]["catch_all"] = targets[0]
            else:
                reason = "a catch-all leads to one account or alias that is moved as well"
                self.skip("catch-all", f"@{domain}", reason)

    def document(self) -> dict[str, Any]:
        """Return what ``PUT /v1/config`` takes."""
        return {
            "domains": list(self.domains.values()),
            "accounts": list(self.accounts.values()),
            "aliases": [
                {"address": address, "targets": targets}
                for address, targets in self.aliases.items()
            ],
        }

    def too_many(self) -> Collection[str]:
        """Return the kinds of which there are more than a document may hold."""
        counts = {key: len(items) for key, items in self.document().items()}
        return [key for key, number in counts.items() if number > MAX_OBJECTS]

    def _is_wanted(self, domain: str) -> bool:
        return not self.only or domain in self.only

    def _address(self, kind: str, text: str) -> str | None:
        """Return an address in the usual form, its domain being taken; None: it is not wanted, or
        is none."""
        local, at, domain = text.strip().rpartition("@")
        local, domain = local.lower(), domain.lower().rstrip(".")
        if not self._is_wanted(domain):
            return None
        if not at or _LOCAL.fullmatch(local) is None or _DOMAIN.fullmatch(domain) is None:
            self.skip(kind, text, "this is no address with a domain")
            return None
        self.add_domain(domain)
        return f"{local}@{domain}"

    def _targets(self, name: str, targets: Iterable[str]) -> list[str]:
        """Return the targets that can be taken; ``name``: whose they are."""
        taken: list[str] = []
        for target in (each.strip() for each in targets):
            if not target:
                continue
            local, at, domain = target.rpartition("@")
            if at and _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain):
                taken.append(f"{local.lower()}@{domain.lower()}")
            else:
                reason = f"its target {target!r} is no address: programs, files and includes are not taken"
                self.skip("alias", name, reason)
        return list(dict.fromkeys(taken))

    def _add_catch_all(self, domain: str, targets: Sequence[str]) -> None:
        if not self._is_wanted(domain):
            return
        if any(target.strip().startswith("@") for target in targets):
            self.skip(
                "domain alias",
                f"@{domain}",
                "domains that stand for others are not taken; list its aliases",
            )
            return
        self.add_domain(domain)
        if domain in self.domains:
            self._catch_alls.setdefault(domain, self._targets(f"@{domain}", targets))

    def _scheme(self, name: str, text: str | None) -> str | None:
        """Return the scheme of a hash that can be taken; others are named."""
        if not text:
            self.skip("password", name, "there is no hash of it; set a new password")
            return None
        for scheme, pattern in _SCHEMES:
            if re.fullmatch(pattern, text, re.IGNORECASE):
                return scheme
        for scheme, pattern in _WEAK:
            if re.fullmatch(pattern, text, re.IGNORECASE):
                if self.allow_weak:
                    return scheme
                reason = f"its hash is {scheme}, which hides nothing: set a new password, or see --weak-hashes"
                self.skip("password", name, reason)
                return None
        prefix = re.match(r"\{[\w.-]{1,30}\}", text)
        what = prefix[0] if prefix else "of an unknown scheme"
        self.skip("password", name, f"its hash is {what}, which is not taken: set a new password")
        return None
