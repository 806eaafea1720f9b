"""Which system a command talks to, and that its key stays where it belongs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_cli import contexts
from posthorn_cli.client import ApiError, Unreachable
from posthorn_cli.contexts import Config, Context
from posthorn_cli.faults import (
    CONFLICT,
    NOT_FOUND,
    REFUSED,
    UNAVAILABLE,
    USAGE,
    CommandError,
    exit_code,
)
from posthorn_cli.settings import Settings, from_environment


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("ph_from_file\n")
    path.chmod(0o600)
    return path


def settings(tmp_path: Path, **environment: str) -> Settings:
    return from_environment(
        {"HOME": str(tmp_path), "POSTHORN_HOME": str(tmp_path / "local"), **environment}
    )


def local_mode(tmp_path: Path, mode: int = 0o600) -> None:
    (tmp_path / "local").mkdir()
    key = tmp_path / "local" / "admin.key"
    key.write_text("ph_local\n")
    key.chmod(mode)


def saved(tmp_path: Path, config: Config) -> Path:
    path = tmp_path / ".config/posthorn/config.toml"
    contexts.save(path, config)
    return path


def test_the_file_is_for_its_owner_alone_and_reads_back(tmp_path: Path) -> None:
    config = Config(
        {
            "work": Context("https://mail.example.org", "ph_\"'\\\n\t§", None, Path("/etc/ca.pem")),
            "a.b": Context("http://127.0.0.1:1", "", Path("/run/key")),
        },
        "work",
    )
    mask = os.umask(0)
    try:
        path = saved(tmp_path, config)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert contexts.load(path) == config
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_any_text_survives_the_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    contexts.save(path, Config({"c": Context(text, text)}, text))
    assert contexts.load(path) == Config({"c": Context(text, text)}, text)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o640])
def test_a_configuration_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = saved(tmp_path, Config())
    path.chmod(mode)
    with pytest.raises(CommandError, match="chmod 600") as caught:
        contexts.load(path)
    assert caught.value.code == REFUSED


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o604, 0o644, 0o664, 0o666, 0o777])
def test_a_mounted_key_file_is_read_whatever_its_mode(
    tmp_path: Path, key_file: Path, mode: int
) -> None:
    key_file.chmod(mode)
    direct = settings(
        tmp_path, POSTHORN_URL="https://mail.example.org", POSTHORN_API_KEY_FILE=str(key_file)
    )
    assert contexts.choose(None, direct).secret() == "ph_from_file"
    saved(tmp_path, Config({"kept": Context("https://mail.example.org", "", key_file)}, "kept"))
    kept = contexts.choose(None, settings(tmp_path))
    assert kept.secret() == "ph_from_file"
    warning = kept.warning()
    if mode & 0o007 and os.access(key_file, os.W_OK):
        assert warning is not None
        assert f"{mode:04o}" in warning
    else:
        assert warning is None


def test_a_key_file_may_be_a_link_as_kubernetes_makes_them(tmp_path: Path) -> None:
    (tmp_path / "..2026_11_23").mkdir()
    (tmp_path / "..2026_11_23/key").write_text("ph_mounted")
    (tmp_path / "..2026_11_23/key").chmod(0o644)
    (tmp_path / "..data").symlink_to("..2026_11_23")
    (tmp_path / "key").symlink_to("..data/key")
    assert contexts.read_key(tmp_path / "key") == "ph_mounted"


def test_nothing_is_said_of_a_file_that_belongs_to_another(
    tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file.chmod(0o444)
    monkeypatch.setattr(os, "geteuid", lambda: key_file.stat().st_uid + 1)
    assert Context("https://mail.example.org", "", key_file).warning() is None
    assert Context("https://mail.example.org", "", tmp_path / "none").warning() is None


def test_a_key_file_that_was_written_here_must_be_closed(key_file: Path) -> None:
    key_file.chmod(0o604)
    with pytest.raises(CommandError, match="everyone"):
        contexts.read_key(key_file, is_written_here=True)


@pytest.mark.parametrize("text", ["", "\n", "\xff"])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(CommandError):
        contexts.read_key(path)


def test_the_order_of_precedence(tmp_path: Path, key_file: Path) -> None:
    local_mode(tmp_path)
    bare = settings(tmp_path)
    assert contexts.choose(None, bare).secret() == "ph_local"
    saved(
        tmp_path,
        Config(
            {
                "one": Context("https://one.example", "1"),
                "two": Context("https://two.example", "2"),
            },
            "one",
        ),
    )
    assert contexts.choose(None, bare).secret() == "1"
    named = settings(tmp_path, POSTHORN_CONTEXT="two")
    assert contexts.choose(None, named).secret() == "2"
    told = settings(
        tmp_path,
        POSTHORN_CONTEXT="two",
        POSTHORN_URL="https://three.example",
        POSTHORN_API_KEY_FILE=str(key_file),
    )
    assert contexts.choose(None, told).url == "https://three.example"
    assert contexts.choose(None, told).secret() == "ph_from_file"
    assert contexts.choose("one", told).secret() == "1"
    assert contexts.choose("local", told).secret() == "ph_local"
    with pytest.raises(CommandError, match="no context 'four'"):
        contexts.choose("four", told)


@pytest.mark.parametrize(
    "url",
    ["https://elsewhere.example", "http://127.0.0.1:8081", "http://127.0.0.1:8080.evil.example"],
)
def test_no_other_url_gets_a_key_that_was_not_given_for_it(tmp_path: Path, url: str) -> None:
    local_mode(tmp_path)
    saved(tmp_path, Config({"one": Context("https://one.example", "1")}, "one"))
    with pytest.raises(CommandError) as caught:
        contexts.choose(None, settings(tmp_path, POSTHORN_URL=url))
    assert caught.value.code == REFUSED
    assert (
        contexts.choose(None, settings(tmp_path, POSTHORN_URL="http://127.0.0.1:8080/")).secret()
        == "ph_local"
    )


def test_local_mode_is_found_at_its_own_port(tmp_path: Path) -> None:
    local_mode(tmp_path)
    assert (
        contexts.choose(None, settings(tmp_path, POSTHORN_API_PORT="9999")).url
        == "http://127.0.0.1:9999"
    )
    with pytest.raises(CommandError, match="everyone"):
        (tmp_path / "local/admin.key").chmod(0o644)
        contexts.choose(None, settings(tmp_path)).secret()


def test_nothing_at_all_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="posthorn context add") as caught:
        contexts.choose(None, settings(tmp_path))
    assert caught.value.code == USAGE


@pytest.mark.parametrize("text", ["[", "contexts = 3\ncurrent = 4", "[contexts.x]\nkey = 'k'"])
def test_a_file_that_makes_no_sense_is_told_or_passed_over(tmp_path: Path, text: str) -> None:
    path = saved(tmp_path, Config())
    path.write_text(text)
    try:
        assert contexts.load(path) == Config()
    except CommandError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("name", ["local", "", "a b", "../x", "-x", "x" * 65])
def test_names_that_contexts_cannot_have(name: str) -> None:
    with pytest.raises(CommandError):
        contexts.check_name(name)


def test_a_context_shows_no_key() -> None:
    assert "secret" not in repr(Context("https://mail.example.org", "secret"))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 1),
        (401, 4),
        (403, 4),
        (404, 3),
        (409, 6),
        (412, 6),
        (422, 1),
        (429, 5),
        (500, 1),
        (503, 5),
    ],
)
def test_exit_codes(status: int, code: int) -> None:
    assert exit_code(ApiError(status, "", "", "")) == code
    assert (REFUSED, NOT_FOUND, CONFLICT, UNAVAILABLE) == (4, 3, 6, 5)
    assert exit_code(Unreachable("")) == UNAVAILABLE
