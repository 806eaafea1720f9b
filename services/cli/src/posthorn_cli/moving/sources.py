"""Readers of what other servers know of domains, accounts and aliases, each into a
``SourceDirectory``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from posthorn_cli.faults import CommandError
from posthorn_cli.moving.directory import SourceDirectory
from posthorn_cli.moving.sql_dump import Row, read_dump

_SIZE = re.compile(r"(\d{1,15})\s*([bkmgt]?)i?b?", re.IGNORECASE)
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_RULE = re.compile(r"(?:userdb_)?quota_rule=\*:(storage|bytes)=(\w+)")
_QUOTA_SIZE = re.compile(r"(?:userdb_)?quota_storage_size=(\w+)")
_NO_DOMAIN_ALIASES: Final = "domains that stand for others are not taken; list its aliases"
_ROLES: Final = {
    "null@localhost": "mail is thrown away",
    "spam@localhost": "mail is learned as spam",
    "ham@localhost": "mail is learned as good",
}


def text_of(content: bytes, name: str) -> str:
    """Decode a file. Raises CommandError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(f"{name} is no UTF-8 text") from None


def logical_lines(text: str) -> Iterator[str]:
    """Yield the lines of a Postfix map: a line that begins with white space continues the one
    before, ``#`` begins a comment (postmap(1))."""
    line = ""
    for each in text.splitlines():
        if not each.strip() or each.lstrip().startswith("#"):
            continue
        if each[0] in " \t":
            line += f" {each.strip()}"
            continue
        if line:
            yield line
        line = each.strip()
    if line:
        yield line


def read_virtual(found: SourceDirectory, text: str) -> None:
    """Read a virtual alias map (virtual(5))."""
    for line in logical_lines(text):
        key, _, value = line.partition(" ") if " " in line else line.partition("\t")
        key, _, rest = key.partition("\t")
        value = f"{rest} {value}".strip()
        if key.startswith(("/", "!/")) or key in ("if", "endif"):
            found.skip("alias", key, "regular expressions are not taken")
        elif "@" in key:
            found.add_alias(key, re.split(r"[,\s]+", value))
        elif "." in key:
            found.add_domain(key)
        else:
            found.skip("alias", key, "it has no domain: aliases of the host itself are not taken")


def read_mailboxes(found: SourceDirectory, text: str) -> None:
    """Read a virtual mailbox map: addresses, and paths that mean nothing here."""
    for line in logical_lines(text):
        name = line.split()[0]
        if name.startswith("@"):
            found.skip("account", name, "a mailbox for a whole domain: make it a catch-all")
        elif name not in found.accounts:
            found.add_account(name, None)


def read_domains(found: SourceDirectory, text: str) -> None:
    """Read a list of domains: one or several in a line, or a map."""
    for line in logical_lines(text):
        for name in re.split(r"[,\s]+", line)[: None if "," in line else 1]:
            found.add_domain(name)


def read_passwd_file(found: SourceDirectory, text: str) -> None:
    """Read a passwd-file of Dovecot: user, password, uid, gid, gecos, home, shell, extra fields."""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        user, *others = line.strip().split(":")
        extra = ":".join(others[6:])
        password = others[0] if others else ""
        found.add_account(user, _stored(password), quota_bytes=_dovecot_quota(extra))


def read_docker_mailserver(found: SourceDirectory, files: Mapping[str, str]) -> None:
    """Read the files of docker-mailserver's directory of configuration, by name."""
    quotas = {}
    for line in logical_lines(files.get("dovecot-quotas.cf", "")):
        address, _, size = line.partition(":")
        quotas[address.strip().lower()] = size_in(size)
    for line in logical_lines(files.get("postfix-accounts.cf", "")):
        address, _, rest = line.partition("|")
        password = rest.partition("|")[0].strip()
        quota = quotas.get(address.strip().lower())
        found.add_account(address, _stored(password), quota_bytes=quota)
    read_virtual(found, files.get("postfix-virtual.cf", ""))
    for name, reason in (
        ("postfix-regexp.cf", "regular expressions are not taken"),
        ("postfix-aliases.cf", "aliases of the host itself are not taken"),
        ("postfix-relaymap.cf", "set it up with `posthorn route`"),
        ("postfix-send-access.cf", "suspend accounts, or set them to receive-only"),
        ("postfix-receive-access.cf", "suspend accounts that may not receive"),
    ):
        for line in logical_lines(files.get(name, "")):
            found.skip(name, line.split()[0], reason)


