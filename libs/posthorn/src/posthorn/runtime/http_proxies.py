"""Who the client of an HTTP request is, with its address in canonical form: who connects or, where
that is a listed reverse proxy such as an Ingress controller, for whom it does.

Each proxy appends the address that connected to it to X-Forwarded-For. The last one that is no listed
proxy's counts: what stands before it are the words of a stranger, and so is the whole field when a
stranger connects. Where only listed ones are named, the first connected to the others. A field that
names no address there changes nothing: the client is who connects.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from posthorn.model.networks import Network, is_in
from posthorn.wire.proxy import plain_address


class Proxied:
    """An ASGI application that may be behind reverse proxies."""

    def __init__(self, app: Any, proxies: Sequence[Network]) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        peer, port = scope["client"] or ("", 0)
        client = peer = _address(peer)
        if is_in(peer, self._proxies):
            client = self._named(scope["headers"]) or peer
        scope["client"] = client, port
        await self._app(scope, receive, send)

    def _named(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the client that proxies name; an empty string for none."""
        fields = (value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for")
        named = ""
        for text in reversed(",".join(fields).split(",")):
            named = _address(text.strip())
            if not is_in(named, self._proxies):
                break
        return named


def _address(text: str) -> str:
    """Return the address in a text that may name a port as well, IPv6 then in brackets; an empty
    string where there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(plain_address(ipaddress.ip_address(text)))
    except ValueError:
        return ""
