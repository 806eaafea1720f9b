"""What the connection of smtp-in takes from aiosmtpd, and what it does not (ADR 28)."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

from aiosmtpd.smtp import SMTP

from posthorn_smtp_in.composition import Backends, build_mx
from posthorn_smtp_in.protocol import SmtpProtocol
from tests.conformance.smtp.env import ScriptedBlobs, ScriptedDirectory, ScriptedIngest, settings_of


def protocol() -> SmtpProtocol:
    backends = Backends(ScriptedDirectory(), ScriptedIngest(), ScriptedBlobs())
    return SmtpProtocol(build_mx(settings_of(smtp_message_max_bytes=4711), backends, None))


async def test_the_constructor_of_aiosmtpd_is_given_the_configuration() -> None:
    made = protocol()
    assert (made.hostname, made.data_size_limit, made.enable_SMTPUTF8) == (
        "mx.example.test",
        4711,
        True,
    )


async def test_no_command_mechanism_or_hook_of_aiosmtpd_can_be_reached() -> None:
    made: Any = protocol()
    assert made._smtp_methods == made._auth_methods == made._handle_hooks == {}


def test_no_private_field_of_aiosmtpd_is_set() -> None:
    theirs = {
        name
        for function in vars(SMTP).values()
        if isinstance(function, FunctionType)
        for name in function.__code__.co_names
        if name.startswith("_") and not name.startswith("__")
    }
    source = inspect.getsource(SmtpProtocol)
    assert "_handler_coroutine" in theirs
    assert [
        name for name in sorted(theirs) if f"self.{name} =" in source or f"self.{name}:" in source
    ] == []