def read_postfixadmin(found: SourceDirectory, content: bytes) -> None:
    """Read a dump of PostfixAdmin's database."""
    rows = read_dump(content, ("domain", "mailbox", "alias", "alias_domain", "vacation"))
    for row in rows.get("domain", []):
        name = _text(row, "domain")
        if name.upper() == "ALL":
            continue
        if not _is_true(row.get("active")):
            found.skip("domain", name, "it is not active; its accounts and aliases are taken")
        most = _number(row.get("mailboxes"))
        found.add_domain(name, max_accounts=most if most is not None and most > 0 else None)
    _mailboxes(found, rows.get("mailbox", []))
    for row in rows.get("alias", []):
        name = _text(row, "address")
        targets = re.split(r"[,\s]+", _text(row, "goto"))
        kept = [each for each in targets if "#" not in each or "@autoreply." not in each]
        if len(kept) < len(targets):
            found.skip("vacation", name, "its owner sets a vacation reply up at /v1/me")
        if not _is_true(row.get("active")):
            if kept != [name]:
                found.skip("alias", name, "it is not active")
        elif kept:
            found.add_alias(name, kept)
    _alias_domains(found, rows.get("alias_domain", []))


def read_mailcow(found: SourceDirectory, content: bytes) -> None:
    """Read a dump of mailcow's database."""
    tables = ("domain", "mailbox", "alias", "alias_domain", "app_passwd", "spamalias")
    rows = read_dump(content, tables)
    for row in rows.get("domain", []):
        name, most = _text(row, "domain"), _number(row.get("mailboxes"))
        if _is_true(row.get("backupmx")):
            found.skip("domain", name, "it is relayed: set up a route to its server")
            continue
        if not _is_true(row.get("active")):
            found.skip("domain", name, "it is not active; its accounts and aliases are taken")
        found.add_domain(name, max_accounts=most if most is not None and most > 0 else None)
    people = []
    for row in rows.get("mailbox", []):
        if row.get("kind"):
            found.skip("account", _text(row, "username"), "a resource of a calendar, not a mailbox")
        elif (source := row.get("authsource") or "mailcow") != "mailcow":
            found.skip("password", _text(row, "username"), f"it is checked by {source}")
            people.append(row | {"password": None})
        else:
            people.append(row)
    _mailboxes(found, people)
    for row in rows.get("alias", []):
        name, goto = _text(row, "address"), _text(row, "goto")
        if goto in _ROLES:
            found.skip("alias", name, f"{_ROLES[goto]}; there is no such alias here")
        elif not _is_true(row.get("active")):
            if goto != name:
                found.skip("alias", name, "it is not active")
        else:
            found.add_alias(name, goto.split(","))
    _alias_domains(found, rows.get("alias_domain", []))
    for row in rows.get("app_passwd", []):
        found.skip("app password", _text(row, "mailbox"), "make a new one: its hash is another's")
    for row in rows.get("spamalias", []):
        found.skip("alias", _text(row, "address"), "aliases for some time are not taken")


