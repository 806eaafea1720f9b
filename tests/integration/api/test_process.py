"""The API as a process: its settings, its start without its neighbours, its commands, its end."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import connect
from posthorn.model.directory_entry import AddressEntry, RecipientStatus
from posthorn.runtime.env_settings import SettingsError
from posthorn_api.services import ServiceOptions
from posthorn_api.settings import ApiSettings
from posthorn_local.embedded import Nats, free_port
from tests.support.databases import execute, logged_in
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, until
from tests.support.service_process import environment, program, until_ready

KEY = "ph_" + "k" * 43
SECRET_KEY = base64.b64encode(b"s" * 32).decode()


def variables(database_url: str, nats_url: str, home: Path, **more: str) -> dict[str, str]:
    return (
        environment(
            DATABASE_URL=database_url,
            NATS_URL=nats_url,
            BLOBS=f"file://{home}/blobs",
            API_HOST="127.0.0.1",
            HEALTH_HOST="127.0.0.1",
            API_PORT=str(free_port()),
            HEALTH_PORT=str(free_port()),
            GRACE_SECONDS="2",
            SECRET_KEY=SECRET_KEY,
        )
        | more
    )


async def spawn(env: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*program("api"), *arguments),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def end(
    process: asyncio.subprocess.Process, number: int = signal.SIGTERM
) -> tuple[int | None, str]:
    if process.returncode is None:
        process.send_signal(number)
    out, _ = await asyncio.wait_for(process.communicate(), BUSY_SECONDS)
    return process.returncode, out.decode()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {KEY}"}, timeout=BUSY_SECONDS, verify=False
    ) as made:
        yield made


async def ready(env: dict[str, str]) -> str:
    await until_ready(env["POSTHORN_HEALTH_PORT"])
    return f"http://127.0.0.1:{env['POSTHORN_API_PORT']}"


async def test_the_process_serves_without_nats_and_projects_when_it_comes(
    database_url: str, nats: Nats, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    nats.stop()
    key_file = tmp_path / "admin.key"
    key_file.write_text(KEY + "\n")
    env = variables(
        logged_in(database_url, "api"),
        nats.url_of("api"),
        tmp_path,
        POSTHORN_API_ADMIN_KEY_FILE=str(key_file),
    )
    process = await spawn(env)
    try:
        url = await ready(env)
        assert (
            await client.post(f"{url}/v1/domains", json={"name": "example.test"})
        ).status_code == 201
        body = {"address": "alice@example.test", "password": "correct horse"}
        assert (await client.post(f"{url}/v1/accounts", json=body)).status_code == 201
        assert (await client.get(f"{url}/v1/dead")).status_code == 503
        restart(nats)
        async with connect(nats_settings(nats), "test") as connection:
            bucket = NatsDirectoryBucket(connection)
            await until(bucket.is_filled, BUSY_SECONDS, "the filling of the directory")
            assert (await bucket.entries())["alice@example.test"] == AddressEntry(
                RecipientStatus.DELIVERABLE
            )

            async def dead_letters() -> bool:
                return (await client.get(f"{url}/v1/dead")).status_code == 200

            await until(dead_letters)
    finally:
        status, out = await end(process)
    assert status == 0, out
    assert KEY not in out
    assert "correct horse" not in out
    assert '"route":"/v1/accounts"' in out


async def test_the_key_is_replaced_at_the_next_start(
    database_url: str, nats: Nats, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    for key in ("ph_" + "1" * 43, KEY):
        env = variables(
            logged_in(database_url, "api"), nats.url_of("api"), tmp_path, POSTHORN_API_ADMIN_KEY=key
        )
        process = await spawn(env)
        try:
            url = await ready(env)
            answer = await client.get(
                f"{url}/v1/domains", headers={"Authorization": f"Bearer {key}"}
            )
            assert answer.status_code == 200
            assert (await client.get(f"{url}/v1/domains")).status_code == (
                200 if key == KEY else 401
            )
        finally:
            status, out = await end(process)
        assert status == 0, out


async def test_the_rebuild_command_puts_the_directory_right(
    database_url: str, nats: Nats, tmp_path: Path
) -> None:
    async with connect(nats_settings(nats), "test") as connection:
        bucket = NatsDirectoryBucket(connection)
        await bucket.put("extra@example.test", AddressEntry(RecipientStatus.DELIVERABLE))
        known = variables(logged_in(database_url, "api"), nats.url_of("api"), tmp_path)
        refused = await spawn(known, "rebuild-directory")
        out, _ = await asyncio.wait_for(refused.communicate(), 3 * BUSY_SECONDS)
        assert refused.returncode == 1, "the database is new and empty, the bucket is not"
        assert b"the directory bucket holds data" in out
        await execute(database_url, "UPDATE installation SET stage = 'adopted'")
        process = await spawn(known, "rebuild-directory")
        out, _ = await asyncio.wait_for(process.communicate(), 3 * BUSY_SECONDS)
        assert process.returncode == 0, out
        assert re.search(rb'"entries":1\b', out)
        assert await bucket.entries() == {}
        assert await bucket.is_filled()


async def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    process = await spawn(variables("postgresql://x", "nats://x", tmp_path), "rebuild")
    out, _ = await asyncio.wait_for(process.communicate(), 3 * BUSY_SECONDS)
    assert process.returncode == 1
    assert b"usage: posthorn-api [COMMAND]" in out


def settings(monkeypatch: pytest.MonkeyPatch, **values: str) -> ApiSettings:
    for name, value in {
        "DATABASE_URL": "postgresql://x",
        "NATS_URL": "nats://x",
        "BLOBS": "file:///x",
        "SECRET_KEY": SECRET_KEY,
        **values,
    }.items():
        monkeypatch.setenv(f"POSTHORN_{name}", value)
    return ApiSettings.load()


def test_a_key_that_is_weak_is_refused_by_name_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weak = tmp_path / "weak"
    weak.write_text("short-secret\n")
    cases = {
        "API_ADMIN_KEY": ("short-secret", "at least 32 characters"),
        "API_ADMIN_KEY_FILE": (str(weak), "at least 32 characters"),
    }
    for name, (value, word) in cases.items():
        with monkeypatch.context() as context, pytest.raises(SettingsError) as refused:
            settings(context, **{name: value})
        assert f"POSTHORN_{name}" in str(refused.value)
        assert word in str(refused.value)
        assert "short-secret" not in str(refused.value)
    for name, value in {
        "API_ADMIN_KEY": "x" * 31 + " x",
        "API_ADMIN_KEY_FILE": str(tmp_path / "nowhere"),
        "API_BODY_MAX_BYTES": "0",
        "DIRECTORY_RECONCILE_SECONDS": "0",
    }.items():
        with (
            monkeypatch.context() as context,
            pytest.raises(SettingsError, match=f"POSTHORN_{name}"),
        ):
            settings(context, **{name: value})


def test_what_leaves_the_quarantine_is_queued_as_delivery_queues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = settings(
        monkeypatch,
        RELAY_GIVE_UP_SECONDS="1000",
        RELAY_DELAY_NOTICE_SECONDS="0",
        FORWARD_RECIPIENTS_PER_HOUR="7",
    )
    policy = ServiceOptions.from_settings(given).queue_policy
    assert (policy.give_up, policy.delay_notice, policy.limits.alias_recipients) == (1000, 0, 7)


def test_one_key_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text(f"{KEY}\n")
    with monkeypatch.context() as context:
        assert settings(context, API_ADMIN_KEY_FILE=str(good)).admin_key == KEY
        assert KEY not in repr(settings(context, API_ADMIN_KEY_FILE="", API_ADMIN_KEY=KEY))
        assert settings(context, API_ADMIN_KEY="").admin_key is None
        with pytest.raises(SettingsError, match="only one of them may be set"):
            settings(context, API_ADMIN_KEY_FILE=str(good), API_ADMIN_KEY=KEY)
