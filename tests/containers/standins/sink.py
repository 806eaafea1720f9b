"""A mail server that takes everything on port 2525 and prints each message as one line of JSON."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from aiosmtpd.smtp import SMTP


class Printer:
    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        content = base64.b64encode(envelope.original_content).decode()
        print(
            json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "content": content}),
            flush=True,
        )
        return "250 2.0.0 kept"


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Printer(), hostname="sink.test", enable_SMTPUTF8=True), "0.0.0.0", 2525
    )
    await server.serve_forever()


asyncio.run(main())
