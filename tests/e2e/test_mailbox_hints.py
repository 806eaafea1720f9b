"""Every service hints at the mailboxes that it changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats
from nats.aio.msg import Msg

from posthorn.adapters.nats.mailbox_hints import decode_hints
from posthorn.model.streams import MAILBOX_HINTS
from tests.support.maildrop import Maildrop
from tests.support.system import System


async def test_delivery_api_and_pop3_hint_at_what_they_changed(
    system: System, new_account: Callable[[], Maildrop]
) -> None:
    heard: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        for _, mailbox, modseq in decode_hints(message.data):
            heard.put_nowait((mailbox, modseq))

    async def next_hints(number: int) -> set[tuple[int, int]]:
        async with asyncio.timeout(30):
            return {await heard.get() for _ in range(number)}

    drop = await asyncio.to_thread(new_account)
    connection = await nats.connect(system.nats_url())
    try:
        await connection.subscribe(MAILBOX_HINTS, cb=hear)
        await connection.flush()  # the library's first ping may overtake
        await connection.flush()
        await asyncio.to_thread(system.send, b"Subject: one\r\n\r\nbody\r\n", drop.address)
        assert await next_hints(1) == {(1, 2)}
        url = f"/v1/accounts/{drop.address}/messages"
        (message,) = (await asyncio.to_thread(system.api.get, url)).json()["items"]
        for mailbox, hints in (("Archive", {(1, 3), (6, 2)}), ("INBOX", {(6, 3), (1, 4)})):
            answer = await asyncio.to_thread(
                system.api.post, f"{url}/{message['id']}/move", json={"mailbox": mailbox}
            )
            assert answer.status_code == 200
            assert await next_hints(2) == hints
        await asyncio.to_thread(drop.empty)
        assert await next_hints(1) == {(1, 5)}
    finally:
        await connection.close()
