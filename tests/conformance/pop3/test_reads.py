"""What counts as read: a message that RETR has handed over whole, once in a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from posthorn.runtime.read_events import ReadEvents
from tests.conformance.pop3.dialogue import ADDRESS, Server, pop3_server
from tests.conformance.twins import TENANT, MemoryMailStore
from tests.support.polling import until

THREE = [b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n) for n in (1, 2, 3)]
LARGE = b"Subject: large\r\n\r\n" + b"".join(b".%070d\r\n" % n for n in range(40_000))


class Noted(ReadEvents):
    """ReadEvents whose notes are kept for a look."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.messages: list[UUID] = []
        self.details: list[dict[str, str]] = []

    def note(self, messages: object, detail: object) -> None:
        assert isinstance(messages, list) and isinstance(detail, dict)
        self.messages += messages
        self.details.append(detail)


@pytest.fixture
async def house(password_hash: str) -> MemoryMailStore:
    made = MemoryMailStore(password_hash)
    await made.deliver(await made.account(ADDRESS), THREE)
    return made


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
async def server(house: MemoryMailStore, noted: Noted) -> AsyncIterator[Server]:
    async with pop3_server(house, reads=noted) as made:
        yield made


def ids(house: MemoryMailStore) -> list[UUID]:
    return [
        location.message for _, location in sorted(house.maildrops.accounts[1].locations.items())
    ]


async def test_retr_counts_once_in_a_session_and_says_whose_it_is(
    house: MemoryMailStore, server: Server, noted: Noted
) -> None:
    client = await server.login()
    for command in (b"RETR 2", b"RETR 2", b"RETR 1", b"RETR 2"):
        await client.fetch(command)
    await client.quit()
    first, second, _ = ids(house)
    assert noted.messages == [second, first]
    assert noted.details[0] == {"account": ADDRESS, "tenant": str(TENANT)}
    client = await server.login()
    await client.fetch(b"RETR 1")
    await client.quit()
    assert noted.messages == [second, first, first]


async def test_looking_at_mail_is_not_reading_it(server: Server, noted: Noted) -> None:
    client = await server.login()
    for command in (b"TOP 1 0", b"TOP 2 1000", b"UIDL", b"LIST"):
        await client.fetch(command)
    for command in (b"RETR 4", b"DELE 3", b"RETR 3"):
        await client.ask(command)
    await client.quit()
    assert noted.messages == []


async def test_pipelined_to_the_end_all_count_though_the_client_says_no_more(
    house: MemoryMailStore, server: Server, noted: Noted
) -> None:
    await house.deliver(1, [b"Subject: %d\r\n\r\n%s\r\n" % (n, b"x" * 70) for n in range(1000)])
    client = await server.login()
    client.send(b"".join(b"RETR %d\r\n" % n for n in range(1, 1004)) + b"DELE 1\r\nQUIT\r\n")
    wanted = ids(house)
    assert (await client.rest()).endswith(b"+OK bye, 1 messages deleted\r\n")
    await until(lambda: len(noted.messages) == 1003)
    assert noted.messages == wanted


async def test_a_message_sent_in_pieces_counts_when_it_is_whole(
    house: MemoryMailStore, server: Server, noted: Noted
) -> None:
    await house.deliver(1, [LARGE])
    client = await server.login()
    assert await client.fetch(b"RETR 4") == LARGE
    await client.quit()
    assert noted.messages == ids(house)[3:]


async def test_a_message_that_breaks_off_does_not_count(
    house: MemoryMailStore, server: Server, noted: Noted
) -> None:
    await house.deliver(1, [LARGE])
    client = await server.login()
    house.blobs.stream_fault_after = 600_000
    client.send(b"RETR 4\r\n")
    await client.rest()
    await until(lambda: len(server.limiter) == 0)
    assert noted.messages == []


async def test_what_the_client_does_not_take_does_not_count(
    house: MemoryMailStore, noted: Noted
) -> None:
    await house.deliver(1, [LARGE[:100_000]] * 200)
    async with pop3_server(house, reads=noted, pop3_write_seconds=0.2) as server:
        client = await server.login()
        client.stop_reading()
        client.send(b"".join(b"RETR %d\r\n" % n for n in range(4, 204)))
        await until(lambda: len(server.limiter) == 0)
        client.resume_reading()
        arrived = (await client.rest()).count(b"\r\n.\r\n")
        # of the last one that counts, less than is held to be taken may be left in the process
        assert 0 < len(noted.messages) <= arrived + 1 < 200


async def test_slow_is_not_lost(house: MemoryMailStore, server: Server, noted: Noted) -> None:
    await house.deliver(1, [LARGE[:400_000]] * 20)
    client = await server.login()
    client.stop_reading()
    client.send(b"".join(b"RETR %d\r\n" % n for n in range(4, 24)) + b"QUIT\r\n")
    await until(lambda: noted.messages)
    client.resume_reading()
    await client.rest()
    await until(lambda: len(server.limiter) == 0)
    assert noted.messages == ids(house)[3:]
