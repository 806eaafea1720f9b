"""Blobs in an S3 bucket, through the ``minio`` client on threads of its own.

Rules:

- A dead store shows as Unavailable within seconds: short timeouts, one retry for what a new
  connection can cure, none after a timeout. Nothing here waits for the store at start-up; the
  bucket is created when it is first needed.
- A body is uploaded in one PUT of known length with its MD5, straight from memory or file, never
  copied as a whole. The client can only send what it holds in memory, so uploads use a presigned
  URL (whose signature covers no body; the store checks the MD5). See ADR 30.
- No fault contains a URL, a key or a header: a presigned URL in a log would let its reader write.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import BinaryIO, Self

import certifi
import structlog
import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    IamAwsProvider,
    Provider,
)
from minio.error import MinioException, S3Error, ServerError
from prometheus_client import Counter, Histogram
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from posthorn.adapters.blobs.s3_streams import Download, FileSource, PartsSource, UploadSource
from posthorn.adapters.blobs.targets import S3Target
from posthorn.adapters.blobs.threads import Threads
from posthorn.ports.blobs import BlobInfo, BlobMissing, check_key
from posthorn.ports.errors import Full, Unavailable
from posthorn.runtime.tls import verifying_context

log = structlog.get_logger()

_PAGE = 1000
_OPENING_SECONDS = 5.0
_SIGNED_FOR = timedelta(hours=1)  # an upload takes seconds; the rest allows for clock differences
_CODE = re.compile(r"[A-Za-z0-9]{1,64}\Z")
_CODE_ELEMENT = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_BLOCK = 256 * 1024

_seconds = Histogram(
    "posthorn_s3_operation_seconds",
    "Time of an operation on the S3 store, without the wait for a thread",
    ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30),
)
_errors = Counter(
    "posthorn_s3_errors_total",
    "Operations on the S3 store that failed; a missing object is none",
    ["operation"],
)

_THREADS = 16


class S3Blobs:
    """The port Blobs over a bucket, which is created when missing. Timeouts are in seconds, for
    one connect or read."""

    def __init__(
        self,
        target: S3Target,
        *,
        connect_timeout: float = 3.0,
        read_timeout: float = 15.0,
    ) -> None:
        # its warnings hold URLs, also presigned ones; every fault is raised as an exception anyway
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self._bucket = target.bucket
        self._prefix = f"{target.prefix}/" if target.prefix else ""
        trusted = verifying_context(certifi.where())
        # SSL_CERT_FILE as well: stores inside a cluster have a CA of their own
        trusted.load_default_certs()
        self._http = urllib3.PoolManager(
            maxsize=_THREADS,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            retries=_Retry(
                total=2,
                connect=0,
                read=1,
                redirect=0,
                status=1,
                other=0,
                backoff_factor=0.2,
                status_forcelist=(500, 502, 503, 504),
                raise_on_status=False,
            ),
            ssl_context=trusted,
            blocksize=_BLOCK,
        )
        self._client = Minio(
            target.endpoint,
            secure=target.tls,
            region=target.region,
            http_client=self._http,
            credentials=_Keys(target),
        )
        self._threads = Threads("blobs", _THREADS, read_timeout)
        self._ensuring = threading.Lock()
        self._ensured = False

    async def open(self) -> None:
        """Create the bucket now if the store answers soon; otherwise it is created when first
        needed."""
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                await self._run("probe", self._ensure)
        except (Unavailable, TimeoutError) as fault:
            log.warning("the blob store does not answer yet", fault=fault)

    def close(self) -> None:
        """End the threads and close idle connections."""
        self._threads.close()
        self._http.clear()

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        await self._run("put", lambda: self._upload(key, PartsSource(parts)))

    async def put_file(self, key: str, file: BinaryIO, size: int) -> None:
        """Raises ValueError when the file ends before ``size`` bytes."""
        await self._run("put", lambda: self._upload(key, FileSource(file, size)))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._run("read", lambda: self._read(key, offset, length))

    async def stream(
        self, key: str, offset: int, length: int, chunk: int = 262_144
    ) -> AsyncIterator[bytes]:
        pieces = self._threads.pieces(
            lambda: _measured("open", lambda: Download(self._get(key, offset, length), length)),
            lambda download: _measured("read", lambda: download.next(chunk)),
            lambda download: download.close(),
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def delete(self, key: str) -> None:
        try:
            name = self._name(key)
            await self._run("delete", lambda: self._client.remove_object(self._bucket, name))
        except BlobMissing:
            return

    async def move(self, key: str, to: str) -> None:
        """See Blobs: a copy made by the store, then a deletion."""
        await self._run("move", lambda: self._move(self._name(key), self._name(to)))

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        objects = self._client.list_objects(
            self._bucket, prefix=self._prefix + prefix, recursive=True
        )
        while page := await self._run("list", lambda: list(islice(objects, _PAGE))):
            for found in page:
                yield BlobInfo(
                    key=str(found.object_name).removeprefix(self._prefix),
                    size=found.size or 0,
                    modified_at=found.last_modified or datetime.now(UTC),
                )

    async def probe(self, *, writes: bool = True) -> None:
        """See Blobs: checks the bucket, and creates it when it is missing."""
        await self._run("probe", self._probe)

    async def _run[T](self, operation: str, work: Callable[[], T]) -> T:
        return await self._threads.run(lambda: _measured(operation, work))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _probe(self) -> None:
        if self._ensured and not self._client.bucket_exists(self._bucket):
            self._ensured = False
        self._ensure()

    def _ensure(self) -> None:
        if self._ensured:
            return
        with self._ensuring:
            if not self._ensured and not self._client.bucket_exists(self._bucket):
                try:
                    self._client.make_bucket(self._bucket)
                    log.info("bucket made", bucket=self._bucket)
                except S3Error as error:
                    if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                        raise
                    # another process was faster
            self._ensured = True

    def _upload(self, key: str, source: UploadSource) -> None:
        name = self._name(key)
        self._ensure()
        digest = hashlib.md5(usedforsecurity=False)
        while piece := source.read(_BLOCK):
            digest.update(piece)
        source.seek(0)
        response = self._http.urlopen(
            "PUT",
            self._client.get_presigned_url("PUT", self._bucket, name, expires=_SIGNED_FOR),
            body=source,
            headers={
                "Content-Length": str(source.size),
                "Content-MD5": base64.b64encode(digest.digest()).decode(),
                "Content-Type": "application/octet-stream",
            },
        )
        if response.status != 200:
            code = _CODE_ELEMENT.search(response.data)
            text = code[1].decode() if code else f"HTTP {response.status}"
            if text == "NoSuchBucket":
                self._ensured = False
            raise _refusal(text, response.status)

    def _get(self, key: str, offset: int, length: int) -> BaseHTTPResponse | None:
        name = self._name(key)
        if not length:  # a range cannot be empty; a missing blob must still be reported
            if (self._client.stat_object(self._bucket, name).size or 0) < offset:
                raise Unavailable("blobs", "the blob is shorter than expected")
            return None
        response = self._client.get_object(self._bucket, name, offset, length)
        if response.status != 206 and response.headers.get("Content-Length") != str(length):
            response.close()
            raise Unavailable("blobs", "the store does not honour ranges")
        return response

    def _move(self, name: str, to: str) -> None:
        self._client.copy_object(self._bucket, to, CopySource(self._bucket, name))
        self._client.remove_object(self._bucket, name)

    def _read(self, key: str, offset: int, length: int) -> bytes:
        download = Download(self._get(key, offset, length), length)
        try:
            return download.next(length)
        finally:
            download.close()


_OF_ANOTHER_REGION = ("BadRequest", "PermanentRedirect", "AuthorizationHeaderMalformed")
"""The first two are to HEAD, whose answer has no content."""
_REFUSED = {
    "AccessDenied": "AccessDenied: the store refuses this to the login; check its key, secret and rights to the bucket",
    "InvalidAccessKeyId": "InvalidAccessKeyId: the store does not know the access key of the login",
    "SignatureDoesNotMatch": "SignatureDoesNotMatch: the secret of the login is wrong, or the clock or the region",
    **{
        code: f"{code}: is POSTHORN_S3_REGION the region of the bucket?"
        for code in _OF_ANOTHER_REGION
    },
}
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull"})


def _refusal(code: str, status: int) -> Unavailable:
    is_full = code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE
    return (Full if is_full else Unavailable)("blobs", _REFUSED.get(code, code))


class _Retry(urllib3.Retry):
    """One retry after a broken connection or a 5xx, but none after a timeout: a hanging store
    would hang twice."""

    def increment(  # type: ignore[no-untyped-def]
        self, method=None, url=None, response=None, error=None, _pool=None, _stacktrace=None
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _Keys(Provider):
    """The credential chain; every fault in obtaining credentials is Unavailable."""

    def __init__(self, target: S3Target) -> None:
        self._fixed: Credentials | None = None
        self._found: Provider | None = None
        if target.access_key and target.secret_key:
            self._fixed = Credentials(target.access_key, target.secret_key.get_secret_value())
        else:
            http = urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=2, read=5), retries=urllib3.Retry(1)
            )
            self._found = ChainedProvider(
                [
                    EnvAWSProvider(),
                    AWSConfigProvider(),
                    IamAwsProvider(http_client=http, region=target.region),
                ]
            )

    def retrieve(self) -> Credentials:
        if self._fixed or self._found is None:
            assert self._fixed is not None
            return self._fixed
        try:
            return self._found.retrieve()
        except Exception:  # any answer of the metadata service
            raise Unavailable("blobs", "no credentials for S3 were found") from None


def _measured[T](operation: str, work: Callable[[], T]) -> T:
    """Do an operation, count its time and its fault. Raises as ``_translated``."""
    began = time.perf_counter()
    try:
        return _translated(work)
    except BlobMissing:
        raise
    except Unavailable:
        _errors.labels(operation).inc()
        raise
    finally:
        _seconds.labels(operation).observe(time.perf_counter() - began)


def _translated[T](work: Callable[[], T]) -> T:
    try:
        return work()
    except S3Error as error:
        code = error.code if error.code and _CODE.match(error.code) else "S3Error"
        if code == "NoSuchKey":
            raise BlobMissing("blobs", "no such blob") from None
        raise _refusal(code, error.response.status) from None
    except ServerError as error:
        raise _refusal(f"HTTP {error.status_code}", error.status_code) from None
    except MaxRetryError as error:
        raise Unavailable("blobs", _described(error.reason or error)) from None
    except (MinioException, HTTPError, OSError) as error:
        raise Unavailable("blobs", _described(error)) from None


def _described(error: Exception) -> str:
    """Return the type of a fault of the network, and the system's text where there is one."""
    cause = error.__cause__ or error
    text = cause.strerror if isinstance(cause, OSError) else None
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
