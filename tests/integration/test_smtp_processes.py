"""smtp-in in several processes on real NATS: connections are spread, one that dies costs nothing that
was promised, and the pod has one health page and one metrics page."""

from __future__ import annotations

import asyncio
import json
import signal
import smtplib
import socket
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import httpx
import psutil

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.model.envelope import decode_record
from posthorn_local.embedded import Nats
from tests.conformance.submission.env import MESSAGE
from tests.integration.test_submission_process import connection as connection
from tests.support.polling import BUSY_SECONDS, until
from tests.support.smtp_process import process


def send(port: int) -> str:
    """Send a message on a connection of its own; return its id."""
    with smtplib.SMTP("127.0.0.1", port, timeout=BUSY_SECONDS) as client:
        client.ehlo()
        client.mail("someone@example.org")
        client.rcpt("bob@example.test")
        code, said = client.data(MESSAGE)
        assert code == 250
        return said.split()[1].decode()


def lines_of(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def accepting(log: Path) -> Counter[object]:
    """Messages accepted by each process, by the log."""
    return Counter(line["process"] for line in lines_of(log) if line["event"] == "accepted")


async def metric(ports: Mapping[str, int], name: str) -> float:
    async with httpx.AsyncClient(timeout=BUSY_SECONDS, verify=False) as client:
        page = (await client.get(f"http://127.0.0.1:{ports['HEALTH']}/metrics")).text
    return sum(
        float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(f"{name} ")
    )


async def has_sessions(ports: Mapping[str, int], number: int) -> bool:
    return await metric(ports, "posthorn_smtp_in_sessions") == number


async def is_ready(ports: Mapping[str, int]) -> bool:
    async with httpx.AsyncClient(timeout=BUSY_SECONDS, verify=False) as client:
        answer = await client.get(f"http://127.0.0.1:{ports['HEALTH']}/readyz")
    return answer.status_code == 200


async def test_two_processes_share_the_port_and_one_that_is_killed_is_replaced(
    connection: Connection, nats: Nats, tmp_path: Path
) -> None:
    await NatsIngest(connection).probe()
    log, accepted = tmp_path / "log", list[str]()
    settings = {
        "NATS_URL": nats.url_of("smtp-in"),
        "BLOBS": f"file://{tmp_path / 'blobs'}",
        "SMTP_PROCESSES": "2",
        "SMTP_SESSIONS": "7",
    }
    async with process("mx", log, **settings) as ports:

        async def both_accept() -> bool:
            accepted.append(await asyncio.to_thread(send, ports["SMTP"]))
            return len(accepting(log)) == 2

        await until(both_accept, what="a message through each process")
        assert await metric(ports, "posthorn_smtp_in_accepted_total") == len(accepted)

        # sessions that wait are added up, and their limit is the pod's, divided
        idle = [socket.create_connection(("127.0.0.1", ports["SMTP"]), 15) for _ in range(3)]
        assert all(each.recv(100).startswith(b"220 ") for each in idle)
        await until(partial(has_sessions, ports, 3), what="the count of those that wait")
        crowd = [socket.create_connection(("127.0.0.1", ports["SMTP"]), 15) for _ in range(30)]
        greeted = [each.recv(100)[:3] for each in crowd]
        assert greeted.count(b"220") <= 5 and b"421" in greeted  # 2 times 4, rounded up
        for each in (*idle, *crowd):
            each.close()
        await until(partial(has_sessions, ports, 0), what="the end of all sessions")

        first, _ = psutil.Process(ports["PID"]).children()
        first.send_signal(signal.SIGKILL)
        first.wait(BUSY_SECONDS)
        assert await is_ready(ports)
        for _ in range(5):  # the other one has the port
            accepted.append(await asyncio.to_thread(send, ports["SMTP"]))
        assert await is_ready(ports)

        async def replaced() -> bool:
            started = [line for line in lines_of(log) if line["event"] == "serving"]
            return len(started) == 4  # the parent, two, and one again

        await until(replaced, what="another process in its place")
        before = accepting(log)

        async def both_accept_again() -> bool:
            accepted.append(await asyncio.to_thread(send, ports["SMTP"]))
            return len(accepting(log) - before) == 2

        await until(both_accept_again, what="a message through each process")
        assert await metric(ports, "posthorn_smtp_in_accepted_total") == len(accepted)
        assert await metric(ports, "posthorn_process_restarts_total") == 1

        # a session that is open when the pod is ended is told so by its process
        late = socket.create_connection(("127.0.0.1", ports["SMTP"]), 15)
        assert late.recv(100).startswith(b"220 ")
        children = psutil.Process(ports["PID"]).children()
    assert late.recv(100).startswith(b"421 ")
    late.close()
    assert not any(child.is_running() for child in children)
    stream = connection.jetstream
    kept = [await stream.get_msg("INGEST", seq=number + 1) for number in range(len(accepted))]
    assert [str(decode_record(each.data or b"").envelope.id) for each in kept] == accepted
