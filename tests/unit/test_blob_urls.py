"""POSTHORN_BLOBS: every form people write, and refusals that help without showing the secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from posthorn.adapters.blobs.config import blob_target, open_blobs
from posthorn.adapters.blobs.targets import FileTarget, S3Target
from posthorn.ports.errors import Unavailable
from posthorn.runtime.env_settings import SettingsError
from posthorn.runtime.settings import BlobSettings

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY="


def _read(url: str, **others: object) -> FileTarget | S3Target:
    return blob_target(BlobSettings(blobs=SecretStr(url), **others))  # type: ignore[arg-type]


def _s3(url: str, **others: object) -> S3Target:
    target = _read(url, **others)
    assert isinstance(target, S3Target)
    return target


def _login(target: S3Target) -> tuple[str | None, str | None]:
    return target.access_key, target.secret_key.get_secret_value() if target.secret_key else None


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("file:///var/lib/posthorn", "/var/lib/posthorn"),
        ("file:///with%20space/", "/with space"),
        ("file://localhost/srv/mail", "/srv/mail"),
    ],
)
def test_a_directory(url: str, root: str) -> None:
    assert _read(url) == FileTarget(Path(root))


@pytest.mark.parametrize(
    ("url", "endpoint", "bucket", "prefix", "tls"),
    [
        ("s3://k:s@minio.example.com/mail", "minio.example.com", "mail", "", True),
        ("s3://k:s@minio:9000/mail", "minio:9000", "mail", "", True),
        ("s3://k:s@minio:9000/mail?tls=no", "minio:9000", "mail", "", False),
        ("s3://k:s@127.0.0.1:8080/mail", "127.0.0.1:8080", "mail", "", False),
        ("s3://k:s@127.0.0.1:8080/mail?tls=yes", "127.0.0.1:8080", "mail", "", True),
        ("s3://k:s@localhost/mail/", "localhost", "mail", "", False),
        ("s3://k:s@[::1]:9000/mail", "[::1]:9000", "mail", "", False),
        ("s3://k:s@[2001:db8::1]/mail", "[2001:db8::1]", "mail", "", True),
        ("s3://k:s@s3.eu-central-1.amazonaws.com/my.bucket/a/b/", "s3.eu-central-1.amazonaws.com", "my.bucket", "a/b", True),
        ("s3://k:s@mail", "s3.amazonaws.com", "mail", "", True),
        ("s3://k:s@mail/one/two?region=eu-central-1", "s3.amazonaws.com", "mail", "one/two", True),
        ("s3://mail", "s3.amazonaws.com", "mail", "", True),
        ("s3://minio:9000/mail", "minio:9000", "mail", "", True),
    ],
)  # fmt: skip
def test_a_bucket(url: str, endpoint: str, bucket: str, prefix: str, tls: bool) -> None:
    target = _s3(url)
    assert (target.endpoint, target.bucket, target.prefix, target.tls) == (
        endpoint,
        bucket,
        prefix,
        tls,
    )


@pytest.mark.parametrize(
    ("login", "key", "secret"),
    [
        ("mail%3Amail:testing", "mail:mail", "testing"),
        ("mail:mail:testing", "mail:mail", "testing"),
        (f"AKIAIOSFODNN7EXAMPLE:{SECRET}", "AKIAIOSFODNN7EXAMPLE", SECRET),
        ("key:with%3Acolon%40and%25", "key", "with:colon@and%"),
        ("key:with@sign", "key", "with@sign"),
        ("key:what?ever", "key", "what?ever"),
    ],
)
def test_key_and_secret(login: str, key: str, secret: str) -> None:
    assert _login(_s3(f"s3://{login}@127.0.0.1:8080/mail?region=us-east-1")) == (key, secret)


def test_region_from_the_url_before_the_setting() -> None:
    assert _s3("s3://mail?region=eu-west-1", s3_region="us-east-2").region == "eu-west-1"
    assert _s3("s3://mail", s3_region="us-east-2").region == "us-east-2"
    assert _s3("s3://mail").region is None


def test_login_from_the_settings_unless_the_url_has_one() -> None:
    settings = {"s3_access_key": "key", "s3_secret_key": SecretStr("secret")}
    assert _login(_s3("s3://mail", **settings)) == ("key", "secret")
    assert _login(_s3("s3://k:s@mail", **settings)) == ("k", "s")
    assert _login(_s3("s3://mail")) == (None, None)


@pytest.mark.parametrize(
    ("endpoint", "host", "tls"),
    [
        ("http://minio:9000", "minio:9000", False),
        ("https://minio:9000/", "minio:9000", True),
        ("minio", "minio", True),
        ("localhost:9000", "localhost:9000", False),
    ],
)
def test_with_an_endpoint_set_the_url_names_the_bucket(endpoint: str, host: str, tls: bool) -> None:
    target = _s3("s3://mail/prefix", s3_endpoint=endpoint)
    assert (target.endpoint, target.bucket, target.prefix, target.tls) == (
        host,
        "mail",
        "prefix",
        tls,
    )


@pytest.mark.parametrize(
    "url",
    [
        "file://relative/path",
        "file:///a/../b",
        "file:///data?x=1",
        "s3://",
        f"s3://k:{SECRET}@",
        f"s3://k:{SECRET}@minio:9000",
        f"s3://k:{SECRET}@minio:9000/",
        f"s3://k:{SECRET}@minio:9000/UPPER",
        f"s3://k:{SECRET}@minio:9000/a",
        f"s3://k:{SECRET}@minio:9000/a..b",
        f"s3://k:{SECRET}@minio:0/mail",
        f"s3://k:{SECRET}@minio:99999/mail",
        f"s3://k:{SECRET}@minio:port/mail",
        f"s3://k:{SECRET}@mi nio.x/mail",
        f"s3://k:{SECRET}@minio:9000/mail/../other",
        f"s3://k:{SECRET}@minio:9000/mail?tls=maybe",
        f"s3://k:{SECRET}@minio:9000/mail?secure=yes",
        f"s3://k:{SECRET}@minio:9000/mail?region=a%20b",
        f"s3://:{SECRET}@minio:9000/mail",
        f"s3://{SECRET}@minio:9000/mail",
        "s3://k:@minio:9000/mail",
        f"s3://k:{SECRET}/minio:9000/mail",
    ],
)
def test_a_wrong_url_is_refused_by_name_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        _read(url)
    text = str(refused.value)
    assert text.startswith("refusing to start:\n  POSTHORN_BLOBS: ")
    assert SECRET not in text
    assert SECRET[:12] not in text
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "settings", "named"),
    [
        ("s3://mail", {"s3_endpoint": "ftp://minio"}, "POSTHORN_S3_ENDPOINT"),
        ("s3://mail", {"s3_endpoint": "http://minio/path"}, "POSTHORN_S3_ENDPOINT"),
        ("s3://mail", {"s3_endpoint": ""}, "POSTHORN_S3_ENDPOINT"),
        ("s3://minio:9000/mail", {"s3_endpoint": "minio:9000"}, "POSTHORN_S3_ENDPOINT"),
        ("s3://mail", {"s3_access_key": "key"}, "POSTHORN_S3_SECRET_KEY"),
        ("s3://mail", {"s3_secret_key": SecretStr("secret")}, "POSTHORN_S3_ACCESS_KEY"),
    ],
)
def test_settings_that_contradict_are_refused_by_name(
    url: str, settings: dict[str, object], named: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        _read(url, **settings)
    assert named in str(refused.value)


async def test_a_host_that_aws_does_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="POSTHORN_BLOBS"):
        async with open_blobs(BlobSettings(blobs=SecretStr("s3://k:s@wrong.amazonaws.com/mail"))):
            pass


async def test_a_directory_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match="POSTHORN_BLOBS: cannot use the directory"):
        async with open_blobs(BlobSettings(blobs=SecretStr(f"file://{tmp_path}/file/blobs"))):
            pass


async def test_without_any_credentials_calls_are_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/none")
    async with open_blobs(BlobSettings(blobs=SecretStr("s3://127.0.0.1:1/mail"))) as blobs:
        with pytest.raises(Unavailable, match="credentials"):
            await blobs.read("segments/x", 0, 1)


async def test_the_environment_of_the_pod_gives_the_credentials(
    monkeypatch: pytest.MonkeyPatch, s3_url: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mail:mail")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    bare = "s3://" + s3_url.rpartition("@")[2]
    async with open_blobs(BlobSettings(blobs=SecretStr(bare))) as blobs:
        await blobs.put("segments/x", [b"x"])
        assert await blobs.read("segments/x", 0, 1) == b"x"


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for scheme in ("s3://", "s3://key:secret@", "file://"):
        try:
            _read(scheme + text)
        except SettingsError as refused:
            assert "POSTHORN_BLOBS" in str(refused)
