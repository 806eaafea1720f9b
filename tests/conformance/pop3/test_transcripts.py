"""POP3 dialogues on real sockets, over the in-memory twins and over PostgreSQL with a directory of
blobs.

Tests are named after the client or server that taught the behaviour.
"""

from __future__ import annotations

import asyncio
import itertools
import poplib
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from posthorn_local.embedded import Postgres
from tests.conformance.mail_stores import postgres_mail_store
from tests.conformance.pop3.dialogue import ADDRESS, Server, pop3_server
from tests.conformance.twins import PASSWORD, MailStore, MemoryMailStore
from tests.support.polling import BUSY_SECONDS, until

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["memory", "real"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """URL of a database for the real parts, None for the twins."""
    if request.param == "memory":
        yield None
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    template = request.getfixturevalue("migrated")
    name = f"pop3_{next(_numbers)}"

    async def execute(statement: str) -> None:
        admin = await asyncpg.connect(postgres.url_of("postgres"))
        await admin.execute(statement)
        await admin.close()

    with ThreadPoolExecutor(1) as aside:  # the test's own loop stays untouched
        aside.submit(asyncio.run, execute(f"CREATE DATABASE {name} TEMPLATE {template}")).result()
        yield postgres.url_of(name)
        aside.submit(asyncio.run, execute(f"DROP DATABASE {name} WITH (FORCE)")).result()


@pytest.fixture
async def house(
    database: str | None, password_hash: str, tmp_path: Path
) -> AsyncIterator[MailStore]:
    if database is None:
        yield MemoryMailStore(password_hash)
        return
    async with postgres_mail_store(database, tmp_path / "blobs", password_hash) as made:
        yield made


@pytest.fixture
async def alice(house: MailStore) -> int:
    return await house.account(ADDRESS)


@pytest.fixture
async def server(house: MailStore) -> AsyncIterator[Server]:
    async with pop3_server(house) as made:
        yield made


def message(number: int, lines: int = 3) -> bytes:
    body = b"".join(b"line %d of message %d\r\n" % (line, number) for line in range(1, lines + 1))
    return b"From: bob@example.test\r\nSubject: %d\r\n\r\n%b" % (number, body)


THREE = [message(1), message(2, 20), message(3)]

AWKWARD = {
    "8-bit": b"Subject: x\r\n\r\ngr\xfc\xdfe \xff\xfe\r\n",
    "lone dots": b"Subject: x\r\n\r\n.\r\n..\r\n...\r\n.a\r\n \r\n.\r\n",
    "starts with a dot": b".dot\r\n\r\nx\r\n",
    "long lines": b"Subject: x\r\n\r\n" + b"y" * 5000 + b"\r\n." + b"z" * 5000 + b"\r\n",
    "nuls": b"Subject: x\r\n\r\na\0b\0\0\r\n",
    "empty body": b"Subject: x\r\n\r\n",
    "no body": b"Subject: x\r\n",
    "no header": b"\r\nbody\r\n",
    "large": b"Subject: x\r\n\r\n" + b"".join(b".%070d\r\n" % n for n in range(8_000)),
}


# --- a session
# -------------------------------------------------------------------------------------------------------


async def test_a_whole_session(house: MailStore, alice: int, server: Server) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    sizes = [len(each) for each in THREE]
    assert await client.ask(b"STAT") == b"+OK 3 %d" % sum(sizes)
    assert await client.lines(b"LIST") == [b"%d %d" % (n, size) for n, size in enumerate(sizes, 1)]
    assert await client.ask(b"LIST 2") == b"+OK 2 %d" % sizes[1]
    ids = [line.split()[1] for line in await client.lines(b"UIDL")]
    assert await client.ask(b"UIDL 3") == b"+OK 3 " + ids[2]
    for number, each in enumerate(THREE, 1):
        assert await client.fetch(b"RETR %d" % number) == each
    assert (await client.ask(b"NOOP")).startswith(b"+OK")
    assert (await client.ask(b"DELE 2")).startswith(b"+OK")
    await client.quit()
    assert await house.uidls(alice) == [ids[0].decode(), ids[2].decode()]


async def test_an_empty_maildrop(alice: int, server: Server) -> None:
    client = await server.login()
    assert await client.ask(b"STAT") == b"+OK 0 0"
    assert await client.lines(b"LIST") == []
    assert await client.lines(b"UIDL") == []
    assert (await client.ask(b"RETR 1")).startswith(b"-ERR")


@pytest.mark.parametrize("encoding", ["identity", "zstd"])
async def test_awkward_mail_comes_back_octet_by_octet_with_its_exact_size(
    house: MailStore, alice: int, server: Server, encoding: str
) -> None:
    await house.deliver(alice, AWKWARD.values(), encoding)
    client = await server.login()
    sizes = dict(line.split() for line in await client.lines(b"LIST"))
    for number, (name, each) in enumerate(AWKWARD.items(), 1):
        first = await client.ask(b"RETR %d" % number)
        assert first == b"+OK %d octets" % len(each), name
        octets = (b"\r\n" + await client.body())[:-3].replace(b"\r\n..", b"\r\n.")[2:]
        assert octets == each, name
        assert int(sizes[b"%d" % number]) == len(each), (
            "fetchmail warns when the size in LIST is not exact"
        )


async def test_a_20_megabyte_attachment(house: MailStore, alice: int, server: Server) -> None:
    large = b"Subject: big\r\n\r\n" + b"".join(b"%0.76d\r\n" % n for n in range(256_500))
    await house.deliver(alice, [message(1), large, message(3)])
    client = await server.login()
    assert await client.fetch(b"RETR 2") == large
    assert await client.fetch(b"RETR 3") == message(3)


async def test_messages_that_arrive_during_a_session_are_not_in_it(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    await house.deliver(alice, [message(4)])
    assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")
    assert (await client.ask(b"RETR 4")).startswith(b"-ERR")
    await client.ask(b"QUIT")
    assert (await (await server.login()).ask(b"STAT")).startswith(b"+OK 4 ")


# --- Thunderbird
# -----------------------------------------------------------------------------------------------------


async def test_thunderbird_banner_has_no_angle_bracket_address(server: Server) -> None:
    async with asyncio.timeout(BUSY_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        greeting = await reader.readline()
    writer.close()
    assert greeting.startswith(b"+OK ")
    assert b"<" not in greeting
    assert b"@" not in greeting


async def test_thunderbird_the_whole_of_its_dialogue(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.client()
    assert b"SASL PLAIN LOGIN" in await client.lines(b"CAPA")
    assert (await client.ask(b"AUTH XOAUTH2")).startswith(b"-ERR")  # tried even when absent
    assert await client.ask(b"AUTH PLAIN") == b"+ "
    assert (await client.ask(b64encode(f"\0{ADDRESS}\0{PASSWORD}".encode()))).startswith(b"+OK")
    assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")
    assert len(await client.lines(b"LIST")) == 3
    ids = await client.lines(b"UIDL")
    assert await client.fetch(b"TOP 1 0") == b"From: bob@example.test\r\nSubject: 1\r\n\r\n"
    assert await client.fetch(b"TOP 2 20") == THREE[1]
    assert await client.fetch(b"RETR 1") == THREE[0]
    assert (await client.ask(b"DELE 1")).startswith(b"+OK")
    assert (await client.ask(b"QUIT")).startswith(b"+OK")
    client = await server.login()
    assert [line.split()[1] for line in await client.lines(b"UIDL")] == [
        line.split()[1] for line in ids[1:]
    ]


async def test_thunderbird_uidl_is_stable_short_and_without_spaces(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    ids = [line.split(b" ", 1)[1] for line in await client.lines(b"UIDL")]
    assert len(set(ids)) == 3
    for each in ids:
        assert 1 <= len(each) <= 70
        assert all(0x21 <= octet <= 0x7E for octet in each)
    await client.ask(b"QUIT")
    client = await server.login()
    assert [line.split(b" ", 1)[1] for line in await client.lines(b"UIDL")] == ids


async def test_thunderbird_list_and_uidl_number_alike(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, [message(n) for n in range(1, 9)])
    client = await server.login()
    for number in (2, 5, 8):
        await client.ask(b"DELE %d" % number)
    listed = [line.split()[0] for line in await client.lines(b"LIST")]
    assert (
        listed
        == [line.split()[0] for line in await client.lines(b"UIDL")]
        == [b"1", b"3", b"4", b"6", b"7"]
    )


# --- Outlook
# ---------------------------------------------------------------------------------------------------------


async def test_outlook_never_sees_a_uidl_a_second_time(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    seen = {line.split()[1] for line in await client.lines(b"UIDL")}
    for number in (1, 2, 3):
        await client.ask(b"DELE %d" % number)
    await client.ask(b"QUIT")
    await house.deliver(alice, THREE)
    client = await server.login()
    again = {line.split()[1] for line in await client.lines(b"UIDL")}
    assert len(again) == 3
    assert not seen & again


async def test_outlook_no_nuls_replaces_them_when_it_is_set(house: MailStore, alice: int) -> None:
    small = b"Subject: x\r\n\r\na\0b\0\r\n"
    large = small + b"\0." * 200_000 + b"\r\n.\0\r\n"
    await house.deliver(alice, [small, large])
    async with pop3_server(house, pop3_outlook_no_nuls=True) as server:
        client = await server.login()
        for number, each in enumerate([small, large], 1):
            assert (await client.ask(b"LIST %d" % number)).endswith(b" %d" % len(each))
            assert await client.fetch(b"RETR %d" % number) == each.replace(b"\0", b"\x80")
            assert await client.fetch(b"TOP %d 1" % number) == b"Subject: x\r\n\r\na\x80b\x80\r\n"


async def test_outlook_nuls_come_as_they_are_by_default(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, [AWKWARD["nuls"]])
    assert await (await server.login()).fetch(b"RETR 1") == AWKWARD["nuls"]


async def test_outlook_express_top_has_its_blank_line_even_if_the_message_has_none(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, [AWKWARD["no body"], b"X: " + b"y" * 300_000 + b"\r\n"])
    client = await server.login()
    assert await client.fetch(b"TOP 1 0") == b"Subject: x\r\n\r\n"
    assert await client.fetch(b"TOP 2 3") == b"X: " + b"y" * 300_000 + b"\r\n\r\n"


# --- fetchmail, getmail, mpop, poplib
# --------------------------------------------------------------------------------


async def test_fetchmail_locked_maildrop_says_in_use_and_locked(alice: int, server: Server) -> None:
    first = await server.login()
    second = await server.client()
    await second.ask(b"USER " + ADDRESS.encode())
    reply = await second.ask(b"PASS " + PASSWORD.encode())
    assert reply.startswith(b"-ERR [IN-USE] ")
    assert b"locked" in reply
    assert (await first.ask(b"QUIT")).startswith(b"+OK")
    await second.ask(b"USER " + ADDRESS.encode())
    assert (await second.ask(b"PASS " + PASSWORD.encode())).startswith(b"+OK")


async def test_fetchmail_peeks_with_top_and_does_not_delete(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    await client.fetch(b"TOP 1 99999999")
    await client.quit()
    assert len(await house.uidls(alice)) == 3


async def test_mpop_pipelines_everything_at_once(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.client()
    client.send(
        f"USER {ADDRESS}\r\nPASS {PASSWORD}\r\nSTAT\r\nRETR 1\r\nRETR 3\r\nDELE 1\r\nSTAT\r\nRETR 1\r\nQUIT\r\nNOOP\r\n".encode()
    )
    answer = (await client.rest()).split(b"\r\n")
    firsts = [line for line in answer if line[:4] in (b"+OK ", b"-ERR")]
    assert len(firsts) == 9
    assert firsts[2].startswith(b"+OK 3 ")
    assert firsts[3] == b"+OK %d octets" % len(THREE[0])
    assert firsts[4] == b"+OK %d octets" % len(THREE[2])
    assert firsts[6].startswith(b"+OK 2 ")
    assert firsts[7].startswith(b"-ERR")
    assert len(await house.uidls(alice)) == 2


async def test_pipelined_retr_of_many_messages_in_order(
    house: MailStore, alice: int, server: Server
) -> None:
    many = [message(n, n % 7) for n in range(1, 301)]
    await house.deliver(alice, many)
    client = await server.login()
    client.send(b"".join(b"RETR %d\r\n" % n for n in range(1, 301)))
    for each in many:
        assert await client.line() == b"+OK %d octets" % len(each)
        assert (await client.body())[:-3] == each


async def test_a_header_in_utf8_is_sent_as_it_is_also_without_utf8(
    house: MailStore, alice: int, server: Server
) -> None:
    """RFC 6856 §5 has it refused or downgraded; a client that gets -ERR for a message stops at it
    each time, and mail with such headers comes from senders that know nothing of SMTPUTF8."""
    content = "From: Jörg <jörg@bücher.example>\r\nSubject: Grüße\r\n\r\nHallo\r\n".encode()
    await house.deliver(alice, [content])
    client = await server.login()
    client.send(b"RETR 1\r\n")
    assert await client.line() == b"+OK %d octets" % len(content)
    assert (await client.body())[:-3] == content


async def test_getmail_and_poplib_read_all_of_it(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, [*THREE, AWKWARD["lone dots"]])

    def session() -> tuple[list[bytes], list[bytes], dict[str, list[str]]]:
        box = poplib.POP3("127.0.0.1", server.port, timeout=BUSY_SECONDS)
        capabilities = box.capa()
        box.utf8()
        box.user(ADDRESS)
        box.pass_(PASSWORD)
        capabilities |= {"EXPIRE": box.capa()["EXPIRE"]}
        count, octets = box.stat()
        assert octets == sum(int(row.split()[1]) for row in box.list()[1])
        bodies = [b"\r\n".join(box.retr(n)[1]) + b"\r\n" for n in range(1, count + 1)]
        ids = box.uidl()[1]
        assert b"\r\n".join(box.top(2, 1)[1]) == THREE[1][: THREE[1].index(b"line 2")].removesuffix(
            b"\r\n"
        )
        box.dele(4)
        box.rset()
        box.quit()
        return bodies, ids, capabilities

    bodies, ids, capabilities = await asyncio.to_thread(session)
    assert bodies == [*THREE, AWKWARD["lone dots"]]
    assert len(ids) == 4
    assert capabilities["SASL"] == ["PLAIN", "LOGIN"]
    assert capabilities["EXPIRE"] == ["NEVER"]
    await until(lambda: not len(server.limiter))
    assert len(await house.uidls(alice)) == 4


async def test_poplib_no_reply_line_is_longer_than_2048(
    house: MailStore, alice: int, server: Server
) -> None:
    client = await server.client()
    for command in (b"x" * 6000, b"USER " + b"y" * 6000, b"AUTH " + b"z" * 13_000, b"CAPA 1"):
        assert len(await client.ask(command)) < 500


async def test_nc_that_closes_its_side_after_sending_gets_all_answers(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.client()
    client.send(f"USER {ADDRESS}\r\nPASS {PASSWORD}\r\nRETR 2\r\nDELE 1\r\n".encode())
    client.half_close()
    assert THREE[1] in await client.rest()
    assert len(await house.uidls(alice)) == 3  # no QUIT, no deletions


# --- Stalwart, WildDuck, James, Dovecot: what theirs did
# -------------------------------------------------------------


async def test_stalwart_deleted_messages_are_left_out_and_cannot_be_had(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    await client.ask(b"DELE 2")
    assert await client.ask(b"STAT") == b"+OK 2 %d" % (len(THREE[0]) + len(THREE[2]))
    assert len(await client.lines(b"LIST")) == len(await client.lines(b"UIDL")) == 2
    for command in (b"RETR 2", b"TOP 2 0", b"LIST 2", b"UIDL 2", b"DELE 2"):
        assert (await client.ask(command)).startswith(b"-ERR"), command


async def test_stalwart_top_n_0_is_headers_only(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    assert await client.fetch(b"TOP 2 0") == b"From: bob@example.test\r\nSubject: 2\r\n\r\n"


async def test_stalwart_top_n_k_counts_lines_of_the_body(
    house: MailStore, alice: int, server: Server
) -> None:
    large = message(9, 20_000)
    await house.deliver(alice, [THREE[1], large])
    client = await server.login()
    for number, each in ((1, THREE[1]), (2, large)):
        top = await client.fetch(b"TOP %d 2" % number)
        assert top == each[: each.index(b"line 3 ")]


async def test_stalwart_errors_carry_the_response_codes_that_capa_promises(
    alice: int, server: Server
) -> None:
    client = await server.client()
    capabilities = await client.lines(b"CAPA")
    assert {b"RESP-CODES", b"AUTH-RESP-CODE"} <= set(capabilities)
    await client.ask(b"USER " + ADDRESS.encode())
    assert (await client.ask(b"PASS wrong")).startswith(b"-ERR [AUTH] ")
    await client.ask(b"USER nobody@example.test")
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"-ERR [AUTH] ")


async def test_stalwart_second_session_cannot_delete_under_the_first(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    first = await server.login()
    second = await server.client()
    second.send(f"USER {ADDRESS}\r\nPASS {PASSWORD}\r\nDELE 1\r\nQUIT\r\n".encode())
    assert (await second.rest()).count(b"-ERR") == 2
    assert await first.fetch(b"RETR 1") == THREE[0]


async def test_stalwart_quit_is_answered(alice: int, server: Server) -> None:
    client = await server.client()
    assert (await client.ask(b"QUIT")).startswith(b"+OK ")
    client = await server.login()
    assert (await client.ask(b"QUIT")).startswith(b"+OK ")


async def test_stalwart_uidl_keeps_uidvalidity_and_uid_apart(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    for number, line in enumerate(await client.lines(b"UIDL"), 1):
        assert re.fullmatch(rb"%d [0-9a-f]+[.-]%d" % (number, number), line), line


async def test_wilduck_top_of_a_large_message_ends_once_and_the_next_answer_follows(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, [message(1, 40_000), message(2)])
    client = await server.login()
    client.send(b"TOP 1 1\r\nTOP 1 39999\r\nRETR 2\r\nTOP 1 0\r\nSTAT\r\nQUIT\r\n")
    parts = (await client.rest()).split(b"\r\n.\r\n")
    assert len(parts) == 5
    assert parts[0].endswith(b"\r\n\r\nline 1 of message 1")
    assert parts[1].endswith(b"\r\nline 39999 of message 1")
    assert parts[2].endswith(message(2)[:-2])
    assert parts[4].startswith(b"+OK 2 ")


async def test_wilduck_dele_does_not_renumber(house: MailStore, alice: int, server: Server) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    await client.ask(b"DELE 1")
    assert [line.split()[0] for line in await client.lines(b"LIST")] == [b"2", b"3"]
    assert await client.fetch(b"RETR 2") == THREE[1]
    assert await client.fetch(b"RETR 3") == THREE[2]
    assert (await client.ask(b"DELE 3")).startswith(b"+OK")
    await client.ask(b"QUIT")
    client = await server.login()
    assert await client.fetch(b"RETR 1") == THREE[1]


async def test_wilduck_stat_follows_deletions_and_rset(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    before = await client.ask(b"STAT")
    await client.ask(b"DELE 3")
    assert await client.ask(b"STAT") == b"+OK 2 %d" % (len(THREE[0]) + len(THREE[1]))
    await client.ask(b"RSET")
    assert await client.ask(b"STAT") == before
    await client.quit()
    assert len(await house.uidls(alice)) == 3


async def test_wilduck_more_than_250_messages_are_all_there(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, [message(n, 1) for n in range(1, 1201)])
    client = await server.login()
    assert len(await client.lines(b"LIST")) == 1200
    assert len(await client.lines(b"UIDL")) == 1200
    assert await client.fetch(b"RETR 1200") == message(1200, 1)
    assert await client.fetch(b"RETR 1") == message(1, 1)
    for number in range(1, 1201):
        client.send(b"DELE %d\r\n" % number)
    client.send(b"QUIT\r\n")
    assert (await client.rest()).count(b"+OK") == 1201
    assert await house.uidls(alice) == []


@pytest.mark.parametrize(
    "command",
    [b"RETR 0", b"RETR 4", b"RETR -1", b"RETR 99999999999999999999999999", b"RETR x", b"DELE 4", b"LIST 0", b"UIDL 4",
     b"TOP 4 1", b"TOP 1", b"TOP 1 -1", b"RETR", b"LAST", b"APOP x y"],
)  # fmt: skip
async def test_dovecot_wrong_arguments_are_refused_and_the_session_goes_on(
    house: MailStore, alice: int, server: Server, command: bytes
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    assert (await client.ask(command)).startswith(b"-ERR ")
    assert (await client.ask(b"STAT")).startswith(b"+OK 3 ")


async def test_dovecot_leading_zeros_are_decimal(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    assert await (await server.login()).fetch(b"RETR 0002") == THREE[1]


# --- login
# -----------------------------------------------------------------------------------------------------------


async def test_curl_auth_plain_with_initial_response(alice: int, server: Server) -> None:
    client = await server.client()
    assert (
        await client.ask(b"AUTH PLAIN " + b64encode(f"\0{ADDRESS}\0{PASSWORD}".encode()))
    ).startswith(b"+OK")


async def test_outlook_auth_login(alice: int, server: Server) -> None:
    client = await server.client()
    assert await client.ask(b"AUTH LOGIN") == b"+ " + b64encode(b"Username:")
    assert await client.ask(b64encode(ADDRESS.encode())) == b"+ " + b64encode(b"Password:")
    assert (await client.ask(b64encode(PASSWORD.encode()))).startswith(b"+OK")


async def test_a_cancelled_exchange_can_be_followed_by_another(alice: int, server: Server) -> None:
    client = await server.client()
    assert await client.ask(b"AUTH PLAIN") == b"+ "
    assert (await client.ask(b"*")).startswith(b"-ERR")
    assert await client.lines(b"AUTH") == [b"PLAIN", b"LOGIN"]
    await client.ask(b"USER " + ADDRESS.encode())
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"+OK")


@pytest.mark.parametrize("authzid", [ADDRESS, "Alice@Example.TEST"])
async def test_an_authorization_identity_that_is_ones_own_is_taken(
    alice: int, server: Server, authzid: str
) -> None:
    client = await server.client()
    reply = await client.ask(
        b"AUTH PLAIN " + b64encode(f"{authzid}\0{ADDRESS}\0{PASSWORD}".encode())
    )
    assert reply.startswith(b"+OK")


async def test_nobody_logs_in_as_another(house: MailStore, alice: int, server: Server) -> None:
    await house.account("bob@example.test")
    client = await server.client()
    reply = await client.ask(
        b"AUTH PLAIN " + b64encode(f"bob@example.test\0{ADDRESS}\0{PASSWORD}".encode())
    )
    assert reply.startswith(b"-ERR [AUTH]")


async def test_names_are_canonical(alice: int, server: Server) -> None:
    client = await server.client()
    await client.ask(b"USER ALICE@Example.Test")
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"+OK")


async def test_names_that_are_not_ascii(house: MailStore, server: Server) -> None:
    await house.account("grüße@xn--exmple-cua.test")
    client = await server.client()
    assert b"UTF8 USER" in await client.lines(b"CAPA")
    assert (await client.ask(b"UTF8")).startswith(b"+OK")
    await client.ask("USER Grüße@exämple.test".encode())
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"+OK")


@pytest.mark.parametrize(
    "name", [b"alice", b"\xff\xfe@example.test", b"a@b@c", b"<alice@example.test>", b"' OR 1=1 --"]
)
async def test_names_that_are_no_address_are_wrong_and_no_fault(
    alice: int, server: Server, name: bytes
) -> None:
    client = await server.client()
    assert (await client.ask(b"USER " + name)).startswith(b"+OK")
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"-ERR [AUTH]")


async def test_wrong_passwords_are_counted_and_end_the_connection(
    alice: int, server: Server
) -> None:
    client = await server.client()
    for _ in range(3):
        await client.ask(b"USER " + ADDRESS.encode())
        assert (await client.ask(b"PASS wrong")).startswith(b"-ERR [AUTH]")
    assert await client.rest() == b""


async def test_a_wrong_password_is_answered_late(house: MailStore, alice: int) -> None:
    async with pop3_server(house, pop3_failure_delay_seconds=0.3) as server:
        client = await server.client()
        loop = asyncio.get_running_loop()
        began = loop.time()
        client.send(f"USER {ADDRESS}\r\nPASS wrong\r\nCAPA\r\n".encode())
        assert (await client.line()).startswith(b"+OK")
        assert (await client.line()).startswith(b"-ERR [AUTH]")
        assert loop.time() - began > 0.28
        assert (await client.line()).startswith(b"+OK cap")


async def test_a_suspended_account_is_told_so_with_the_right_password_only(
    house: MailStore, server: Server
) -> None:
    await house.account("sue@example.test", active=False)
    client = await server.client()
    await client.ask(b"USER sue@example.test")
    assert (await client.ask(b"PASS wrong")).startswith(b"-ERR [AUTH]")
    await client.ask(b"USER sue@example.test")
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"-ERR [SYS/PERM]")


async def test_a_dropped_connection_deletes_nothing_and_gives_the_maildrop_back(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    await client.ask(b"DELE 1")
    client.abort()
    async with asyncio.timeout(BUSY_SECONDS):
        while len(server.limiter):
            await asyncio.sleep(0.01)
    assert len(await house.uidls(alice)) == 3


async def test_james_a_message_deleted_by_others_is_an_error_and_the_session_goes_on(
    house: MailStore, alice: int, server: Server
) -> None:
    await house.deliver(alice, THREE)
    client = await server.login()
    await house.remove(alice, 2)
    assert (await client.ask(b"RETR 2")).startswith(b"-ERR")
    assert await client.fetch(b"RETR 3") == THREE[2]
    assert (await client.ask(b"DELE 2")).startswith(b"+OK")
    await client.quit()
    assert len(await house.uidls(alice)) == 2
