"""The IMAP process: it serves without NATS, hears of changes that other processes make, and ends
within its grace period. It logs in to Postgres and NATS with the rights of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.mailbox_hints import NatsMailboxHints
from posthorn_local.embedded import Nats
from tests.support.databases import logged_in
from tests.support.imap import ALICE, PASSWORD, SIMPLE, ImapClient, ImapEnv
from tests.support.imap_process import imap_process
from tests.support.issuer import AUDIENCE, running_issuer
from tests.support.jetstream import nats_settings, restart
from tests.support.mail_tokens import oauthbearer, token_of
from tests.support.polling import until


async def test_the_process_serves_without_nats_and_hears_of_changes_once_it_is_there(
    imap: ImapEnv, nats: Nats, database_url: str, tmp_path: Path
) -> None:
    account = await imap.account()
    nats.stop(kill=True)
    async with (
        running_issuer() as issuer,
        imap_process(
            tmp_path / "log",
            nats.url_of("imap"),
            logged_in(database_url, "imap"),
            (tmp_path / "bodies").as_uri(),
            oidc_issuer=issuer.url,
            oidc_audience=AUDIENCE,
        ) as process,
    ):
        client = await ImapClient.connect(process.port)
        assert (await client.line()).startswith(b"* OK ")
        token = oauthbearer(token_of(issuer, ALICE))
        assert (await client.ask(f"AUTHENTICATE OAUTHBEARER {token}"))[-1].startswith(b"OK ")
        await client.ask("LOGOUT")
        client = await ImapClient.connect(process.port)
        assert (await client.line()).startswith(b"* OK ")
        assert (await client.ask(f'LOGIN {ALICE} "{PASSWORD}"'))[-1].startswith(b"OK ")
        for command in (
            "CREATE Work/Old",
            "RENAME Work Done",
            "SUBSCRIBE Done",
            'LIST "" "*" RETURN (SUBSCRIBED STATUS (MESSAGES SIZE))',
            "GETQUOTAROOT INBOX",
            "DELETE Done/Old",
            "SELECT INBOX",
            "CLOSE",
            "SELECT INBOX",
        ):
            assert (await client.ask(command))[-1].startswith(b"OK "), command
        client.send(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+ ")
        restart(nats)
        async with connect(nats_settings(nats), "test") as connection:
            hints = NatsMailboxHints(connection)

            async def told() -> bool:
                """Place a message as another pod does, and look whether the client is told."""
                placed = await imap.place(SIMPLE)
                await hints.send([(account, placed.mailbox, placed.modseq)])
                try:
                    async with asyncio.timeout(1):
                        return (await client.line()).endswith(b" EXISTS")
                except TimeoutError:
                    return False

            await until(told, 30, "news in IDLE")
        metrics = await process.metrics()
        assert "posthorn_imap_connections 1.0" in metrics
        assert 'posthorn_imap_logins_total{outcome="accepted"} 2.0' in metrics
        leaving = asyncio.create_task(client.rest())
    assert (await leaving).endswith(b"* BYE [UNAVAILABLE] server going down, connect again\r\n")
    assert "connection ended" in (tmp_path / "log").read_text()
