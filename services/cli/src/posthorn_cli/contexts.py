"""Contexts: the systems that this person manages, each a URL and a key, in a file that only its
owner can read.

Order of precedence: ``--context``; then POSTHORN_URL with POSTHORN_API_KEY or
POSTHORN_API_KEY_FILE; then POSTHORN_CONTEXT; then the context in use; then local mode, when its key
lies in POSTHORN_HOME. A URL never meets the key of another: where the environment names a URL it
names the key too. Only local mode's own URL, which is on this machine, gets the key that local mode
wrote.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from posthorn_cli.faults import REFUSED, USAGE, CommandError, usage
from posthorn_cli.settings import Settings

LOCAL = "local"
"""The name of the context of local mode; it is always there."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_LARGEST_KEY = 4096


@dataclass(frozen=True, slots=True)
class Context:
    """A system and how it is reached."""

    url: str
    key: str = field(default="", repr=False)
    key_file: Path | None = None
    """Where the key is read at each use, in place of ``key``."""
    ca_file: Path | None = None
    is_written_here: bool = False
    """Whether a program of ours wrote the key file, for its owner alone: one that others can
    read is refused."""

    def secret(self) -> str:
        """Return the key. Raises CommandError."""
        return (
            read_key(self.key_file, is_written_here=self.is_written_here)
            if self.key_file
            else self.key
        )

    def warning(self) -> str | None:
        """Return what should be said of the key file: that others can read it, where its owner
        runs this and could mend it."""
        return None if self.key_file is None or self.is_written_here else _exposure(self.key_file)


@dataclass(frozen=True, slots=True)
class Config:
    """All of the file."""

    contexts: Mapping[str, Context] = field(default_factory=dict)
    current: str | None = None


def load(path: Path) -> Config:
    """Read the file; without one there are no contexts. Raises CommandError."""
    try:
        _refuse_open(path, 0o077)
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read {path}: {error}") from None
    contexts = {}
    listed = document.get("contexts", {})
    for name, entry in listed.items() if isinstance(listed, dict) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
            raise CommandError(f"{path}: context {name} has no url")
        contexts[name] = Context(
            entry["url"],
            str(entry.get("key", "")),
            _path(entry.get("key_file")),
            _path(entry.get("ca_file")),
        )
    current = document.get("current")
    return Config(contexts, current if isinstance(current, str) else None)


def save(path: Path, config: Config) -> None:
    """Write the file, whole or not at all, for its owner alone (0600). Raises CommandError."""
    lines = [] if config.current is None else [f"current = {_quoted(config.current)}", ""]
    for name, context in sorted(config.contexts.items()):
        lines.append(f"[contexts.{_quoted(name)}]")
        entry = {
            "url": context.url,
            "key": context.key,
            "key_file": context.key_file,
            "ca_file": context.ca_file,
        }
        lines += [f"{key} = {_quoted(str(value))}" for key, value in entry.items() if value]
        lines.append("")
    new = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as out:
            out.write("\n".join(lines))
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


def check_name(name: str) -> str:
    """Check the name of a new context and return it. Raises CommandError."""
    if name == LOCAL:
        raise usage(f"{LOCAL!r} is local mode, which needs no adding")
    if not _NAME.match(name):
        raise usage(
            "a context's name is of letters, digits, dots, hyphens and underscores, 64 at most"
        )
    return name


def read_key(path: Path, *, is_written_here: bool = False) -> str:
    """Read a key from a file. Raises CommandError.

    Who may read it is the business of whoever made it: Docker, Kubernetes and CI systems mount
    secrets with modes such as 0444 and 0644. One that a program of ours wrote must not be readable
    by everyone.
    """
    try:
        if is_written_here:
            _refuse_open(path, 0o007)
        text = path.read_text("utf-8")[: _LARGEST_KEY + 1].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the API key in {path}: {_why(error)}", REFUSED) from None
    if not text:
        raise CommandError(f"{path} holds no API key", REFUSED)
    return text


def choose(wanted: str | None, settings: Settings) -> Context:
    """Return the context to use. Raises CommandError."""
    if wanted is None and settings.url is not None:
        return _from_environment(settings.url, settings)
    name = wanted or settings.context
    if name == LOCAL:
        return _local(settings)
    config = load(settings.config)
    name = name or config.current
    if name is None:
        if (settings.home / "admin.key").exists():
            return _local(settings)
        raise CommandError(
            "no system to talk to: add one with `posthorn context add NAME --url https://…`, or set POSTHORN_URL and "
            "POSTHORN_API_KEY_FILE; beside a local mode (`make run`) set POSTHORN_HOME to its home",
            USAGE,
        )
    if name == LOCAL:
        return _local(settings)
    if name not in config.contexts:
        raise usage(f"there is no context {name!r}; `posthorn context list` shows those there are")
    return config.contexts[name]


def _from_environment(url: str, settings: Settings) -> Context:
    if settings.key:
        return Context(url, settings.key, None, settings.ca_file)
    if settings.key_file:
        return Context(url, "", settings.key_file, settings.ca_file)
    if url.rstrip("/") == settings.local_url:
        return _local(settings)
    raise CommandError(
        "POSTHORN_URL is set: set POSTHORN_API_KEY_FILE or POSTHORN_API_KEY too", REFUSED
    )


def _local(settings: Settings) -> Context:
    return Context(settings.local_url, "", settings.home / "admin.key", is_written_here=True)


def _refuse_open(path: Path, forbidden: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & forbidden:
        who = "everyone" if mode & 0o007 else "its group"
        raise CommandError(
            f"{path} is open to {who} (mode {mode:04o}) and holds a key: chmod 600 {path}", REFUSED
        )


def _exposure(path: Path) -> str | None:
    """Say that everyone can read a file; not of one that is mounted read-only or belongs to
    another, which nobody here can mend."""
    try:
        found = path.stat()
        if (
            not found.st_mode & 0o007
            or found.st_uid != os.geteuid()
            or not os.access(path, os.W_OK)
        ):
            return None
    except OSError:
        return None
    mode = stat.S_IMODE(found.st_mode)
    return f"warning: everyone on this machine can read the API key in {path} (mode {mode:04o}): chmod 600 {path}"


def _path(value: object) -> Path | None:
    return Path(value).expanduser() if isinstance(value, str) and value else None


def _quoted(text: str) -> str:
    """Write a string in TOML, whose basic strings are as JSON's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it is no text"
