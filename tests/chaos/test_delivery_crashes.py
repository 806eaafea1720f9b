"""kill -9 of a real delivery process at the points that matter: the next one finishes, nothing
lost, nothing doubled."""

from __future__ import annotations

import asyncio
import base64
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from posthorn.adapters.nats import layout
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn_local.embedded import Nats, die_with_parent, free_port
from tests.support.databases import logged_in
from tests.support.delivery_env import DeliveryEnv, delivery_env
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, START_SECONDS, until
from tests.support.service_process import environment


class DeliveryProcess:
    """A delivery service in a process of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.output = Path(environment["POSTHORN_BLOBS"].removeprefix("file://")).with_name(
            "delivery.log"
        )

    @contextmanager
    def started(
        self, point: str = "never", ack_wait: float = 2.0
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self.output.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.delivery_process", point, str(ack_wait)],
                env=self.environment,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent(),
            )
        try:
            yield process
        except BaseException:
            print(self.output.read_text())
            raise
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    async def is_ready(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=BUSY_SECONDS, verify=False) as client:
                answer = await client.get(
                    f"http://127.0.0.1:{self.environment['POSTHORN_HEALTH_PORT']}/readyz"
                )
        except httpx.HTTPError:
            return False
        return answer.status_code == 200


@pytest.fixture
async def env(
    nats: Nats, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DeliveryEnv]:
    monkeypatch.setattr(layout, "ACK_WAIT", 2.0)
    async with delivery_env(nats, database_url, tmp_path / "blobs") as made:
        await made.source.__aexit__()  # the process under test is the only one that takes
        yield made


@pytest.fixture
def delivery(nats: Nats, database_url: str, tmp_path: Path) -> DeliveryProcess:
    return DeliveryProcess(
        environment(
            NATS_URL=nats.url_of("delivery"),
            DATABASE_URL=logged_in(database_url, "delivery"),
            BLOBS=f"file://{tmp_path / 'blobs'}",
            SECRET_KEY=base64.b64encode(bytes(32)).decode(),
            HEALTH_HOST="127.0.0.1",
            HEALTH_PORT=str(free_port()),
            GRACE_SECONDS=str(int(BUSY_SECONDS)),
        )
    )


async def ended(process: subprocess.Popen[bytes]) -> int:
    async def has_ended() -> bool:
        return process.poll() is not None

    await until(has_ended, START_SECONDS, "the process's end")
    return int(process.returncode)


@pytest.mark.parametrize("point", ["before-put", "after-put", "after-commit", "between-acks"])
async def test_a_process_killed_at_this_point_loses_nothing_and_doubles_nothing(
    env: DeliveryEnv, delivery: DeliveryProcess, point: str
) -> None:
    accounts = await env.seed.accounts(3)
    bodies = [b"%d\r\n" % number for number in range(30)]
    for body in bodies:
        await env.send(body, "user0@example.test", "user1@example.test", "gone@example.test")
    large = b"large\r\n" * 1000
    await env.send_large(large, "user2@example.test")
    with delivery.started(point) as process:
        assert await ended(process) == -signal.SIGKILL
    placed_before = await env.seed.value("SELECT count(*) FROM messages")
    assert (placed_before > 0) == (point in ("after-commit", "between-acks"))
    left = 31 - (5 if point == "between-acks" else 0)
    await until(lambda: _left(env, left), what="the server's taking note of the acks")

    with delivery.started():
        await env.settled(START_SECONDS)
    assert (
        sorted(await env.bodies(accounts[0]))
        == sorted(await env.bodies(accounts[1]))
        == sorted(bodies)
    )
    assert await env.bodies(accounts[2]) == [large]
    assert (
        await env.seed.value("SELECT count(*) FROM outbound_recipients WHERE notice = 'failed'")
        == 30
    )
    assert await env.dead.parked(0, 100) == []
    await env.seed.sums_hold()


async def test_a_process_killed_with_frames_in_hand_delivers_each_of_their_messages_once(
    env: DeliveryEnv, delivery: DeliveryProcess
) -> None:
    (account,) = await env.seed.accounts(1)
    bodies = [b"%d\r\n" % number for number in range(90)]
    await asyncio.gather(*(env.send(body, "user0@example.test") for body in bodies))
    assert await env.left() == 90
    for point in ("after-put", "after-commit"):
        with delivery.started(point) as process:
            assert await ended(process) == -signal.SIGKILL
    assert await env.left() == 90
    with delivery.started():
        await env.settled(START_SECONDS)
    assert sorted(await env.bodies(account)) == sorted(bodies)
    assert await env.dead.parked(0, 100) == []
    await env.seed.sums_hold()


async def test_a_process_killed_again_and_again_under_load(
    env: DeliveryEnv, delivery: DeliveryProcess
) -> None:
    (account,) = await env.seed.accounts(1)
    bodies = [b"%d\r\n" % number for number in range(1500)]
    queue = iter(bodies)
    rolled = random.Random(7)

    async def send() -> None:
        for body in queue:
            await env.send(body, "user0@example.test")
            await asyncio.sleep(0.005)

    sending = asyncio.gather(*(send() for _ in range(4)))
    for _ in range(3):
        with delivery.started():
            before = len(await env.seed.inbox(account))

            async def moves(before: int = before) -> bool:
                return len(await env.seed.inbox(account)) > before or sending.done()

            await until(moves, START_SECONDS, "a delivery")
            await asyncio.sleep(rolled.uniform(0, 0.2))  # and then it is killed
    await sending
    with delivery.started():
        await env.settled(START_SECONDS)
    assert sorted(await env.bodies(account)) == sorted(bodies)
    await env.seed.sums_hold()


async def test_sigterm_finishes_what_is_at_hand_and_gives_back_the_rest(
    env: DeliveryEnv, delivery: DeliveryProcess
) -> None:
    (account,) = await env.seed.accounts(1)
    with delivery.started(ack_wait=LONG_SECONDS) as process:
        await until(delivery.is_ready, START_SECONDS, "readiness")
        sending = asyncio.gather(
            *(env.send(b"%d\r\n" % number, "user0@example.test") for number in range(300))
        )
        await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert await ended(process) == 0
        assert time.monotonic() - began < BUSY_SECONDS
        await sending
    async with NatsIngestSource(env.nats) as source:
        # nothing stays in the hands of a process that has gone
        async with asyncio.timeout(BUSY_SECONDS):
            left = len(await env.seed.inbox(account))
            while left < 300:
                batch = await source.take(512, 1 << 20)
                left += len(batch)
                await env.deliverer.deliver(batch)
    await env.settled()
    assert sorted(await env.bodies(account)) == sorted(b"%d\r\n" % number for number in range(300))
    assert b'"level":"error"' not in delivery.output.read_bytes().replace(b'": "', b'":"')


async def test_a_database_that_is_down_makes_the_process_unready_not_dead(
    nats: Nats, tmp_path: Path, delivery: DeliveryProcess
) -> None:
    delivery.environment["POSTHORN_DATABASE_URL"] = (
        f"postgresql://posthorn:secret@127.0.0.1:{free_port()}/posthorn"
    )
    with delivery.started() as process:
        url = f"http://127.0.0.1:{delivery.environment['POSTHORN_HEALTH_PORT']}"

        async def says_so() -> bool:
            try:
                async with httpx.AsyncClient(timeout=BUSY_SECONDS, verify=False) as client:
                    answer = await client.get(f"{url}/readyz")
            except httpx.HTTPError:
                return False
            return bool(answer.status_code == 503 and answer.json()["started"])

        await until(says_so, START_SECONDS, "an unready answer")
        async with httpx.AsyncClient(timeout=BUSY_SECONDS, verify=False) as client:
            parts = (await client.get(f"{url}/readyz")).json()["parts"]
            assert (parts["nats"], parts["blobs"]) == ("ok", "ok")
            assert parts["postgres"] != "ok"
            assert (await client.get(f"{url}/healthz")).status_code == 200
            assert "posthorn_delivery_backlog_messages" in (await client.get(f"{url}/metrics")).text
        assert process.poll() is None
    assert b"secret" not in delivery.output.read_bytes()


async def _left(env: DeliveryEnv, number: int) -> bool:
    return await env.left() == number
