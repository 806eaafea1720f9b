"""Requests to the REST API: the key, retries that do nothing twice, problem documents as
exceptions.

Rules. What may be sent again is sent again after 503, and when no answer came: GET, PUT and DELETE
by their nature, POST because each carries an Idempotency-Key (the API does it once), PATCH only
where the API has said that it did nothing. A body that is read from elsewhere piece by piece is
sent once. The API's own wish (Retry-After) sets the pause where it is longer than ours.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from posthorn_cli.client.faults import ApiError, Unreachable, UnsafeUrl

TRIES = 5
"""Times that a request is sent at most."""
FIRST_PAUSE = 0.2
"""Seconds before the second try; each further pause is twice as long."""
LONGEST_PAUSE = 10.0
"""Seconds that are waited at most when the API asks for a pause."""
LONGEST_WORK = 600.0
"""Seconds that the API may take after the end of a body that came piece by piece."""

_IN_USE = "idempotency-key-in-use"
_NDJSON = "application/x-ndjson"


def verifying_context(
    ca_file: Path | None, *, environment: bool = True, system: bool = False
) -> ssl.SSLContext:
    """Return a context that judges a certificate by its chain, its dates and its name.

    ``VERIFY_X509_STRICT``, which Python sets from 3.13 on, is left out: private authorities often
    leave out the extensions that it demands. ``environment``: whether SSL_CERT_FILE and
    SSL_CERT_DIR count where no ``ca_file`` is given; ``system``: take the system's anchors there
    instead of those that come with the client.
    """
    if ca_file is not None or system:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    else:
        context = httpx.create_ssl_context(trust_env=environment)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


type Body = bytes | Iterable[bytes]
"""The body of a request, at once or piece by piece."""


class Connection:
    """A connection to one API with one key; kept open between requests, closed by ``close`` or
    ``with``.

    ``url`` is the root of the API (``https://mail.example.org``), ``timeout`` is in seconds and
    holds for each step of a request. ``ca_file`` holds certificates to trust in place of the
    system's. ``on_managed`` gets the name of the tool that manages what a request has changed, and
    whose next apply undoes it. Raises UnsafeUrl.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        timeout: float = 30.0,
        ca_file: Path | None = None,
        agent: str = "posthorn-client",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        on_managed: Callable[[str], None] | None = None,
    ) -> None:
        address = _root(url)
        headers = {"User-Agent": agent, "Accept": "application/json, */*;q=0.5"}
        if key:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise UnsafeUrl("the API key holds characters that none has: is it the right file?")
            headers["Authorization"] = f"Bearer {key}"
        self.url = str(address).rstrip("/")
        self.is_exposed = address.scheme == "http" and not is_loopback(address.host)
        """Whether others on the way can read the key: not encrypted, and not within this
        machine."""
        self.etag: str | None = None
        """The ETag of the last answer; None when it had none. Give it as ``if_match`` to change
        just what was read."""
        self.headers: Mapping[str, str] = {}
        """The header of the last answer; its names are the same in either case."""
        self._sleep = sleep
        self._on_managed = on_managed
        self._timeout = timeout
        self._http = httpx.Client(
            base_url=address,
            headers=headers,
            timeout=timeout,
            verify=verifying_context(ca_file, environment=not is_loopback(address.host)),
            follow_redirects=False,  # a redirect would take the key along
            trust_env=not is_loopback(address.host),  # proxies are for other machines
            transport=transport,
        )

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        content: Body | None = None,
        media: str = "application/json",
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> httpx.Response:
        """Make one request, again if need be. ``body`` is sent as JSON, ``content`` as it is; query
        values of None are left out.

        Raises ApiError and Unreachable.
        """
        headers: dict[str, str] = {}
        if body is not None:
            content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if content is not None:
            headers["Content-Type"] = media
        if if_match is not None:
            headers["If-Match"] = if_match
        if method == "POST":
            headers["Idempotency-Key"] = idempotency_key or str(uuid4())
        once = content is not None and not isinstance(content, bytes)
        timeout = httpx.Timeout(self._timeout, read=LONGEST_WORK if once else self._timeout)
        built = self._http.build_request(
            method, path, params=_given(query), content=content, headers=headers, timeout=timeout
        )
        return self._sent(built, once)

    def _sent(self, request: httpx.Request, once: bool) -> httpx.Response:
        pause = FIRST_PAUSE
        lost = False
        for attempt in range(1, TRIES + 1):
            last = once or attempt == TRIES
            try:
                answer = self._http.send(request)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                if last:
                    raise Unreachable(f"no connection to {self.url}: {_reason(error)}") from error
                answer = None
            except httpx.HTTPError as error:
                if last or request.method == "PATCH":
                    raise Unreachable(
                        f"{self.url} broke off before it answered: {_reason(error)}"
                    ) from error
                answer, lost = None, True
            if answer is not None and (last or not _again(answer)):
                if (
                    lost
                    and request.method == "DELETE"
                    and answer.status_code == httpx.codes.NOT_FOUND
                ):
                    # the try whose answer was lost has done it
                    return httpx.Response(204, request=request)
                return self._checked(answer)
            wish = _wish(answer)
            self._sleep(max(wish, pause * random.uniform(0.8, 1.2)))  # noqa: S311 - no secret depends on it
            pause *= 2
        raise AssertionError("the last try answers or raises")

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        self.headers = answer.headers
        self.etag = answer.headers.get("ETag")
        if answer.is_success:
            manager = answer.headers.get("Posthorn-Managed-By")
            if manager is not None and self._on_managed is not None:
                self._on_managed(manager)
            return answer
        raise ApiError.from_document(answer.status_code, _json(answer))

    def _call(self, method: str, path: str, **rest: Any) -> Any:
        """Return what the answer's JSON holds; None for an answer without a body."""
        answer = self.request(method, path, **rest)
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        if answer.headers.get("Content-Type", "").startswith(_NDJSON):
            return [json.loads(line) for line in answer.text.split("\n") if line.strip()]
        try:
            return answer.json()
        except ValueError:
            raise Unreachable(
                f"what {self.url} answered is no JSON: is it a Posthorn API?"
            ) from None

    def _stream(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None
    ) -> Iterator[bytes]:
        """Yield the bytes of an answer piece by piece. Raises ApiError and Unreachable, also in
        the middle."""
        try:
            with self._http.stream(method, path, params=_given(query)) as answer:
                if not answer.is_success:
                    answer.read()
                self._checked(answer)
                yield from answer.iter_bytes()
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.url} broke off: {_reason(error)}") from error


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def quoted(value: object) -> str:
    """Put a value into a path."""
    return quote(str(value), safe="@")


