"""POP3 when parts fail, clients misbehave and the process must go: nothing is lost, nothing is
claimed, memory stays bounded."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import MaildropBusy
from posthorn.runtime.passwords import Busy, Passwords
from posthorn_pop3.protocol import Pop3Protocol
from posthorn_pop3.settings import Pop3Settings
from tests.conformance.pop3.dialogue import ADDRESS, Client, Server, pop3_server
from tests.conformance.twins import PASSWORD, MemoryMailStore
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, repeated_when_late, until

THREE = [b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n) for n in (1, 2, 3)]
LARGE = b"Subject: large\r\n\r\n" + b"".join(b".%070d\r\n" % n for n in range(40_000))


@pytest.fixture
async def house(password_hash: str) -> MemoryMailStore:
    made = MemoryMailStore(password_hash)
    await made.deliver(await made.account(ADDRESS), THREE)
    return made


@pytest.fixture
async def server(house: MemoryMailStore) -> AsyncIterator[Server]:
    async with pop3_server(house) as made:
        yield made


def login_lines() -> bytes:
    return f"USER {ADDRESS}\r\nPASS {PASSWORD}\r\n".encode()


async def tried(client: Client) -> bytes:
    """The answer to a login with the right password."""
    client.send(login_lines())
    await client.line()
    return await client.line()


def left(house: MemoryMailStore) -> int:
    return len(house.maildrops.accounts[1].locations)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def failures(command: str) -> float:
    return counted("posthorn_pop3_temporary_failures_total", command=command)


# --- the database fails
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["login", "open"])
async def test_thunderbird_a_fault_is_never_an_empty_maildrop_nor_a_wrong_password(
    house: MemoryMailStore, server: Server, method: str
) -> None:
    house.maildrops.faults = {method}
    client = await server.client()
    failed, ready = failures("login"), counted("posthorn_pop3_login_seconds_count")
    for _ in range(5):  # faults of ours are not counted against the client
        assert (await tried(client)).startswith(b"-ERR [SYS/TEMP] ")
    assert failures("login") == failed + 5
    house.maildrops.faults = set()
    assert (await tried(client)).startswith(b"+OK maildrop has 3 ")
    assert failures("login") == failed + 5
    assert counted("posthorn_pop3_login_seconds_count") == ready + 1


class FullPasswords(Passwords):
    async def verify(self, stored: str | None, password: str) -> bool:
        raise Busy


async def test_a_login_that_finds_too_many_others_is_temporary(house: MemoryMailStore) -> None:
    async with pop3_server(house, passwords=FullPasswords(1)) as server:
        assert (await tried(await server.client())).startswith(b"-ERR [SYS/TEMP] ")


async def test_a_message_that_cannot_be_located_is_temporary_and_the_session_goes_on(
    house: MemoryMailStore, server: Server
) -> None:
    client = await server.login()
    house.maildrops.faults = {"locate"}
    failed = failures("retr")
    assert (await client.ask(b"RETR 1")).startswith(b"-ERR [SYS/TEMP] ")
    assert failures("retr") == failed + 1
    assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")
    house.maildrops.faults = set()
    assert await client.fetch(b"RETR 1") == THREE[0]


async def test_wilduck_quit_claims_nothing_that_was_not_committed(
    house: MemoryMailStore, server: Server
) -> None:
    client = await server.login()
    await client.ask(b"DELE 1")
    house.maildrops.faults = {"commit"}
    failed = failures("quit")
    reply = await client.ask(b"QUIT")
    assert reply.startswith(b"-ERR [SYS/TEMP] ")
    assert failures("quit") == failed + 1
    assert await client.rest() == b""
    await until(lambda: len(server.limiter) == 0)
    assert left(house) == 3
    house.maildrops.faults = set()
    assert (await tried(await server.client())).startswith(b"+OK"), "the lease was given back"


async def test_quit_without_deletions_leaves_the_maildrop_free_for_the_next_login(
    house: MemoryMailStore, server: Server
) -> None:
    for _ in range(10):
        client = await server.login()
        assert (await client.ask(b"QUIT")).startswith(b"+OK")
    assert "commit" not in house.maildrops.calls


async def test_quit_is_answered_then_the_lease_released_then_the_connection_closed(
    house: MemoryMailStore, server: Server
) -> None:
    """And a login meanwhile waits for the release."""
    client = await server.login()
    house.maildrops.hold["release"] = asyncio.Event()
    assert (await client.ask(b"QUIT")).startswith(b"+OK")
    closed = asyncio.create_task(client.rest())
    second = asyncio.create_task(server.login())
    await until(lambda: house.maildrops.calls.count("login") == 2)
    await asyncio.sleep(0.02)
    assert not closed.done()
    assert not second.done()
    assert house.maildrops.calls.count("open") == 1
    house.maildrops.hold.pop("release").set()
    assert await closed == b""
    assert (await (await second).ask(b"STAT")).startswith(b"+OK 3 ")


async def test_a_maildrop_that_another_process_is_leaving_is_tried_a_second_time(
    house: MemoryMailStore, server: Server
) -> None:
    leaving = await server.login()
    opening, busy = house.maildrops.open, 0

    async def left_just_now(*asked: Any, **more: Any) -> Any:
        nonlocal busy
        try:
            return await opening(*asked, **more)
        except MaildropBusy:
            busy += 1
            house.maildrops.accounts[1].lease = None
            raise

    async with pop3_server(house) as other:
        house.maildrops.open = left_just_now  # type: ignore[method-assign]
        client = await other.login()
        assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")
    assert busy == 1
    await leaving.close()


async def test_a_maildrop_in_which_nothing_changed_is_listed_once(
    house: MemoryMailStore, server: Server
) -> None:
    known = []
    opening = house.maildrops.open

    async def watched(*asked: Any, **more: Any) -> Any:
        known.append(more["known"])
        return await opening(*asked, **more)

    house.maildrops.open = watched  # type: ignore[method-assign]
    for _ in range(2):
        client = await server.login()
        assert await client.ask(b"DELE 1") == b"+OK message 1 marked"
        await client.ask(b"RSET")
        await client.ask(b"QUIT")
    client = await server.login()
    await client.ask(b"DELE 1")
    await client.ask(b"QUIT")
    client = await server.login()
    assert (await client.ask(b"STAT")).startswith(b"+OK 2 ")
    first, second, third, fourth = known
    assert first is None
    assert second is third is fourth is not None
    assert len(second) == 3


async def test_quit_without_deletions_succeeds_even_if_the_lease_cannot_be_given_back(
    house: MemoryMailStore, server: Server
) -> None:
    client = await server.login()
    house.maildrops.faults = {"release"}
    assert (await client.ask(b"QUIT")).startswith(b"+OK")


async def test_thunderbird_closes_without_waiting_for_quit_and_deletions_are_committed_all_the_same(
    house: MemoryMailStore, server: Server
) -> None:
    client = await server.login()
    house.maildrops.hold["commit"] = asyncio.Event()
    client.send(b"DELE 1\r\nDELE 3\r\nQUIT\r\n")
    await until(lambda: "commit" in house.maildrops.calls)
    client.abort()
    await asyncio.sleep(0.05)
    assert len(server.limiter) == 1, "the session counts until its commit has ended"
    house.maildrops.hold["commit"].set()
    await until(lambda: len(server.limiter) == 0)
    assert list(house.maildrops.accounts[1].locations) == [2]
    assert "release" not in house.maildrops.calls


async def test_wilduck_a_client_that_goes_during_its_login_leaves_no_lease(
    house: MemoryMailStore, server: Server
) -> None:
    house.maildrops.hold["open"] = asyncio.Event()
    client = await server.client()
    client.send(login_lines())
    await until(lambda: "open" in house.maildrops.calls)
    client.abort()
    await asyncio.sleep(0.02)
    house.maildrops.hold["open"].set()
    await until(lambda: len(server.limiter) == 0)
    assert house.maildrops.accounts[1].lease is None


# --- leases
# ----------------------------------------------------------------------------------------------------------


async def test_all_leases_are_renewed_in_one_call(house: MemoryMailStore, server: Server) -> None:
    for number in range(5):
        await house.account(f"user{number}@example.test")
    clients = [await server.login(f"user{number}@example.test") for number in range(5)]
    house.maildrops.now = 20.0
    await server.service.renew()
    assert house.maildrops.calls.count("renew") == 1
    assert all(house.maildrops.accounts[number].lease[1] == 45.0 for number in range(2, 7))  # type: ignore[index]
    for client in clients:
        await client.ask(b"QUIT")
    await server.service.renew()
    assert house.maildrops.calls.count("renew") == 1, "nothing is asked when no session is open"


async def test_dovecot_a_dead_session_does_not_lock_for_ever(
    house: MemoryMailStore, server: Server
) -> None:
    async with pop3_server(house) as dead_pod:
        held = await dead_pod.login()
        assert (await tried(await server.client())).startswith(b"-ERR [IN-USE]")
        house.maildrops.now = 26.0  # nobody renewed
        assert (await tried(await server.client())).startswith(b"+OK")
        held.abort()


async def test_a_session_whose_lease_is_lost_is_told_so_and_deletes_nothing(
    house: MemoryMailStore, server: Server
) -> None:
    first = await server.login()
    await first.ask(b"DELE 1")
    house.maildrops.now = 30.0
    second = await server.login()
    await server.service.renew()
    assert (await first.ask(b"QUIT")).startswith(b"-ERR [SYS/TEMP] ")
    assert await first.rest() == b""
    assert left(house) == 3
    assert await second.fetch(b"RETR 1") == THREE[0]
    assert (await second.ask(b"QUIT")).startswith(b"+OK")


async def test_the_session_of_a_suspended_account_ends_deletes_nothing_and_gives_the_lease_back(
    house: MemoryMailStore, server: Server
) -> None:
    await house.account("other@example.test")
    first, other = await server.login(), await server.login("other@example.test")
    await first.ask(b"DELE 1")
    account = house.maildrops.accounts[1]
    account.login = replace(account.login, active=False)
    await server.service.watch()
    assert house.maildrops.calls.count("ended") == 1, "one question for all sessions"
    assert (await first.ask(b"QUIT")).startswith(b"-ERR [SYS/PERM] this account is suspended")
    assert await first.rest() == b""
    assert left(house) == 3
    assert (await other.ask(b"STAT")).startswith(b"+OK")
    account.login = replace(account.login, active=True)
    assert (await tried(await server.client())).startswith(b"+OK"), (
        "active again, it logs in at once"
    )


async def test_states_that_cannot_be_read_end_no_session(
    house: MemoryMailStore, server: Server
) -> None:
    client = await server.login()
    house.maildrops.faults = {"ended"}
    await server.service.watch()
    assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")
    await client.ask(b"QUIT")
    asked = house.maildrops.calls.count("ended")
    await server.service.watch()
    assert house.maildrops.calls.count("ended") == asked, "nothing is asked when no session is open"


async def test_a_lease_lost_unnoticed_is_found_at_the_commit(
    house: MemoryMailStore, server: Server
) -> None:
    first = await server.login()
    await first.ask(b"DELE 1")
    house.maildrops.now = 30.0
    second = await server.login()
    assert (await first.ask(b"QUIT")).startswith(b"-ERR [SYS/TEMP] ")
    assert left(house) == 3
    assert house.maildrops.accounts[1].lease is not None, "the second session's lease stays"
    assert (await second.ask(b"STAT")).startswith(b"+OK 3 ")


async def test_a_renewal_that_fails_takes_nothing_from_anybody(
    house: MemoryMailStore, server: Server
) -> None:
    client = await server.login()
    house.maildrops.faults = {"renew"}
    await server.service.renew()
    assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")


# --- bodies fail or move
# ---------------------------------------------------------------------------------------------


async def test_a_body_that_cannot_be_read_is_temporary_and_the_session_goes_on(
    house: MemoryMailStore, server: Server
) -> None:
    await house.deliver(1, [LARGE])
    client = await server.login()
    house.blobs.fault = Unavailable("blobs", "down: secret detail")
    for command in (b"RETR 1", b"TOP 1 0", b"RETR 4", b"TOP 4 1"):
        reply = await client.ask(command)
        assert reply.startswith(b"-ERR [SYS/TEMP] "), command
        assert b"secret" not in reply
    house.blobs.fault = None
    assert await client.fetch(b"RETR 1") == THREE[0]
    assert await client.fetch(b"RETR 4") == LARGE


async def test_a_read_that_fails_in_the_middle_cuts_the_connection_and_never_ends_the_message(
    house: MemoryMailStore, server: Server
) -> None:
    await house.deliver(1, [LARGE])
    client = await server.login()
    await client.ask(b"DELE 1")
    house.blobs.stream_fault_after = 500_000
    client.send(b"RETR 4\r\nQUIT\r\n")
    answer = await client.rest()
    assert not answer.endswith(b"\r\n.\r\n")
    assert len(answer) < len(LARGE)
    assert b"-ERR" not in answer
    await until(lambda: len(server.limiter) == 0)
    assert left(house) == 4


@pytest.mark.parametrize("large", [False, True])
async def test_a_message_that_the_collector_has_moved_is_located_afresh(
    house: MemoryMailStore, server: Server, large: bool
) -> None:
    await house.deliver(1, [LARGE])
    client = await server.login()
    await client.fetch(b"RETR 1")
    house.maildrops.calls.clear()
    server.bodies._cache.clear()
    house.move(1)
    number, expected = (4, LARGE) if large else (2, THREE[1])
    assert await client.fetch(b"RETR %d" % number) == expected
    assert house.maildrops.calls == ["locate"]


async def test_a_blob_that_is_gone_for_good_is_temporary_after_one_more_try(
    house: MemoryMailStore, server: Server
) -> None:
    client = await server.login()
    house.blobs.objects.clear()
    assert (await client.ask(b"RETR 1")).startswith(b"-ERR [SYS/TEMP] ")
    assert house.maildrops.calls.count("locate") == 2


async def test_reading_on_locates_in_batches_and_reads_segments_ahead(
    house: MemoryMailStore, server: Server
) -> None:
    many = [b"Subject: %d\r\n\r\nx\r\n" % n for n in range(1, 501)]
    await house.deliver(await house.account("many@example.test"), many)
    client = await server.login("many@example.test")
    house.maildrops.calls.clear()
    house.blobs.reads.clear()
    for number, each in enumerate(many, 1):
        assert await client.fetch(b"RETR %d" % number) == each
    assert house.maildrops.calls.count("locate") <= 6
    assert len(house.blobs.reads) <= 25, "ten segments, read a window at a time"


async def test_reading_ahead_is_bounded_in_octets(house: MemoryMailStore, server: Server) -> None:
    bodies = [b"%d\r\n" % n + b"z" * 200_000 + b"\r\n" for n in range(30)]
    await house.deliver(await house.account("big@example.test"), bodies)
    client = await server.login("big@example.test")
    house.blobs.reads.clear()
    for number, each in enumerate(bodies, 1):
        assert await client.fetch(b"RETR %d" % number) == each
        ahead = sum(length for _, _, length in house.blobs.reads) - sum(map(len, bodies[:number]))
        assert ahead < 2 * 1024 * 1024
    assert len(house.blobs.reads) < 30


async def test_dovecot_half_dead_clients_are_found_by_the_kernel(server: Server) -> None:
    await server.client()
    (connection,) = server.limiter._sessions
    peer = connection.stream.get_extra_info("socket")  # type: ignore[attr-defined]
    assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


# --- clients that take too long, send too much, read too little
# ------------------------------------------------------


async def test_no_login_in_time_ends_the_connection_whatever_is_sent(
    house: MemoryMailStore,
) -> None:
    async with pop3_server(house, pop3_login_seconds=0.3) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        client = await server.client()
        # a command that crosses the end is answered by a reset
        with suppress(ConnectionResetError):
            async with asyncio.timeout(BUSY_SECONDS):
                while await client.ask(b"CAPA"):
                    await client.body()
                    await asyncio.sleep(0.02)
        assert loop.time() - began > 0.2


def test_thunderbird_may_think_for_ten_minutes() -> None:
    assert Pop3Settings.model_fields["pop3_idle_seconds"].default >= 600


@repeated_when_late(1.0)
async def test_an_idle_session_is_closed_without_a_word_and_without_deletions(
    house: MemoryMailStore,
) -> None:
    async with pop3_server(house, pop3_idle_seconds=5.0) as server:
        client = await server.login()
        await client.ask(b"DELE 1")
        for _ in range(6):
            await asyncio.sleep(1.0)
            assert (await client.ask(b"NOOP")).startswith(b"+OK")
        assert await client.rest() == b""
        await until(lambda: len(server.limiter) == 0)
        assert left(house) == 3
        assert house.maildrops.accounts[1].lease is None


async def test_a_client_that_reads_nothing_is_cut(house: MemoryMailStore) -> None:
    await house.deliver(1, [LARGE] * 10)
    async with pop3_server(house, pop3_write_seconds=0.3) as server:
        client = await server.login()
        client.stop_reading()
        client.send(b"".join(b"RETR %d\r\n" % n for n in range(4, 14)))
        await until(lambda: len(server.limiter) == 0)


async def test_a_client_that_pipelines_without_reading_fills_no_memory(
    house: MemoryMailStore,
) -> None:
    await house.deliver(1, [b"x" * 200_000 + b"\r\n"])
    async with pop3_server(house) as server:
        client = await server.login()
        client.stop_reading()
        for _ in range(200):
            client.send(b"RETR 4\r\n" * 100)
        (connection,) = server.limiter._sessions
        await until(lambda: connection.is_blocked and not connection.is_reading)  # type: ignore[attr-defined]
        assert connection.stream.get_write_buffer_size() < 1_000_000  # type: ignore[attr-defined]
        assert connection._machine.buffered < 16_384  # type: ignore[attr-defined]
        client.abort()


async def test_back_pressure_loses_no_command(house: MemoryMailStore) -> None:
    body = b"y" * 50_000 + b"\r\n"
    await house.deliver(1, [body])
    async with pop3_server(house) as server:
        client = await server.login()
        client.send(b"RETR 4\r\nSTAT\r\n" * 2000)
        await asyncio.sleep(0.2)
        for _ in range(2000):
            assert await client.line() == b"+OK %d octets" % len(body)
            assert len(await client.body()) == len(body) + 3
            assert (await client.line()).startswith(b"+OK 4 ")


async def test_bad_commands_end_the_connection_in_the_end(server: Server) -> None:
    client = await server.client()
    client.send(b"GET / HTTP/1.1\r\n" * 50)
    assert (await client.rest()).count(b"-ERR") == 11
    client = await server.login()
    for _ in range(50):
        assert (await client.ask(b"XYZZY")).startswith(b"-ERR")
    assert (await client.ask(b"STAT")).startswith(b"+OK")


async def test_a_maildrop_of_100000_messages_lists_quickly(
    house: MemoryMailStore, server: Server
) -> None:
    account = await house.account("huge@example.test")
    await house.deliver(account, (b"Subject: %d\r\n\r\n" % n for n in range(100_000)))
    client = await server.login("huge@example.test")
    began = time.process_time()
    client.send(b"LIST\r\nUIDL\r\nSTAT\r\n")
    assert (await client.line()).startswith(b"+OK 100000 ")
    assert (await client.body()).count(b"\r\n") == 100_001
    assert (await client.line()).startswith(b"+OK")
    assert (await client.body()).count(b"\r\n") == 100_001
    assert (await client.line()).startswith(b"+OK 100000 ")
    # tenths of a second; what grew with the square of the number took minutes
    assert time.process_time() - began < 20
    assert await client.fetch(b"RETR 100000") == b"Subject: 99999\r\n\r\n"


async def test_a_long_listing_to_a_client_that_does_not_read_waits(house: MemoryMailStore) -> None:
    account = await house.account("huge@example.test")
    await house.deliver(account, (b"%d\r\n" % n for n in range(20_000)))
    async with pop3_server(house) as server:
        client = await server.login("huge@example.test")
        client.stop_reading()
        client.send(b"UIDL\r\n" * 300)
        (connection,) = server.limiter._sessions
        await until(lambda: connection.is_blocked)  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        assert connection.stream.get_write_buffer_size() < 1_000_000  # type: ignore[attr-defined]
        client.abort()


@pytest.mark.parametrize("goes", [True, False])
async def test_what_is_marked_behind_messages_that_were_not_taken_waits_for_them(
    house: MemoryMailStore, goes: bool
) -> None:
    """A client may pipeline RETR, DELE and QUIT: what it never got must not be deleted."""
    await house.deliver(1, [b"x" * 20_000 + b"\r\n"])
    async with pop3_server(house) as server:
        client = await server.login()
        client.stop_reading()
        (connection,) = server.limiter._sessions
        assert isinstance(connection, Pop3Protocol)

        def is_stuck() -> bool:
            if not connection.stream.get_write_buffer_size():
                client.send(b"RETR 4\r\n")
            return bool(connection.stream.get_write_buffer_size())

        await until(is_stuck)
        client.send(b"DELE 1\r\nQUIT\r\n")
        await until(lambda: connection._work is not None)
        if goes:
            client.abort()
        else:
            client.resume_reading()
            assert (await client.rest()).endswith(b"+OK bye, 1 messages deleted\r\n")
        await until(lambda: len(server.limiter) == 0)
        again = await server.login()
        assert (await again.ask(b"STAT")).startswith(b"+OK 4 " if goes else b"+OK 3 ")
        await again.quit()


# --- limits and drain
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["pop3_sessions", "pop3_sessions_per_address"])
async def test_too_many_connections_are_told_so(house: MemoryMailStore, limit: str) -> None:
    changes: dict[str, Any] = {limit: 2}
    async with pop3_server(house, **changes) as server:
        first, _ = await server.client(), await server.client()
        third = await Client.connect(server.port)
        assert (await third.rest()).startswith(b"-ERR [SYS/TEMP] too many connections\r\n")
        await first.ask(b"QUIT")
        await until(lambda: len(server.limiter) == 1)
        await server.client()


async def test_stalwart_drain_speaks_pop3_to_idle_sessions_and_deletes_nothing(
    house: MemoryMailStore,
) -> None:
    async with pop3_server(house) as server:
        client, stranger = await server.login(), await server.client()
        await client.ask(b"DELE 1")
    assert await client.rest() == b"-ERR [SYS/TEMP] server going down, connect again\r\n"
    assert await stranger.rest() == b"-ERR [SYS/TEMP] server going down, connect again\r\n"
    assert left(house) == 3
    assert house.maildrops.accounts[1].lease is None
    assert len(server.limiter) == 0


async def test_drain_lets_the_message_under_way_end(house: MemoryMailStore) -> None:
    await house.deliver(1, [LARGE])
    async with pop3_server(house) as server:
        client = await server.login()
        house.blobs.hold = asyncio.Event()
        client.send(b"RETR 4\r\nRETR 1\r\n")
        await until(lambda: house.blobs.reads)
        draining = asyncio.create_task(server.limiter.drain(LONG_SECONDS))
        await asyncio.sleep(0.02)
        house.blobs.hold.set()
        answer = await client.rest()
        await draining
    assert answer.startswith(b"+OK %d octets\r\n" % len(LARGE))
    assert answer.endswith(b"\r\n.\r\n-ERR [SYS/TEMP] server going down, connect again\r\n")


async def test_drain_lets_a_quit_under_way_commit(house: MemoryMailStore) -> None:
    async with pop3_server(house) as server:
        client = await server.login()
        house.maildrops.hold["commit"] = asyncio.Event()
        client.send(b"DELE 2\r\nQUIT\r\n")
        await until(lambda: "commit" in house.maildrops.calls)
        draining = asyncio.create_task(server.limiter.drain(LONG_SECONDS))
        await asyncio.sleep(0.02)
        house.maildrops.hold["commit"].set()
        answer = await client.rest()
        await draining
    assert answer.endswith(b"+OK bye, 1 messages deleted\r\n")
    assert left(house) == 2


async def test_the_end_of_grace_cuts_what_is_left_and_deletes_nothing(
    house: MemoryMailStore,
) -> None:
    await house.deliver(1, [LARGE])
    async with pop3_server(house, grace_seconds=0.2) as server:
        client = await server.login()
        await client.ask(b"DELE 1")
        house.blobs.hold = asyncio.Event()
        client.send(b"RETR 4\r\n")
        await until(lambda: house.blobs.reads)
        asyncio.get_running_loop().call_later(2, house.blobs.hold.set)
    assert await client.rest() == b""
    assert left(house) == 4
    assert len(server.limiter) == 0


# --- what is counted
# -------------------------------------------------------------------------------------------------


async def test_metrics_count_sessions_logins_commands_messages_and_deletions(
    house: MemoryMailStore, server: Server
) -> None:
    def values() -> list[float]:
        return [
            counted("posthorn_pop3_logins_total", outcome="accepted"),
            counted("posthorn_pop3_logins_total", outcome="wrong"),
            counted("posthorn_pop3_commands_total", command="retr"),
            counted("posthorn_pop3_messages_total"),
            counted("posthorn_pop3_deleted_total"),
            counted("posthorn_pop3_sessions"),
            counted("posthorn_segments_cache_misses_total"),
            counted("posthorn_segments_cache_hits_total"),
        ]

    before = values()
    sent = counted("posthorn_pop3_sent_bytes_total")
    client = await server.client()
    await client.ask(b"USER " + ADDRESS.encode())
    await client.ask(b"PASS wrong")
    await tried(client)
    for number in (1, 2, 3):
        await client.fetch(b"RETR %d" % number)
    await client.ask(b"RETR 9")
    await client.ask(b"DELE 1")
    assert counted("posthorn_pop3_sessions") == before[5] + 1
    await client.ask(b"QUIT")
    await until(lambda: len(server.limiter) == 0)
    assert [after - earlier for after, earlier in zip(values(), before, strict=True)] == [
        1,
        1,
        4,
        3,
        1,
        0,
        1,
        2,
    ]
    assert counted("posthorn_pop3_sent_bytes_total") > sent + sum(map(len, THREE))


async def test_the_log_has_a_line_for_the_session_and_never_a_password(
    house: MemoryMailStore, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await server.client()
    client.send(f"USER {ADDRESS}\r\nPASS hunter2-wrong\r\n".encode())
    await client.line()
    await client.line()
    await tried(client)
    await client.fetch(b"RETR 2")
    await client.ask(b"DELE 2")
    await client.ask(b"QUIT")
    await until(lambda: len(server.limiter) == 0)
    logged = capsys.readouterr().out
    (line,) = [line for line in logged.splitlines() if "session ended" in line]
    assert ADDRESS in line
    assert "messages=1" in line
    assert f"octets={len(THREE[1])}" in line
    assert "deleted=1" in line
    assert PASSWORD not in logged
    assert "hunter2" not in logged


async def test_a_fault_in_this_program_cuts_the_connection_and_shows_nothing(
    house: MemoryMailStore, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await server.login()
    await client.ask(b"DELE 1")
    monkeypatch.setattr(house.maildrops, "locate", lambda *_: 1 // 0)
    assert await client.ask(b"RETR 2") == b""
    await until(lambda: len(server.limiter) == 0)
    assert left(house) == 3
    assert house.maildrops.accounts[1].lease is None
