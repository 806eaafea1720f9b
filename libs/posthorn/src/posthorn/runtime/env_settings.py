"""What all settings share: they are read from the environment, checked, and refused by name.

Every variable begins with ``POSTHORN_``. An invalid value stops the process at once with the
variable's name and what would be valid; the value itself is never shown, since it may be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from posthorn.runtime.fault_texts import fault_text

PREFIX = "POSTHORN_"

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 takes any free one."""
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(ge=1)]
type Pairs = tuple[tuple[str, str], ...]
"""Names of settings, two by two."""

RENAMED = {
    "delivery_batch_octets": "delivery_batch_bytes",
    "pop3_cache_octets": "pop3_cache_bytes",
    "api_body_limit": "api_body_max_bytes",
    "mail_import_body_limit": "mail_import_body_max_bytes",
    "import_body_limit": "import_body_max_bytes",
    "send_body_limit": "send_body_max_bytes",
    "send_max_size": "send_message_max_bytes",
    "smtp_max_size": "smtp_message_max_bytes",
    "collector_interval": "collector_interval_seconds",
    "collector_orphan_interval": "collector_orphan_interval_seconds",
    "collector_rewrite_age": "collector_rewrite_age_seconds",
    "collector_grace": "collector_grace_seconds",
    "collector_orphan_age": "collector_orphan_age_seconds",
    "collector_forget_age": "collector_forget_age_seconds",
    "retention_interval": "retention_interval_seconds",
    "submission_failures_per_address": "login_failures_per_address",
    "submission_failures_per_account": "login_failures_per_account",
}
"""Former name of a setting to its present one (deploy/helm/posthorn/UPGRADING.md). A process
that finds a former name refuses to start, so that no limit silently falls back to its default."""
_FORMER_VARIABLES = {
    f"{PREFIX}{old}".upper(): f"{PREFIX}{new}".upper() for old, new in RENAMED.items()
}


class SettingsError(SystemExit):
    """A variable has an invalid value. As SystemExit it ends the process with the message on
    stderr."""


class EnvSettings(BaseSettings):
    """Base of every settings object: reads ``POSTHORN_<FIELD>`` and refuses with the variable's
    name. A class lists the settings that could contradict each other."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        defer_build=True,  # a process reads one class, and loads the many that it is made of
    )

    ORDERED: ClassVar[Pairs] = ()
    """Pairs of which the first must be at most the second."""
    NEEDED: ClassVar[Pairs] = ()
    """Pairs of which the first has no effect without the second."""

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        faults = [
            f"{_variable(lesser)}: must be at most {_variable(greater)}" + self._default_of(greater)
            for lesser, greater in type(self).pairs("ORDERED")
            if getattr(self, lesser) > getattr(self, greater)
        ] + [
            f"{_variable(name)}: needs {_variable(other)}"
            + ("=true" if getattr(self, other) is False else "")
            for name, other in type(self).pairs("NEEDED")
            if _is_set(getattr(self, name)) and not _is_set(getattr(self, other))
        ]
        if faults:
            raise ValueError("\n  ".join(faults))
        return self

    def _default_of(self, name: str) -> str:
        if name in self.model_fields_set:
            return ""
        return f", which is not set and so {getattr(self, name):.12g}"

    @classmethod
    def pairs(cls, kind: Literal["ORDERED", "NEEDED"]) -> Pairs:
        """Return the pairs of this class and of all that it is made of."""
        return tuple(
            dict.fromkeys(pair for base in cls.__mro__ for pair in base.__dict__.get(kind, ()))
        )

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises SettingsError, which names each bad, missing or renamed
        variable."""
        _refuse_renamed()
        try:
            return cls()
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False)
            lines = (_line(fault, cls.model_fields) for fault in faults)
            raise SettingsError("refusing to start:\n  " + "\n  ".join(lines)) from None
        except SourceError as error:  # a list or the like that is not JSON
            field = re.search(r'field "(\w+)"', str(error))
            name = f"{PREFIX}{field[1].upper()}" if field else "a variable"
            raise SettingsError(f"refusing to start:\n  {name}: must be JSON") from None


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _is_set(value: object) -> bool:
    return value not in (None, "", (), {}) and value is not False


def _line(fault: ErrorDetails, fields: Mapping[str, FieldInfo]) -> str:
    """Return a line about a value that is not valid: the variable, which part of a list, and what
    would be valid. A fault between several variables names them itself."""
    text = "must be set" if fault["type"] == "missing" else fault_text(fault)
    if not fault["loc"]:
        return text
    name, *places = fault["loc"]
    if fault["type"] == "string_pattern_mismatch" and (examples := fields[str(name)].examples):
        text = f"must be such as {' or '.join(map(str, examples))}"
    inside = "".join(f"item {place + 1} " for place in places if isinstance(place, int))
    return f"{_variable(str(name))}: {inside}{text}"


def _refuse_renamed() -> None:
    former = sorted(name for name in environment() if name.upper() in _FORMER_VARIABLES)
    if former:
        lines = [f"{name}: is now called {_FORMER_VARIABLES[name.upper()]}" for name in former]
        raise SettingsError("refusing to start:\n  " + "\n  ".join(lines))


def environment() -> dict[str, str]:
    """Return a copy of the whole environment, to pass to child processes."""
    return dict(os.environ)  # noqa: TID251 - this module is the place


def set_environment(variables: Mapping[str, str]) -> None:
    """Replace the environment of this process."""
    os.environ.clear()  # noqa: TID251 - this module is the place
    os.environ.update(variables)  # noqa: TID251 - this module is the place
