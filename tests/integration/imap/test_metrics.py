"""What alerts ask for: the time of commands, and faults by the part at fault."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from posthorn.ports.errors import Unavailable
from tests.support.imap import ALICE, PASSWORD, ImapEnv


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"posthorn_imap_{name}", labels) or 0.0


async def broken(*_: object) -> None:
    raise Unavailable("postgres", "the connection was lost")


async def test_commands_are_timed_and_faults_counted_by_part(
    imap: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await imap.client()
    timed = figure("command_seconds_count", command="list")
    faults = figure("unavailable_total", part="postgres")
    await client.ok('LIST "" "*"')
    with monkeypatch.context() as patched:
        patched.setattr(imap.context.backend.folders, "list", broken)
        assert (await client.no('LIST "" "*"')).startswith(b"NO [UNAVAILABLE] ")
        patched.setattr(imap.context.logins._mail_login, "_find", broken)
        other = imap.dialogue()
        reply = await other.no(f'LOGIN {ALICE} "{PASSWORD}"')
        assert reply.startswith(b"NO [UNAVAILABLE] ")
    assert figure("command_seconds_count", command="list") == timed + 2
    assert figure("unavailable_total", part="postgres") == faults + 2
