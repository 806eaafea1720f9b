"""JSON documents of many megabytes, read beside the event loop.

Theory:

- What makes such a document large is a few long strings: contents in base64, texts. They are found
  by their quotation marks and lifted out; what is left, the structure, is small and is read as any
  other document. Then the strings are put back.
- A structure that is large itself is refused before it is read: forty megabytes of brackets would
  become gigabytes of objects.
- The interpreter is never held for long: other threads, the loop's among them, run between the
  strings.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

SMALL = 1024 * 1024
"""Bytes up to which a body counts as small; also what the structure of a large one may have."""
_LONG = 4096
"""Bytes of a string that is lifted out."""
_WINDOW = 256 * 1024
"""Bytes that are searched at a time."""
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class DocumentRequest(Request):
    """A request whose JSON is read in a thread when it is large."""

    async def json(self) -> Any:
        """Read the body. Raises JSONDecodeError; HTTPException 413 when the structure is too
        large."""
        body = await self.body()
        if len(body) <= SMALL:
            return await super().json()
        return await asyncio.to_thread(read_document, body)


def read_document(body: bytes) -> Any:
    """Read a large document, in UTF-8 (RFC 8259 §8.1). Raises as ``DocumentRequest.json``."""
    mark = secrets.token_hex(16)
    structure, strings = _taken_apart(body, mark)
    document = json.loads(structure)
    contents = {f"{mark}{place}": (start, end) for place, (start, end) in enumerate(strings)}

    def restored(value: Any) -> Any:
        match value:
            case str() if value in contents:
                start, end = contents[value]
                return json.loads(body[start:end])
            case list():
                return [restored(each) for each in value]
            case dict():
                return {restored(name): restored(each) for name, each in value.items()}
        return value

    return restored(document)


def _taken_apart(body: bytes, mark: str) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the document with a mark and a number in the place of each long string, and where
    these strings lie."""
    pieces: list[bytes] = []
    strings: list[tuple[int, int]] = []
    kept = size = at = 0
    while (start := body.find(b'"', at)) >= 0:
        end = _end_of_string(body, start + 1)
        if end - start > _LONG:
            pieces += (body[kept:start], f'"{mark}{len(strings)}"'.encode())
            size += start - kept
            strings.append((start, end))
            kept = end
        if size + end - kept > SMALL:
            break
        at = end
    if size + len(body) - kept > SMALL:
        raise HTTPException(
            413, f"beside its long strings a document may have {SMALL} bytes at most"
        )
    return b"".join((*pieces, body[kept:])), strings


def _end_of_string(body: bytes, at: int) -> int:
    """Return the place after the quotation mark that ends the string whose content begins here;
    without one, the body's end."""
    while at < len(body):
        inside = _INSIDE.match(body, at, at + _WINDOW)
        assert inside is not None
        at = inside.end()
        if body.startswith(b'"', at):
            return at + 1
        if at + 1 == len(body):
            break  # a backslash, and nothing that it escapes
    return len(body)
