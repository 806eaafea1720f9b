"""A renewed certificate is used by the next handshake; a broken one changes nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from posthorn.runtime import tls
from posthorn.runtime.tls import Certificate
from tests.support.polling import BUSY_SECONDS

type _Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_SHARED_RSA = rsa.generate_private_key(65537, 2048)
_ENCRYPTION = serialization.NoEncryption()


def _pair(
    name: str, key: _Key | None = None, ends_in: timedelta = timedelta(days=1)
) -> tuple[bytes, bytes]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends_in)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, _ENCRYPTION
    )


def _write(directory: Path, pair: tuple[bytes, bytes]) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "tls.crt").write_bytes(pair[0])
    (directory / "tls.key").write_bytes(pair[1])


def _shown(
    context: ssl.SSLContext, name: str | None = "mail.test", *, rsa_only: bool = False
) -> str:
    """The name in the certificate that a client is shown, by a handshake in memory."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if rsa_only:
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers("ECDHE+aRSA")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return _name_in(ours.getpeercert(True))


def _name_in(octets: bytes | None) -> str:
    assert octets
    return str(
        x509.load_der_x509_certificate(octets)
        .subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0]
        .value
    )


def test_the_first_certificate_is_shown(tmp_path: Path) -> None:
    _write(tmp_path, _pair("one"))
    assert _shown(Certificate(tmp_path).context) == "one"


def test_a_new_certificate_is_shown_by_new_handshakes(tmp_path: Path) -> None:
    _write(tmp_path, _pair("one"))
    certificate = Certificate(tmp_path)
    context = certificate.context
    assert not certificate.refresh()
    for name in ("two", "three"):
        _write(tmp_path, _pair(name))
        assert certificate.refresh()
        assert _shown(context) == name
        assert _shown(context, None) == name, "also to clients that name no server"
    assert not certificate.refresh()


def test_a_key_of_another_type_replaces_the_old_one_for_every_client(tmp_path: Path) -> None:
    _write(tmp_path, _pair("old rsa", _SHARED_RSA))
    certificate = Certificate(tmp_path)
    assert _shown(certificate.context, rsa_only=True) == "old rsa"
    _write(tmp_path, _pair("new ec"))
    assert certificate.refresh()
    assert _shown(certificate.context) == "new ec"
    with pytest.raises(ssl.SSLError):
        _shown(certificate.context, rsa_only=True)


def test_a_secret_as_kubernetes_replaces_it(tmp_path: Path) -> None:
    _write(tmp_path / "..first", _pair("first"))
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "..data").symlink_to(tmp_path / "..first")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(Path("..data") / name)
    certificate = Certificate(mount)
    assert _shown(certificate.context) == "first"
    _write(tmp_path / "..second", _pair("second"))
    (mount / "..new").symlink_to(tmp_path / "..second")
    (mount / "..new").rename(mount / "..data")
    for path in (tmp_path / "..first").iterdir():
        path.unlink()
    assert certificate.refresh()
    assert _shown(certificate.context) == "second"


def _truncated(directory: Path) -> None:
    (directory / "tls.crt").write_bytes((directory / "tls.crt").read_bytes()[:100])


def _empty(directory: Path) -> None:
    (directory / "tls.key").write_bytes(b"")


def _another_key(directory: Path) -> None:
    (directory / "tls.key").write_bytes(_pair("x")[1])


def _another_chain(directory: Path) -> None:
    (directory / "tls.crt").write_bytes(_pair("x")[0])


def _gone(directory: Path) -> None:
    (directory / "tls.key").unlink()


def _encrypted(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    secret = serialization.BestAvailableEncryption(b"password")
    (directory / "tls.crt").write_bytes(_pair("x", key)[0])
    (directory / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    )


@pytest.mark.parametrize(
    "break_it", [_truncated, _empty, _another_key, _another_chain, _gone, _encrypted]
)
def test_a_broken_replacement_keeps_the_old_and_a_mended_one_is_taken(
    tmp_path: Path, break_it: Callable[[Path], None]
) -> None:
    _write(tmp_path, _pair("old"))
    certificate = Certificate(tmp_path)
    break_it(tmp_path)
    for _ in range(2):
        assert not certificate.refresh()
        assert _shown(certificate.context) == "old"
    _write(tmp_path, _pair("mended"))
    assert certificate.refresh()
    assert _shown(certificate.context) == "mended"


@pytest.mark.parametrize("break_it", [_truncated, _empty, _another_key, _gone, _encrypted])
def test_a_process_does_not_start_with_a_broken_certificate(
    tmp_path: Path, break_it: Callable[[Path], None]
) -> None:
    _write(tmp_path, _pair("x"))
    break_it(tmp_path)
    with pytest.raises(SystemExit, match="POSTHORN_TLS_DIR"):
        Certificate(tmp_path)


def test_old_protocols_are_not_spoken(tmp_path: Path) -> None:
    _write(tmp_path, _pair("one"))
    certificate = Certificate(tmp_path)
    _write(tmp_path, _pair("two"))
    certificate.refresh()
    for context in (certificate.context, certificate._newest):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_listener_goes_on_with_the_new_one_and_open_sessions_stay(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    monkeypatch.setattr(tls, "CHECK_SECONDS", 0.01)
    _write(tmp_path, _pair("one"))
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def shown(port: int) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        name = _name_in(writer.get_extra_info("ssl_object").getpeercert(True))
        writer.close()
        return name

    async def talk() -> None:
        certificate = Certificate(tmp_path)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = await asyncio.start_server(echo, sock=listener, ssl=certificate.context)
        watch = asyncio.create_task(certificate.watch())
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            assert await shown(port) == "one"
            _write(tmp_path, _pair("two"))
            async with asyncio.timeout(BUSY_SECONDS):
                while await shown(port) != "two":
                    await asyncio.sleep(0.01)
            writer.write(b"still there\n")
            assert await reader.readline() == b"still there\n"
            writer.close()
        finally:
            watch.cancel()
            await _ended(watch)
            server.close()

    run(talk())


async def _ended(task: Awaitable[None]) -> None:
    await asyncio.gather(task, return_exceptions=True)


def test_the_log_says_that_a_certificate_has_expired(tmp_path: Path) -> None:
    with capture_logs() as logs:
        _write(tmp_path, _pair("old.test", ends_in=timedelta(days=-1)))
        certificate = Certificate(tmp_path)
        _write(tmp_path, _pair("new.test"))
        assert certificate.refresh()
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("error", "the certificate has expired: clients refuse it"),
        ("info", "certificate replaced"),
    ]
    assert logs[0]["file"] == str(tmp_path / "tls.crt")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("the key", "hold a certificate chain and its key in PEM"),
        ("another", "the key does not belong to the certificate"),
        ("nothing", "No such file or directory"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_what_is_wrong_once(
    tmp_path: Path, broken: str, said: str
) -> None:
    _write(tmp_path, _pair("mail.test"))
    certificate, key = Certificate(tmp_path), tmp_path / "tls.key"
    match broken:
        case "the key":
            key.write_text("rubbish")
        case "another":
            key.write_bytes(_pair("mail.test")[1])
        case _:
            key.unlink()
    with capture_logs() as logs:
        for _ in range(3):
            assert not certificate.refresh()
    assert [(line["log_level"], line["key"]) for line in logs] == [("error", str(key))]
    assert said in logs[0]["error"]
    with pytest.raises(SystemExit, match=f"POSTHORN_TLS_DIR.*{key}.*{said}"):
        Certificate(tmp_path)
