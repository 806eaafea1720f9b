"""Kind F: certificates of private authorities that leave out extensions which only
VERIFY_X509_STRICT demands (RFC 5280 §6)."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from structlog.testing import capture_logs

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.issuer_fetch import fetch
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from posthorn.runtime.oidc.keys import IssuerKeys
from posthorn.runtime.settings import BlobSettings, NatsSettings
from posthorn.runtime.tls import verifying_context
from posthorn_api.webhooks.post import Poster
from posthorn_cli.client.connection import verifying_context as of_the_command_line
from posthorn_local.embedded import Nats
from posthorn_relay.routing.mta_sts_fetch import PolicyFetcher
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.types import Failed, Tls
from tests.conformance.relay.client_env import connector, remote
from tests.support.issuer import running_issuer
from tests.support.polling import until
from tests.support.s3 import S3Server
from tests.support.scripted_smtp import FULL, ScriptedSmtp
from tests.support.tls_front import tls_front

NAME = "mx.kind-f.test"
_DAY = datetime.timedelta(days=1)
_KEYS = {bits: rsa.generate_private_key(65537, bits) for bits in (1024, 2048)}


def certify(
    directory: Path,
    *,
    authority: Sequence[str] = ("key usage", "ski"),
    leaf: Sequence[str] = ("aki", "ski"),
    days: int = 5,
    name: str = NAME,
    bits: int = 2048,
) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context and the file of the authority that certified it, with just these
    extensions."""
    now = datetime.datetime.now(datetime.UTC)
    key = _KEYS[2048]
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Private CA")])

    def begun(
        subject: x509.Name, public: rsa.RSAPublicKey, until: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 9 * _DAY)
            .not_valid_after(until)
        )

    ca = begun(issuer, key.public_key(), now + 9 * _DAY)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if "key usage" in authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        ca = ca.add_extension(usage, critical=True)
    if "ski" in authority:
        ca = ca.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    own = _KEYS[bits]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    server = begun(subject, own.public_key(), now + days * _DAY)
    server = server.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    if "aki" in leaf:
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        server = server.add_extension(aki, critical=False)
    if "ski" in leaf:
        server = server.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False
        )
    anchor, both = directory / "ca.pem", directory / "server.pem"
    anchor.write_bytes(ca.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    both.write_bytes(
        own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + server.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(both)
    return context, anchor


LACKING: dict[str, dict[str, Sequence[str]]] = {
    "no AKI": {"leaf": ("ski",)},
    "no extensions of identity": {"leaf": (), "authority": ()},
    "CA without key usage": {"authority": ("ski",)},
    "CA without SKI": {"authority": ("key usage",)},
    "nothing lacks": {},
}


async def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Connect over TLS. Raises ssl.SSLError."""

    async def served(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(served, "127.0.0.1", 0, ssl=server)
    try:
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=NAME
        )
        writer.close()
    finally:
        listener.close()


@pytest.mark.parametrize("lacking", LACKING)
async def test_kind_f_trusted_chains_verify_everywhere(
    tmp_path: Path, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, anchor = certify(tmp_path, **LACKING[lacking])  # type: ignore[arg-type]
    monkeypatch.setenv("SSL_CERT_FILE", str(anchor))
    for context in (
        verifying_context(),
        verifying_context(anchor),
        of_the_command_line(anchor),
        of_the_command_line(None),
        of_the_command_line(None, system=True),
        Poster()._trust,
        PolicyFetcher(EgressSettings(relay_hostname="out.example.test"), resolver=None)._trust,  # type: ignore[arg-type]  # nothing is looked up
    ):
        assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
        await shake(server, context)


@pytest.mark.parametrize("lacking", LACKING)
async def test_kind_f_a_verified_route_reaches_such_a_host(
    tmp_path: Path, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, anchor = certify(tmp_path, **LACKING[lacking])  # type: ignore[arg-type]
    monkeypatch.setenv("SSL_CERT_FILE", str(anchor))
    script = {"EHLO": FULL.replace(b"CHUNKING", b"STARTTLS")}
    async with ScriptedSmtp(script, context=server) as host:
        connection = await connector().connect(remote(host.port, tls=Tls.VERIFIED, names=(NAME,)))
        assert connection.tls.endswith("verified")
        await connection.close()


@pytest.mark.parametrize(
    "bad",
    [{"days": -1}, {"name": "other.kind-f.test"}, {"bits": 1024}],
    ids=["expired", "wrong name", "RSA-1024"],
)
async def test_kind_f_what_was_refused_is_refused_still(
    tmp_path: Path, bad: dict[str, int | str]
) -> None:
    server, anchor = certify(tmp_path, **bad)  # type: ignore[arg-type]
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(server, verifying_context(anchor))
    script = {"EHLO": FULL.replace(b"CHUNKING", b"STARTTLS")}
    async with ScriptedSmtp(script, context=server) as host:
        with pytest.raises(Failed) as caught:
            trusting = connector(lambda: verifying_context(anchor))
            await trusting.connect(remote(host.port, tls=Tls.VERIFIED, names=(NAME,)))
    assert (caught.value.stage, caught.value.status) == ("tls", "4.7.5")


async def test_kind_f_an_unknown_authority_is_refused_still(tmp_path: Path) -> None:
    server, _ = certify(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(server, verifying_context())


async def put_and_read(port: int) -> None:
    """Use a bucket over TLS. Raises Unavailable."""
    url = f"s3://mail%3Amail:{S3Server.secret_key}@localhost:{port}/{new_id()}?region=us-east-1&tls=yes"
    async with open_blobs(BlobSettings(blobs=SecretStr(url))) as blobs:
        await blobs.put("bodies/a", [b"octets"])
        assert await blobs.read("bodies/a", 0, 6) == b"octets"


@pytest.mark.parametrize("lacking", LACKING)
async def test_kind_f_the_blob_store_may_have_a_private_authority(
    tmp_path: Path, lacking: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, anchor = certify(tmp_path, name="localhost", **LACKING[lacking])  # type: ignore[arg-type]
    async with tls_front(server, s3.port) as port:
        with pytest.raises(Unavailable):
            await put_and_read(port)
        monkeypatch.setenv("SSL_CERT_FILE", str(anchor))
        await put_and_read(port)


@pytest.mark.parametrize("lacking", LACKING)
async def test_kind_f_the_issuer_of_tokens_may_have_a_private_authority(
    tmp_path: Path, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, anchor = certify(tmp_path, name="localhost", **LACKING[lacking])  # type: ignore[arg-type]
    async with (
        running_issuer() as issuer,
        tls_front(server, urlsplit(issuer.url).port or 0) as port,
    ):
        issuer.url = f"https://localhost:{port}/realms/test"
        with pytest.raises(Unavailable):
            await IssuerKeys(issuer.url, fetch).find("first", "RS256")
        monkeypatch.setenv("SSL_CERT_FILE", str(anchor))
        assert await IssuerKeys(issuer.url, fetch).find("first", "RS256") is not None


class TlsNats(Nats):
    """A NATS server that demands TLS."""

    def __init__(self, directory: Path, certificate: Path) -> None:
        super().__init__(directory, durable=False)
        self._certificate = str(certificate)

    def _spawn(self, command: Sequence[str], *more: Any) -> None:
        files = ["--tls", "--tlscert", self._certificate, "--tlskey", self._certificate]
        super()._spawn([*command, *files], *more)

    @property
    def settings(self) -> NatsSettings:
        url = self.url.replace("nats://", "tls://").replace("127.0.0.1", "localhost")
        return NatsSettings(nats_url=SecretStr(url))


@pytest.fixture
def tls_nats(tmp_path: Path) -> Iterator[TlsNats]:
    server = TlsNats(tmp_path / "nats", tmp_path / "server.pem")
    yield server
    server.stop(kill=True)


@pytest.mark.parametrize("lacking", LACKING)
async def test_kind_f_nats_may_have_a_private_authority(
    tmp_path: Path, tls_nats: TlsNats, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, anchor = certify(tmp_path, name="localhost", **LACKING[lacking])  # type: ignore[arg-type]
    tls_nats.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(anchor))
    async with connect(tls_nats.settings, "test") as connection:
        assert (await connection.jetstream.account_info()).streams > 0


async def test_kind_f_nats_of_an_unknown_authority_is_refused_still(
    tmp_path: Path, tls_nats: TlsNats
) -> None:
    certify(tmp_path, name="localhost")
    tls_nats.start()
    with capture_logs() as logs:
        opening = asyncio.create_task(Connection(tls_nats.settings, "test").open())
        try:

            async def refused() -> bool:
                return "CERTIFICATE_VERIFY_FAILED" in str(logs)

            await until(refused, what="the refusal of the certificate")
            assert not opening.done()
        finally:
            opening.cancel()
