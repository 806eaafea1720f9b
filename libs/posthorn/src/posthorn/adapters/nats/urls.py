"""URLs of NATS servers, as ``POSTHORN_NATS_URL`` holds them."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit


def split_urls(urls: str) -> tuple[list[str], str | None, str | None]:
    """Split ``nats://user:password@host:port,host:port`` into URLs without credentials, user and
    password.

    The first credentials apply to all servers; both parts may be percent-encoded. A user without a
    password is a token.
    """
    servers: list[str] = []
    user: str | None = None
    password: str | None = None
    scheme = "nats"
    for url in urls.split(","):
        given, separator, rest = url.strip().partition("://")
        scheme, location = (given, rest) if separator else (scheme, given)
        if not location:
            continue
        credentials, at, host = location.rpartition("@")
        if at and user is None:
            name, colon, secret = credentials.partition(":")
            user, password = unquote(name), unquote(secret) if colon else None
        try:
            parts = urlsplit(f"{scheme}://{host}")
            bad = not parts.hostname or parts.port == 0
        except ValueError:
            bad = True
        if bad:
            raise SystemExit(
                "refusing to start: POSTHORN_NATS_URL: must be nats://[user:password@]host[:port][,…]"
            )
        servers.append(f"{scheme}://{host.rstrip('/')}")
    return servers, user, password
