"""What processes of one pod share: ports and limits (ADR 37)."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack

import pytest

from posthorn.runtime.http import bind
from posthorn_smtp_in.processes import divided_limits, reserved_ports
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings

NEEDED = {
    "nats_url": "nats://127.0.0.1:4222",
    "blobs": "file:///tmp/posthorn-blobs",
    "srs_key": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    "smtp_host": "127.0.0.1",
    "smtp_processes": 3,
}


def test_limits_of_the_pod_are_divided_and_each_process_may_spool_a_message() -> None:
    settings = SmtpInSettings.model_validate(
        NEEDED
        | {
            "smtp_sessions": 100,
            "smtp_memory_bytes": 3_000_000,
            "smtp_input_bytes": 3_000_001,
            "smtp_spool_bytes": 60_000_000,
            "smtp_message_max_bytes": 50_000_000,
        }
    )
    assert divided_limits(settings) == {
        "smtp_sessions": 34,
        "smtp_memory_bytes": 1_000_000,
        "smtp_input_bytes": 1_000_001,
        "smtp_spool_bytes": 50_000_000,
    }


async def test_processes_share_a_port_that_another_program_does_not_get() -> None:
    settings = SmtpInSettings.model_validate(NEEDED | {"smtp_port": 0})
    async with AsyncExitStack() as stack:
        port = reserved_ports(settings, stack)["smtp_port"]
        with bind("127.0.0.1", port, "POSTHORN_SMTP_PORT", shared=True) as process:
            process.listen()
            with bind("127.0.0.1", port, "POSTHORN_SMTP_PORT", shared=True) as another:
                another.listen()
            with pytest.raises(SystemExit, match="POSTHORN_SMTP_PORT"):
                bind("127.0.0.1", port, "POSTHORN_SMTP_PORT")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = settings.model_copy(update={"smtp_port": taken.getsockname()[1]})
        with pytest.raises(SystemExit, match="POSTHORN_SMTP_PORT: cannot listen"):
            reserved_ports(other, AsyncExitStack())


async def test_each_role_has_its_ports() -> None:
    given = {"submission_port": 0, "submissions_port": 0}
    settings = SubmissionInSettings.model_validate(
        NEEDED
        | given
        | {"smtp_role": "submission", "database_url": "postgresql://u:p@127.0.0.1/posthorn"}
    )
    async with AsyncExitStack() as stack:
        assert set(reserved_ports(settings, stack)) == set(given)