def read_mailu(found: SourceDirectory, content: bytes) -> None:
    """Read what ``flask mailu config-export`` writes, in YAML or JSON."""
    try:
        document = yaml.safe_load(text_of(content, "the export"))
    except (yaml.YAMLError, RecursionError):
        raise CommandError("the export is no YAML and no JSON") from None
    if not isinstance(document, dict) or not {"domain", "user", "alias"} & set(document):
        raise CommandError("the export has neither domain, user nor alias: is it Mailu's?")
    for each in _listed(document, "domain"):
        name, most = str(each.get("name", "")), _number(each.get("max_users"))
        found.add_domain(name, max_accounts=most if most is not None and most > 0 else None)
        for other in _texts(each.get("alternatives")):
            found.skip("domain alias", other, _NO_DOMAIN_ALIASES)
    for each in _listed(document, "user"):
        address, password = str(each.get("email", "")), each.get("password")
        if password == "<hidden>":  # noqa: S105 - what Mailu writes in place of one
            password = None
        found.add_account(
            address,
            _stored(str(password)) if password else None,
            quota_bytes=_number(each.get("quota_bytes")),
            is_active=each.get("enabled") is not False,
        )
        if each.get("forward_enabled"):
            where = ", ".join(_texts(each.get("forward_destination")))
            reason = f"the mailbox forwards to {where}: its owner sets that up as a filter"
            found.skip("forward", address, reason)
        if each.get("reply_enabled"):
            found.skip("vacation", address, "its owner sets a vacation reply up at /v1/me")
    for each in _listed(document, "alias"):
        address, targets = str(each.get("email", "")), _texts(each.get("destination"))
        if not each.get("wildcard"):
            found.add_alias(address, targets)
        elif address.startswith("%@"):
            found.add_alias(address[1:], targets)
        else:
            found.skip("alias", address, "of patterns only the catch-all is taken")
    for each in _listed(document, "relay"):
        found.skip("relay", str(each.get("name", "")), "set it up with `posthorn route`")


def size_in(text: str) -> int | None:
    """Return the bytes of a size of Dovecot such as 5G, in units of 1024; None: it is none."""
    found = _SIZE.fullmatch(text.strip())
    return (
        int(found[1]) * 1024 ** " kmgt".index(found[2].lower().strip("b") or " ") if found else None
    )


def _dovecot_quota(extra: str) -> int | None:
    if rule := _RULE.search(extra):
        unit = "K" if rule[1] == "storage" and rule[2].isdigit() else ""  # storage is in KiB
        return size_in(rule[2] + unit)
    size = _QUOTA_SIZE.search(extra)
    return size_in(size[1]) if size else None


def _mailboxes(found: SourceDirectory, rows: Iterable[Row]) -> None:
    """Read the table that PostfixAdmin and mailcow have alike."""
    for row in rows:
        name, active = _text(row, "username"), row.get("active")
        if active == "2":
            found.skip("password", name, "it may not log in there; it gets no password here")
        found.add_account(
            name,
            None if active == "2" else _stored(row.get("password") or ""),
            quota_bytes=_number(row.get("quota")),
            is_active=active == "2" or _is_true(active),
        )


def _alias_domains(found: SourceDirectory, rows: Sequence[Row]) -> None:
    for row in rows:
        found.skip("domain alias", _text(row, "alias_domain"), _NO_DOMAIN_ALIASES)


def _stored(password: str) -> str | None:
    """Return a hash with a prefix where it has none and needs one."""
    password = password.strip()
    if _MD5.fullmatch(password):
        return f"{{PLAIN-MD5}}{password.lower()}"
    return password or None


def _text(row: Row, column: str) -> str:
    return row.get(column) or ""


def _number(value: Any) -> int | None:
    text = str(value)
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None


def _is_true(value: str | None) -> bool:
    return value is None or value.lower() in ("1", "t", "true")


def _listed(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = document.get(key) or []
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise CommandError(f"{key} of the export is no list of objects")
    return items


def _texts(value: Any) -> list[str]:
    """Return a list of texts, which may be one text with commas."""
    if isinstance(value, str):
        return [each.strip() for each in value.split(",") if each.strip()]
    return [str(each) for each in value] if isinstance(value, list) else []
