"""INGEST without room, as the relay meets it: notices wait, and go within seconds of there being room."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from posthorn.model.streams import INGEST
from posthorn_local.embedded import Nats
from posthorn_relay import notifier
from posthorn_relay.transport import Failed
from tests.support.jetstream import until
from tests.support.post_office import SENDER, PostOffice, post_office


async def test_a_notice_that_met_a_full_stream_goes_within_seconds_of_there_being_room(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with post_office(nats, database_url, tmp_path / "blobs") as office:
        limit = await _limit(office, 1)
        office.ways.failure = Failed("dns", 0, "5.1.2", "there is no such domain", True)
        async with office.relay():
            await office.post("someone@nowhere.test")

            async def owed() -> bool:
                return bool(await office.rows("SELECT 1 FROM outbound_recipients WHERE notice IS NOT NULL"))

            await until(owed, 10, "the notice's being owed")
            await asyncio.sleep(1)  # it has been tried by now
            assert await office.nothing_left()
            began = time.monotonic()
            await _limit(office, limit)
            (notice,) = await office.notices(1)
            assert notice.envelope.recipients == (SENDER,)
            assert time.monotonic() - began < 3 * notifier.AGAIN_SECONDS < notifier.LOOK_SECONDS * 0.7


async def _limit(office: PostOffice, octets: int) -> int:
    """Set the byte limit of INGEST; gives the former one."""
    config = (await office.nats.api(f"STREAM.INFO.{INGEST}"))["config"]
    await office.nats.api(f"STREAM.UPDATE.{INGEST}", {**config, "max_bytes": octets})
    return int(config["max_bytes"])
