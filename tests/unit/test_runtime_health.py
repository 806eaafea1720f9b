"""/healthz, /readyz and /metrics, asked over HTTP."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest
from structlog.testing import capture_logs

from posthorn.ports.errors import Unavailable
from posthorn.runtime import health as module
from posthorn.runtime.health import Health
from posthorn.runtime.http import bind, http_server
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until


@pytest.fixture
def health() -> Health:
    made = Health()
    made.started = True
    return made


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        http_server(health, bind("127.0.0.1", 0, "POSTHORN_HEALTH_PORT"), grace=1) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=BUSY_SECONDS, verify=False
        ) as made,
    ):
        yield made


class Part:
    """A part that answers as it is told."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.delay = 0.0
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.delay)
        if self.fault:
            raise self.fault


async def test_alive_says_nothing_of_the_parts(health: Health, client: httpx.AsyncClient) -> None:
    part = Part()
    part.fault = Unavailable("postgres")
    health.add_check("postgres", part)
    health.started = False
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json(), part.asked) == (200, {"status": "alive"}, 0)


async def test_ready_when_every_part_answers(health: Health, client: httpx.AsyncClient) -> None:
    health.add_check("nats", Part())
    health.add_check("blobs", Part())
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "draining": False,
        "started": True,
        "parts": {"nats": "ok", "blobs": "ok"},
    }


async def test_not_ready_before_the_start_and_while_draining(
    health: Health, client: httpx.AsyncClient
) -> None:
    health.started = False
    assert (await client.get("/readyz")).status_code == 503
    health.started = True
    assert (await client.get("/readyz")).status_code == 200
    health.draining = True
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["draining"]) == (503, True)
    assert (await client.get("/healthz")).status_code == 200, (
        "a pod that drains is not to be killed"
    )


async def test_a_process_that_drains_asks_no_part(
    health: Health, client: httpx.AsyncClient
) -> None:
    asked: list[str] = []

    async def hangs() -> None:
        asked.append("postgres")
        await asyncio.Event().wait()

    health.add_check("nats", Part())
    await client.get("/readyz")
    health.add_check("postgres", hangs)
    health.draining = True
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["parts"]) == (
        503,
        {"nats": "ok", "postgres": "not asked"},
    )
    assert not asked


async def test_a_part_that_fails_is_named_without_its_secrets(
    health: Health, client: httpx.AsyncClient
) -> None:
    broken, buggy = Part(), Part()
    broken.fault = Unavailable("postgres", "postgresql://user:secret@host")
    buggy.fault = ValueError("secret")
    health.add_check("postgres", broken)
    health.add_check("blobs", buggy)
    health.add_check("nats", Part())
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"] == {
        "postgres": "unavailable",
        "blobs": "probe failed",
        "nats": "ok",
    }
    assert "secret" not in answer.text


async def test_a_part_that_hangs_costs_the_others_nothing(
    health: Health, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROBE_TIMEOUT", 0.5)
    hung = Part()
    hung.delay = LONG_SECONDS
    health.add_check("blobs", hung)
    health.add_check("nats", Part())
    answer = await client.get("/readyz")
    assert answer.json()["parts"] == {"blobs": "no answer in time", "nats": "ok"}


async def test_parts_are_not_asked_more_often_than_is_useful(
    health: Health, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_FOR", LONG_SECONDS)
    part = Part()
    part.delay = 0.05
    health.add_check("postgres", part)
    await asyncio.gather(*(client.get("/readyz") for _ in range(10)))
    assert part.asked == 1
    part.fault = Unavailable("postgres")
    assert (await client.get("/readyz")).status_code == 200
    monkeypatch.setattr(module, "_KEPT_FOR", 0)
    assert (await client.get("/readyz")).status_code == 503
    part.fault = None
    assert (await client.get("/readyz")).status_code == 200


async def test_a_part_may_be_added_while_the_others_are_asked() -> None:
    health, asked, answer = Health(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        asked.set()
        await answer.wait()

    health.add_check("nats", slow)
    asking = asyncio.create_task(health.readiness())
    await asked.wait()
    health.add_check("postgres", slow)
    answer.set()
    assert await asking == (False, {"nats": "ok"})


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE python_gc_objects_collected_total counter" in answer.text


async def test_other_paths_are_not_found_and_head_has_no_body(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).status_code == 404
    head = await client.head("/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert "server" not in head.headers


async def test_each_answer_has_the_time_at_which_it_was_made(client: httpx.AsyncClient) -> None:
    first = parsedate_to_datetime((await client.get("/healthz")).headers["date"])
    await until(lambda: datetime.now(UTC) > first + timedelta(seconds=1))
    second = parsedate_to_datetime((await client.get("/healthz")).headers["date"])
    assert first < second <= datetime.now(UTC)


async def test_an_idle_client_does_not_hold_up_the_end(health: Health) -> None:
    async with http_server(
        health, bind("127.0.0.1", 0, "POSTHORN_HEALTH_PORT"), grace=LONG_SECONDS
    ) as port:
        silent = await asyncio.open_connection("127.0.0.1", port)
        kept = await asyncio.open_connection("127.0.0.1", port)
        kept[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await kept[0].readuntil(b"\r\n\r\n")
        began = time.monotonic()
    assert time.monotonic() - began < BUSY_SECONDS
    for _, writer in (silent, kept):
        writer.close()


def test_a_port_that_is_taken_is_refused_by_name() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SystemExit, match="POSTHORN_API_PORT"),
    ):
        bind("127.0.0.1", taken.getsockname()[1], "POSTHORN_API_PORT")


def test_an_address_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match="POSTHORN_API_HOST"):
        bind("203.0.113.1", 0, "POSTHORN_API_HOST")


async def test_the_log_says_once_that_a_part_does_not_serve_and_once_that_it_serves_again(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_FOR", 0.0)
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.001)
    part, other = Part(), Part()
    other.fault = Unavailable("postgres", "the login is refused")
    health.add_check("postgres", part)

    async def looks() -> None:
        before = part.asked
        await until(lambda: part.asked > before + 3)

    with capture_logs() as logs:
        watching = asyncio.create_task(health.watch())
        await looks()
        part.fault = Unavailable("postgres", "the login is refused")
        await looks()
        health.add_check("installation", other)  # for want of the same part
        await looks()
        part.fault = other.fault = None
        await looks()
        watching.cancel()
    assert [(line["log_level"], line["event"], line.get("detail")) for line in logs] == [
        ("error", "a part does not serve", "the login is refused"),
        ("info", "a part serves again", None),
    ]
    assert {line["part"] for line in logs} == {"postgres"}


async def test_a_part_that_has_not_served_yet_is_no_error_until_the_start_is_over(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_FOR", 0.0)
    part = Part()
    part.fault = Unavailable("postgres", "starting up")
    health.add_check("postgres", part)

    async def levels() -> list[str]:
        with capture_logs() as logs:
            await health.readiness()
        return [str(line["log_level"]) for line in logs]

    assert await levels() == ["info"]
    assert await levels() == []
    health.since -= timedelta(seconds=module.START_SECONDS + 1)
    assert await levels() == ["error"], "it was said once, but as no error"
    assert await levels() == []
    health.since = datetime.now(UTC)
    part.fault = None
    assert await levels() == ["info"]
    part.fault = Unavailable("postgres", "the login is refused")
    assert await levels() == ["error"], "it has served"
