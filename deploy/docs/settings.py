"""The page of settings, from the settings classes: a section for each class, with the services
that read it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from deploy.docs.markdown import amount, code, page, prose, table
from deploy.docs.source import attribute_docs
from deploy.helm.settings import CLASSES, MANAGED

from posthorn.adapters.postgres.migrate import MigrateSettings
from posthorn.runtime.canary.settings import CanarySettings
from posthorn.runtime.env_settings import PREFIX, EnvSettings
from posthorn_cli.settings import Settings as CliSettings
from posthorn_local.settings import LocalSettings

_SERVICES = {"smtpIn": "smtp-in"}
_ACRONYMS = {
    "Nats": "NATS",
    "Tls": "TLS",
    "Oidc": "OIDC",
    "Srs": "SRS",
    "Smtp": "SMTP",
    "Pop": "POP",
    "Imap": "IMAP",
    "Api": "API",
}
_ABOUT = """\
Every service reads its settings from environment variables that begin with `POSTHORN_`, once, at its start. A value that cannot
be used stops the start with the variable's name and what would be right. Lists are separated by commas or written as JSON.

- **Helm**: a setting that the chart has no value for goes into `settings` (all services that read it) or `<service>.settings`
  ([chart values](chart.md)). Settings marked ◆ are set by values of the chart and cannot be given there.
- **Docker Compose**: set variables in `.env` where `docker-compose.yml` passes them on, or under `environment` of a service.
- **Local mode** understands every setting of every service, and its own below.

A setting that several services read must have the same value in all of them."""


def settings_page() -> str:
    """Return the page."""
    readers: dict[str, type[EnvSettings]] = {
        _SERVICES.get(key, key): owner for key, owner in CLASSES.items()
    }
    readers |= {"posthorn-migrate": MigrateSettings, "posthorn-canary": CanarySettings}
    blocks = dict.fromkeys(block for owner in readers.values() for block in _blocks(owner))
    shared = [block for block in blocks if block.__module__ == EnvSettings.__module__]
    shared.sort(key=lambda block: inspect.getsourcelines(block)[1])
    parts = [_ABOUT]
    for block in [*shared, *(block for block in blocks if block not in shared)]:
        read_by = [name for name, owner in readers.items() if issubclass(owner, block)]
        parts.append(_section(block, ", ".join(read_by)))
    return page("Settings", *parts, _section(LocalSettings, "local mode"), _cli())


def _blocks(owner: type[EnvSettings]) -> Iterator[type[EnvSettings]]:
    """Return the classes that define settings of ``owner``, the most general first."""
    for block in reversed(owner.__mro__):
        if (
            issubclass(block, EnvSettings)
            and attribute_docs(block).keys() & owner.model_fields.keys()
        ):
            yield block


def _section(block: type[EnvSettings], read_by: str) -> str:
    shapes: dict[str, Any] = block.model_json_schema()
    rows = [
        (
            code(PREFIX + name.upper())
            + (" ◆" if PREFIX + name.upper() in MANAGED and block is not LocalSettings else ""),
            _kind(shapes["properties"][name], shapes.get("$defs", {})),
            _default(block, name),
            prose(meaning),
        )
        for name, meaning in attribute_docs(block).items()
        if name in block.model_fields
    ]
    about = prose(block.__doc__ or "")
    return f"## {title(block)}\n\n{about} Read by: {read_by}.\n\n{table(('variable', 'value', 'default', 'meaning'), rows)}"


def title(block: type[EnvSettings]) -> str:
    """Return the words of a class name, such as ``SMTP`` for ``SmtpSettings``."""
    words = re.findall("[A-Z][a-z]+|[0-9]+", block.__name__.removesuffix("Settings"))
    return " ".join(
        _ACRONYMS.get(word, word if not place else word.lower()) for place, word in enumerate(words)
    ).replace("POP 3", "POP3")


def _default(block: type[EnvSettings], name: str) -> str:
    field = block.model_fields[name]
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, int | float):
        return amount(name, value)
    return code(value) if value else "unset" if value is None else "empty"


def _kind(schema: dict[str, Any], shared: dict[str, Any]) -> str:
    """Return what a value may be, in words."""
    if "$ref" in schema:
        return _kind(shared[schema["$ref"].rpartition("/")[2]], shared)
    if "anyOf" in schema:
        choices = [_kind(each, shared) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(choices))
    if "enum" in schema:
        return ", ".join(code(each) for each in schema["enum"])
    if choice := re.fullmatch(r"\^\((\w+(?:\|\w+)+)\)\$", schema.get("pattern", "")):
        return ", ".join(code(each) for each in choice[1].split("|"))
    match schema.get("type"):
        case "boolean":
            return "`true` or `false`"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + _range(schema)
        case "array":
            return "list"
        case "object":
            return "JSON object"
    return (
        "path"
        if schema.get("format") == "path"
        else "secret"
        if schema.get("format") == "password"
        else "text"
    )


def _range(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f", {least:g} to {most:g}" if most < 100_000 else f", from {least:g}"
    if least is not None:
        return f", from {least:g}"
    return ", above 0" if schema.get("exclusiveMinimum") == 0 else ""


def _cli() -> str:
    found = (
        re.match(r"(POSTHORN_\w+(?:=1)?)\W*(.*)", each, re.DOTALL)
        for each in attribute_docs(CliSettings).values()
    )
    rows = [(code(named[1]), prose(named[2])) for named in found if named]
    about = "What the command `posthorn` reads; see [the command line](cli.md)."
    return f"## Command line\n\n{about}\n\n{table(('variable', 'meaning'), rows)}"
