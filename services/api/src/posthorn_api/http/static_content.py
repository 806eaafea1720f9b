"""Files that do not change while the process runs, held compressed and sent so to whoever takes
gzip, which is every browser."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

IMMUTABLE = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of a file whose name holds a hash of its content."""
REVALIDATED = {"Cache-Control": "no-cache"}
"""Headers of a file that keeps its name."""
MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""By the end of the name."""


@dataclass(frozen=True, slots=True)
class StaticContent:
    """Bytes that do not change while the process runs, held compressed."""

    compressed: bytes
    media_type: str
    headers: Mapping[str, str]
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", f'"{hashlib.sha256(self.compressed).hexdigest()[:32]}"')

    @classmethod
    def from_text(cls, text: str, media_type: str, headers: Mapping[str, str]) -> StaticContent:
        """Return the content of a text."""
        return cls(gzip.compress(text.encode(), mtime=0), media_type, headers)

    def response(self, request: Request) -> Response:
        """Return the answer to a GET request: 304 if the client has the content already (RFC
        9110 section 13.1.2)."""
        headers = {**self.headers, "ETag": self.etag, "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == self.etag:
            return Response(None, 304, headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                self.compressed, 200, {**headers, "Content-Encoding": "gzip"}, self.media_type
            )
        return Response(gzip.decompress(self.compressed), 200, headers, self.media_type)