def _root(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url.strip())
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in ("http", "https") or not address.host:
        raise UnsafeUrl(f"{url!r} is no URL of an API: it looks like https://mail.example.org")
    if address.userinfo:
        raise UnsafeUrl("the URL of the API takes no password: the key is given by itself")
    return address


def _given(query: Mapping[str, object] | None) -> httpx.QueryParams:
    """Write the parameters; each item of a list is one of its own."""
    found: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in (query or {}).items():
        for each in value if isinstance(value, list) else () if value is None else (value,):
            found.append((name, str(each).lower() if isinstance(each, bool) else str(each)))  # noqa: PERF401 - plainer
    return httpx.QueryParams(found)


def _again(answer: httpx.Response) -> bool:
    if answer.status_code == httpx.codes.CONFLICT:  # our first try still runs there
        return ApiError.from_document(answer.status_code, _json(answer)).slug == _IN_USE
    # nothing was done; worth it when it is over soon
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        said = answer.headers.get("Retry-After", "")
        return said.isascii() and said.isdigit() and float(said) <= LONGEST_PAUSE
    return answer.status_code in (502, 503, 504) and (
        answer.status_code == 503 or answer.request.method != "PATCH"
    )


def _wish(answer: httpx.Response | None) -> float:
    said = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(float(said), LONGEST_PAUSE) if said.isascii() and said.isdigit() else 0.0


def _json(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    # the number of the error says nothing that its text does not
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
