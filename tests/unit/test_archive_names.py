"""Names in archives, of each kind, damaged and made to cost."""

from __future__ import annotations

import gzip
import io
import zipfile
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.spam.archive_names import READ_BYTES, archive_names, is_archive
from posthorn.wire.spam.facts import BUDGET_SECONDS, read_facts
from posthorn.wire.spam.rule import Case
from posthorn.wire.spam.scorer import score
from tests.support import archives
from tests.support.cpu_cost import cost
from tests.support.spam import message, with_file, zipped

PLAIN = {
    "zip": zipped("readme.txt", "sub/run.JS"),
    "rar4": archives.rar4(),
    "rar5": archives.rar5(),
    "7z": archives.SEVEN_ZIP,
    "tar": archives.tar(),
    "tar.gz": archives.tar("gz"),
    "tar.xz": archives.tar("xz"),
    "cab": archives.CABINET,
}
ENCRYPTED = {
    "zip": zipped("readme.txt", encrypted=True),
    "rar4": archives.rar4(encrypted=True),
    "rar5": archives.rar5(encrypted=True),
    "7z": archives.SEVEN_ZIP_ENCRYPTED,
}
HIDDEN = {
    "rar4": archives.rar4(hidden=True),
    "rar5": archives.rar5(hidden=True),
    "7z": archives.SEVEN_ZIP_HIDDEN,
}


def rules(name: str, content: bytes) -> set[str]:
    return {match.name for match in score(Case(read_facts(with_file(name, content))))}


@pytest.mark.parametrize("kind", PLAIN)
def test_names_are_read_whatever_the_archive_calls_itself(kind: str) -> None:
    content = PLAIN[kind]
    found = archive_names(content, content)
    assert sorted(found.names) == sorted(archives.NAMES)
    assert not found.is_encrypted
    assert "FILE_RUNS_IN_ARCHIVE" in rules("minutes.dat", content)


@pytest.mark.parametrize("kind", ENCRYPTED)
def test_an_encrypted_file_is_told_and_its_name_is_read(kind: str) -> None:
    found = archive_names(ENCRYPTED[kind], ENCRYPTED[kind])
    assert found.is_encrypted
    assert found.names[0] == "readme.txt"
    assert "ARCHIVE_ENCRYPTED" in rules("minutes.dat", ENCRYPTED[kind])


@pytest.mark.parametrize("kind", HIDDEN)
def test_an_archive_that_hides_its_names_is_encrypted(kind: str) -> None:
    found = archive_names(HIDDEN[kind], HIDDEN[kind])
    assert (found.names, found.is_encrypted) == ((), True)


def test_a_file_packed_with_gzip_has_the_name_within() -> None:
    file = io.BytesIO()
    with gzip.GzipFile("invoice.pdf.exe", "wb", fileobj=file) as packed:
        packed.write(b"MZ")
    assert {"FILE_RUNS_IN_ARCHIVE", "FILE_DISGUISED"} <= rules("invoice.gz", file.getvalue())
    assert archive_names(gzip.compress(b"x"), b"").names == ()


def test_a_zip_is_read_from_either_end() -> None:
    names = [f"file {place}.txt" for place in range(40)]
    archive = zipped(*names, "\u00e4.exe")
    assert archive_names(archive, archive).names[:2] == tuple(names[:2])
    assert set(archive_names(archive, archive[-READ_BYTES:]).names) == {*names, "\u00e4.exe"}
    assert archive_names(archive[: len(archive) // 3], b"").names, "local headers alone"
    assert archive_names(archive[:4], archive).names, "the central directory alone"
    large = io.BytesIO()
    with zipfile.ZipFile(large, "w") as made:
        made.writestr("big.bin", bytes(3 * READ_BYTES))
        made.writestr("last.exe", b"x")
    (file,) = read_facts(with_file("x.bin", large.getvalue())).files
    assert file.archive is not None and file.archive.names == ("big.bin", "last.exe")


ANY = (*PLAIN.values(), *ENCRYPTED.values(), *HIDDEN.values())


@given(st.sampled_from(ANY), st.binary(max_size=400), st.binary(max_size=400))
def test_any_bytes_behind_a_signature(archive: bytes, head: bytes, tail: bytes) -> None:
    archive_names(archive[:8] + head, tail)
    archive_names(archive[:40] + head, archive[:40] + tail)


@given(st.sampled_from(ANY), st.data())
def test_an_archive_cut_or_changed_anywhere(archive: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(archive)))
    archive_names(archive, archive[cut:])
    archive_names(archive[:cut], archive[:cut])
    changed = bytearray(archive)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    found = archive_names(bytes(changed), bytes(changed))
    assert all(each and "/" not in each and len(each) <= 500 for each in found.names)


def test_what_unpacks_to_much_and_a_run_of_headers_cost_little() -> None:
    seven = archives.SEVEN_ZIP[:32] + b"a\0.\0" * 16_000
    bad = {
        "bomb": archives.bomb(),
        "gzip": gzip.compress(bytes(50_000_000)),
        "7z": seven[:12] + bytes(8) + (len(seven) - 32).to_bytes(8, "little") + seven[28:],
        "7z names": archives.SEVEN_ZIP[:12]
        + bytes(8)
        + (60_001).to_bytes(8, "little")
        + bytes(4)
        + b"\x01"
        + b"a\0\0\0" * 15_000,
        "rar4": archives.rar4()[:7] + bytes(60_000),
        "rar5": archives.rar5()[:8] + b"\0\0\0\0\x02\x02\0" * 9000,
    }
    for content in bad.values():
        assert is_archive(content[:1024])
        part = with_file("x.bin", content).partition(b"--x\r\nContent-Type")
        many = message("", {"Content-Type": "multipart/mixed; boundary=x"})
        many += (b"--x\r\nContent-Type" + part[2].removesuffix(b"--x--\r\n")) * 100
        limit = 3 * BUDGET_SECONDS
        assert cost(partial(read_facts, many), limit) < limit
