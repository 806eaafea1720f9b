"""Stores that are away from a running IMAP process: NO [UNAVAILABLE], never an empty mailbox or body;
connections stay, go on afterwards, and IDLE tells what came meanwhile."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from posthorn_local.embedded import Nats
from tests.support.databases import logged_in
from tests.support.imap import SIMPLE, ImapClient, ImapEnv, imap_env
from tests.support.imap_process import imap_process
from tests.support.jetstream import restart
from tests.support.polling import until
from tests.support.s3 import S3Server
from tests.support.tcp_proxy import TcpProxy

UNAVAILABLE = b"NO [UNAVAILABLE] "
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 64 * 1024 + b"\r\n"


def through(url: str, proxy: TcpProxy) -> str:
    """Return a store's URL by way of the proxy."""
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


async def unavailable(client: ImapClient, *commands: str) -> None:
    """Ask what cannot be answered at this moment; nothing but that must be said."""
    for command in commands:
        assert [reply[: len(UNAVAILABLE)] for reply in await client.ask(command)] == [
            UNAVAILABLE
        ], command


async def goes_on(client: ImapClient, command: str, last: bytes) -> None:
    """Repeat a command until it is OK; the last untagged reply ends so."""

    async def works() -> bool:
        *replies, end = await client.ask(command)
        if end.startswith(UNAVAILABLE):
            return False
        assert end.startswith(b"OK "), end
        assert replies[-1].endswith(last), replies
        return True

    await until(works, 30, command, every=0.1)


async def idle(client: ImapClient) -> None:
    """Begin IDLE."""
    client.send(b"i IDLE\r\n")
    assert (await client.line()).startswith(b"+ ")


async def told(client: ImapClient, end: bytes) -> None:
    """Wait until a client in IDLE is told something that ends so."""
    while not (reply := await client.line()).endswith(end):
        assert reply, "the connection ended"


async def test_postgres_s3_and_nats_away_one_after_the_other(
    imap: ImapEnv, nats: Nats, s3: S3Server, s3_url: str, database_url: str, tmp_path: Path
) -> None:
    own_url = logged_in(database_url, "imap")
    with TcpProxy(urlsplit(own_url).port or 0) as postgres, TcpProxy(s3.port) as bodies:
        async with (
            imap_env(imap.database, tmp_path / "unused", blobs=s3_url) as store,
            imap_process(
                tmp_path / "log",
                nats.url_of("imap"),
                through(own_url, postgres),
                through(s3_url, bodies),
                imap_poll_seconds="0.5",
                imap_cache_bytes="1",
                imap_large_bytes="1",
            ) as process,
        ):
            await store.account()
            await store.place(SIMPLE, SIMPLE, LARGE)
            reader, waiting, late, storing = [await process.login("INBOX") for _ in range(4)]
            await idle(waiting)

            postgres.cut()
            await unavailable(
                reader,
                "FETCH 1:* (FLAGS)",
                "FETCH 1 BODY.PEEK[]",
                "UID SEARCH ALL",
                "STATUS INBOX (MESSAGES)",
                'LIST "" "*"',
            )
            replies = await reader.ask("SELECT INBOX")  # the one that was selected is closed
            assert len(replies) == 2
            assert replies[-1].startswith(UNAVAILABLE)
            assert (await late.ask("NOOP"))[-1].startswith(b"OK ")
            # nothing was sent, so nothing was done
            await unavailable(
                storing, r"STORE 1 +FLAGS (\Deleted)", "COPY 1 INBOX", "MOVE 1 Trash", "EXPUNGE"
            )
            storing.send(b"s APPEND INBOX {%d+}\r\n%s\r\n" % (len(SIMPLE), SIMPLE))
            assert (await storing.until(b"s"))[-1].startswith(UNAVAILABLE)
            await store.place(SIMPLE)
            postgres.heal()
            await goes_on(reader, "STATUS INBOX (MESSAGES)", b"(MESSAGES 4)")
            assert b"* 4 EXISTS" in await reader.ask("SELECT INBOX")
            await told(waiting, b"* 4 EXISTS")
            assert b"* 4 EXISTS" in await late.ask("NOOP")

            bodies.cut()
            await unavailable(reader, "FETCH 1 BODY.PEEK[]", "FETCH 3 BODY.PEEK[]")
            assert (await reader.ask("FETCH 1:4 (FLAGS)"))[-1].startswith(b"OK ")
            reader.send(b"a APPEND INBOX {%d+}\r\n%s\r\n" % (len(SIMPLE), SIMPLE))
            assert (await reader.until(b"a"))[-1].startswith(UNAVAILABLE)
            bodies.heal()
            await goes_on(reader, "FETCH 1 BODY.PEEK[]", b"{%d}\r\n%s)" % (len(SIMPLE), SIMPLE))
            await goes_on(reader, "FETCH 3 BODY.PEEK[]", b"{%d}\r\n%s)" % (len(LARGE), LARGE))
            reader.send(b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(SIMPLE), SIMPLE))
            assert b"OK [APPENDUID " in (await reader.until(b"b"))[-1]
            await told(waiting, b"* 5 EXISTS")

            nats.stop(kill=True)
            assert (await reader.ask(r"STORE 1 +FLAGS (\Flagged)"))[-1].startswith(b"OK ")
            await told(waiting, b"FLAGS (\\Flagged))")
            await store.place(SIMPLE)
            await told(waiting, b"* 6 EXISTS")
            restart(nats)
            await store.place(SIMPLE)
            await told(waiting, b"* 7 EXISTS")
            waiting.send(b"DONE\r\n")
            assert (await waiting.until(b"i"))[-1].startswith(b"OK ")
            for client in (reader, waiting, late, storing):
                assert (await client.ask("UID SEARCH ALL"))[-1].startswith(b"OK ")
