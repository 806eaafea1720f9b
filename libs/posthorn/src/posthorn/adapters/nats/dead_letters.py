"""The stream DEAD: messages that delivery could not deliver, with the reason in a header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import aclosing

from nats.aio.msg import Msg

from posthorn.adapters.nats.acks import Ack, read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import ApiError
from posthorn.adapters.nats.scan import read_through
from posthorn.model.streams import (
    DEAD,
    DEAD_SUBJECT,
    INGEST,
    LEGACY_SUBJECT,
    role_of_subject,
    subject_word,
)
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Parked

_ID = "Posthorn-Message-Id"
_REASON = "Posthorn-Reason"
_ROLE = "Posthorn-Role"
_REASON_LIMIT = 400
_NO_MESSAGE = frozenset({10037, 10057})  # not found; cannot be deleted, because there is none


class NatsDeadLetters:
    """DeadLetters on JetStream."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def park(
        self,
        data: bytes,
        message_id: str,
        reason: str,
        subject: str = LEGACY_SUBJECT,
        stored_as: str = "",
    ) -> None:
        reason = _header_text(reason)
        message_id = _header_text(message_id)
        about = f"{reason}\n{stored_as}"
        known_as = f"{message_id}.{hashlib.sha256(about.encode()).hexdigest()[:12]}"
        while True:
            headers = {
                "Nats-Msg-Id": known_as,
                _ID: message_id,
                _REASON: reason,
                _ROLE: subject_word(subject),
            }
            ack = await self._store(DEAD_SUBJECT, DEAD, data, headers)
            if not ack.duplicate or await self._get(ack.sequence) is not None:
                return
            # The stream still knows the id, but an administrator has removed that copy meanwhile
            # (and it failed again).
            known_as += f".{ack.sequence}"

    async def parked(self, after: int, limit: int) -> Sequence[Parked]:
        choice = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(after, 0) + 1,
            "headers_only": True,
        }
        found: list[Parked] = []
        async with aclosing(read_through(self._connection, DEAD, choice, limit)) as messages:
            async for message in messages:
                headers = message.headers or {}
                about = message.metadata
                found.append(
                    Parked(
                        sequence=about.sequence.stream,
                        message_id=headers.get(_ID, ""),
                        reason=headers.get(_REASON, ""),
                        parked_at=about.timestamp,
                        octets=int(headers.get("Nats-Msg-Size", "0")),
                    )
                )
        return found

    async def retry(self, sequence: int) -> bool:
        """A crash in between leaves the message on both streams; a second retry is
        harmless."""
        message = await self._get(sequence)
        if message is None:
            return False
        headers = message.headers or {}
        subject = _subject_again(headers.get(_ROLE, ""))
        await self._store(
            subject,
            INGEST,
            message.data,
            {"Nats-Msg-Id": f"{headers.get(_ID, '')}.retry.{sequence}"},
        )
        await self.discard(sequence)
        return True

    async def discard(self, sequence: int) -> bool:
        if sequence < 1:
            return False
        try:
            await self._connection.api(
                f"STREAM.MSG.DELETE.{DEAD}", {"seq": sequence, "no_erase": True}
            )
        except ApiError as error:
            if error.err_code in _NO_MESSAGE:
                return False
            raise
        return True

    async def _get(self, sequence: int) -> Msg | None:
        if sequence < 1:
            return None
        wish = json.dumps({"seq": sequence}).encode()
        message = await self._connection.request(f"$JS.API.DIRECT.GET.{DEAD}", wish)
        headers = message.headers or {}
        if headers.get("Nats-Sequence") == str(sequence):
            return message
        if headers.get("Status") == "404":
            return None
        raise Unavailable("nats", f"{DEAD} gave an invalid answer")

    async def _store(self, subject: str, stream: str, data: bytes, headers: dict[str, str]) -> Ack:
        return read_ack(await self._connection.request(subject, data, headers), stream)


def _subject_again(word: str) -> str:
    """Return the subject for a retry: that of the same role. Messages of an older release have
    none."""
    subject = f"ingest.{word}"
    try:
        role_of_subject(subject)
    except ValueError:
        return LEGACY_SUBJECT
    return subject


def _header_text(text: str) -> str:
    """Return a text as a header value: one line of printable ASCII."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in " ".join(text.split()))
    return plain[:_REASON_LIMIT]
