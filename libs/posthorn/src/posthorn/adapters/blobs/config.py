"""Configuration of the blob store: the forms of POSTHORN_BLOBS.

- ``file:///directory``: a local directory.
- ``s3://[key:secret@]host[:port]/bucket[/prefix][?region=…&tls=yes|no]``: any S3 server.
- ``s3://[key:secret@]bucket[/prefix][?region=…]``: a bucket of the server that POSTHORN_S3_ENDPOINT
  names; without that setting, of AWS.

The first name after ``s3://`` is a host when it holds a dot, has a port, is ``localhost`` or an
IPv6 address in brackets; else it is a bucket. Key and secret may be percent-encoded; not encoded,
the secret begins after the last colon and ends at the last ``@``. ``tls`` is ``no`` by default for
loopback hosts and ``yes`` for all others.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import structlog
from pydantic import SecretStr

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.blobs.targets import FileTarget, S3Target
from posthorn.model.ip_addresses import is_this_machine
from posthorn.ports.blobs import Blobs, check_key
from posthorn.ports.errors import Unavailable
from posthorn.runtime.env_settings import SettingsError
from posthorn.runtime.settings import BlobSettings

log = structlog.get_logger()

_FORMS = "file:///directory, s3://[key:secret@]host[:port]/bucket[/prefix][?region=…&tls=yes|no] or s3://bucket[/prefix]"
_AWS = "s3.amazonaws.com"
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9]|[.-](?![.-])){1,61}[a-z0-9]\Z")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\Z|\[[0-9A-Fa-f:.]+\]\Z")
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def blob_target(settings: BlobSettings) -> FileTarget | S3Target:
    """Parse the settings. Raises SettingsError, which names the variable and shows no secret."""
    try:
        url = settings.blobs.get_secret_value()
        scheme, _, rest = url.partition("://")
        return _file(url) if scheme == "file" else _s3(rest, settings)
    except _UrlError as wrong:
        raise SettingsError(f"refusing to start:\n  {wrong.variable}: {wrong}") from None


@asynccontextmanager
async def open_blobs(settings: BlobSettings) -> AsyncIterator[Blobs]:
    """Open the configured store. If it does not answer now, calls raise Unavailable until it
    does."""
    target = blob_target(settings)
    if isinstance(target, FileTarget):
        files = FileBlobs(target.root)
        try:
            try:
                await files.open()
            except Unavailable as fault:
                raise SettingsError(
                    f"refusing to start:\n  POSTHORN_BLOBS: cannot use the directory {target.root}: {fault}"
                ) from None
            yield files
        finally:
            files.close()
    else:
        # not read without need: the client takes 0.3 s to import, and 10 MiB in each process
        from posthorn.adapters.blobs.s3 import S3Blobs

        try:
            bucket = S3Blobs(target)
        except ValueError as error:  # only the client knows the hosts of AWS
            raise SettingsError(f"refusing to start:\n  POSTHORN_BLOBS: {error}") from None
        try:
            await bucket.open()
            yield bucket
        finally:
            bucket.close()


class _UrlError(Exception):
    def __init__(self, text: str, variable: str = "POSTHORN_BLOBS") -> None:
        super().__init__(text)
        self.variable = variable


def _file(url: str) -> FileTarget:
    host, slash, path = url.removeprefix("file://").partition("/")
    if host not in ("", "localhost") or not slash or "?" in path or "#" in path:
        raise _UrlError(
            "a directory is written file:///directory: three slashes and an absolute path, nothing after it"
        )
    path = "/" + unquote(path)
    if "\0" in path or ".." in path.split("/"):
        raise _UrlError("the directory must not hold NUL or '..'")
    return FileTarget(Path(path))


def _s3(rest: str, settings: BlobSettings) -> S3Target:
    login, at, location = rest.rpartition("@")
    access_key, secret_key = _login(login) if at else _configured_login(settings)
    location, _, query = location.partition("?")
    options = _options(query)
    first, _, path = location.partition("/")
    region = options.get("region") or settings.s3_region
    if region is not None and not _REGION.match(region):
        raise _UrlError("the region must be a name such as us-east-1")
    tls = {"yes": True, "no": False, None: None}[options.get("tls")]

    if settings.s3_endpoint is not None:
        if _is_host(first):
            raise _UrlError(
                "the URL names a host, and POSTHORN_S3_ENDPOINT names one too; with that set, write s3://bucket"
            )
        endpoint, by_scheme = _endpoint(settings.s3_endpoint)
        tls = by_scheme if tls is None else tls
        bucket, prefix = first, path
    elif _is_host(first):
        endpoint = _checked_host(first, "POSTHORN_BLOBS")
        bucket, _, prefix = path.partition("/")
    else:
        endpoint, bucket, prefix = _AWS, first, path

    if not _BUCKET.match(bucket):
        raise _UrlError(
            f"the bucket is missing or its name is not one S3 allows; the forms are {_FORMS}"
        )
    return S3Target(
        endpoint=endpoint,
        bucket=bucket,
        prefix=_prefix(prefix),
        region=region,
        tls=not _is_loopback(endpoint) if tls is None else tls,
        access_key=access_key,
        secret_key=secret_key,
    )


def _login(login: str) -> tuple[str, SecretStr]:
    key, colon, secret = login.rpartition(":")
    if not colon or not key or not secret:
        raise _UrlError("before the @ there must be key:secret")
    return unquote(key), SecretStr(unquote(secret))


def _configured_login(settings: BlobSettings) -> tuple[str | None, SecretStr | None]:
    key, secret = settings.s3_access_key, settings.s3_secret_key
    if (key is None) != (secret is None):
        missing = "POSTHORN_S3_ACCESS_KEY" if key is None else "POSTHORN_S3_SECRET_KEY"
        raise _UrlError(
            "is missing; POSTHORN_S3_ACCESS_KEY and POSTHORN_S3_SECRET_KEY go together", missing
        )
    return key, secret


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if set(options) - {"region", "tls"}:
        raise _UrlError("after the ? there may be region=… and tls=yes|no, and nothing else")
    if options.get("tls") not in (None, "yes", "no"):
        raise _UrlError("tls must be yes or no")
    return options


def _endpoint(text: str) -> tuple[str, bool | None]:
    scheme, separator, rest = text.rpartition("://")
    if separator and scheme not in ("http", "https"):
        raise _UrlError(
            "must be host:port, http://host:port or https://host:port", "POSTHORN_S3_ENDPOINT"
        )
    host = _checked_host(rest.removesuffix("/"), "POSTHORN_S3_ENDPOINT")
    return host, {"http": False, "https": True}.get(scheme)


def _is_host(name: str) -> bool:
    return name == "localhost" or any(sign in name for sign in ".:[")


def _checked_host(text: str, variable: str) -> str:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, ""
    if not _HOST.match(host) or (
        colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)
    ):
        raise _UrlError(f"the host or its port is not right; the forms are {_FORMS}", variable)
    return text


def _is_loopback(endpoint: str) -> bool:
    return is_this_machine(
        endpoint if endpoint.endswith("]") else endpoint.rpartition(":")[0] or endpoint
    )


def _prefix(text: str) -> str:
    prefix = text.strip("/")
    try:
        return check_key(prefix) if prefix else ""
    except ValueError:
        raise _UrlError(
            "the prefix behind the bucket may hold letters, digits, '.', '_', '-' and single slashes"
        ) from None
