"""What a row of the quarantine keeps so that a release can do what delivery would have done: the
envelope for that recipient alone, and the copies that an alias would have sent on.

It is text by lines: an ingest record without a body, then an object for each copy. Two of them
after each other read as one, so that a later slice of a wide alias can add its copies (ADR 19).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from posthorn.model.envelope import Envelope, RecordError, decode_record, encode_record
from posthorn.model.outbound import Notify, Outbound, RecipientDsn


def encode_withheld(envelope: Envelope, recipient: str, outbound: Iterable[Outbound]) -> bytes:
    """Return the encoding. The verdict is left out: the message's row has it."""
    dsn = {recipient: envelope.dsn[recipient]} if recipient in envelope.dsn else {}
    alone = replace(
        envelope.to((recipient,)), dsn=dsn, verdict=None, blob=envelope.blob or "segment"
    )
    lines = [json.dumps(_as_object(each), separators=(",", ":")).encode() for each in outbound]
    return encode_record(alone, None) + b"".join(line + b"\n" for line in lines)


def decode_withheld(encoded: bytes) -> tuple[Envelope, tuple[Outbound, ...]]:
    """Return the envelope and the copies for elsewhere. Raises RecordError."""
    envelope: Envelope | None = None
    copies: list[Outbound] = []
    try:
        for line in encoded.splitlines():
            document = json.loads(line)
            if "v" in document:
                envelope = envelope or decode_record(line + b"\n").envelope
            else:
                copies.append(_as_outbound(document))
    except RecordError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"a withheld copy does not read: {type(error).__name__}") from error
    if envelope is None:
        raise RecordError("a withheld copy has no envelope")
    return envelope, tuple(copies)


def _as_object(copy: Outbound) -> dict[str, object]:
    return {
        "to": copy.recipient,
        "domain": copy.destination,
        "from": copy.reverse_path,
        "original": copy.original,
        "dsn": [int(copy.dsn.notify), copy.dsn.orcpt],
        "tenant": None if copy.tenant is None else str(copy.tenant),
        "alias": copy.alias,
        "token": copy.long_token,
        "header": copy.header,
    }


def _as_outbound(document: dict[str, object]) -> Outbound:
    notify, orcpt = document["dsn"]  # type: ignore[misc]  # of two, or ValueError
    return Outbound(
        str(document["to"]),
        str(document["domain"]),
        str(document["from"]),
        str(document["original"]),
        RecipientDsn(Notify(int(notify)), str(orcpt)),  # type: ignore[has-type]
        tenant=UUID(str(document["tenant"])) if document["tenant"] else None,
        alias=str(document["alias"]),
        long_token=str(document["token"]),
        header=str(document["header"]),
    )
