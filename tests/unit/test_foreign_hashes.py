"""Password hashes of other programs: real ones verify, and what a login could not bear is refused
when it is set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from posthorn.runtime.foreign_hashes import read_foreign_hash
from posthorn.runtime.passwords import Passwords, check_hash, is_foreign

PASSWORD = "correct horse"
SHA512 = "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/"
SHA256 = "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC"
BCRYPT = "$2y$05$mMKoQILqWImB4apBUo1Pr.cG.8FbphDqU5zfXUbeNtfa9HM7Zrkoq"
ARGON2ID = "$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"

# made by `doveadm pw`, `openssl passwd`, libxcrypt, passlib and Django's formula
KNOWN = [
    ("sha512-crypt", SHA512),
    ("sha512-crypt", "{SHA512-CRYPT}" + SHA512),
    (
        "sha512-crypt",
        "{sha512-crypt}$6$.yRaX3CCpyi30FXI$IIElI/blbEfsaovw/3rrRgmMWQyZp3ItZFCbvJ4HDFj6yxoXATmWjB1.ksusGLtPbTmv3WY4wDGPDW3lwforW0",
    ),
    (
        "sha512-crypt",
        "{CRYPT}$6$rounds=1000$saltstring$YiR6NSM0LQXmu7vAhkMXfkdYk7qtFouVx1Mdr3HmzXspT8kONjlpU3CsV7ezCB62uXJoAdaagsH4ck7/tB9js.",
    ),
    ("sha256-crypt", "{SHA256-CRYPT}" + SHA256),
    ("bcrypt", "{BLF-CRYPT}" + BCRYPT),
    ("bcrypt", BCRYPT.replace("$2y$", "$2a$")),
    ("bcrypt", "{CRYPT}$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"),
    (
        "bcrypt-sha256",
        "$bcrypt-sha256$v=2,t=2b,r=5$6nLn55Mhycvx5Pni4ezBre$BrpLMTddSVsbMm8a6HWGWzOGQDc8hq2",
    ),
    ("bcrypt-sha256", "$bcrypt-sha256$2b,5$RMKMzUCf4niyzilEK5xq3e$N3Zu9feT.FUr2ZpQuj8NR.DNam..Oiy"),
    ("ssha", "{SSHA}zkw8BXTwcSwL+6Rym/M5XRXJJef+DfTz"),
    ("ssha256", "{SSHA256}aDz5TF9zfS3Mkl3iyVsi721860MSGD9wUPlnyp9z/xhicjTH"),
    (
        "ssha512",
        "{SSHA512}Fv7dbmuZq3nw8XjJSdCRFUv6jZvRnaVNx0dqSKC8EP9+9LABbH569peKHeb8R+0YyLRvstk5D749mCroEAKpC8lFY3A=",
    ),
    (
        "ssha512",
        "{SSHA512.HEX}05ebefa54e05758b37bc12ca9760519ce3e510fae642edf14fad89a66b549bf0b5771c48a41fe26eba4b316c0b8e356b356dea5550931a7c0d080c185bc9390f7a2ce025",
    ),
    (
        "pbkdf2-sha1",
        "{PBKDF2}$1$TEXFzPmury/AtVs/$5000$1e2b88395217a0d3776cfb94013d14d3d3824b68",
    ),
    (
        "pbkdf2-sha256",
        "pbkdf2_sha256$1000$saltsalt12345$fAA0A0T9GDNWWYbkWRjvto4vjBZMndBQo7vQHz7VGh8=",
    ),
]
WEAK = [
    ("plain-md5", "{PLAIN-MD5}3cb4e732631f47e6eb961f34554b7cde"),
    ("sha256", "{SHA256.HEX}4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631"),
    ("md5-crypt", "{MD5-CRYPT}$1$saltstri$CVtlMpOHug1.jDUbVpFvB1"),
]


@pytest.mark.parametrize(("scheme", "stored"), [*KNOWN, *WEAK])
def test_a_hash_verifies_its_password_and_no_other(scheme: str, stored: str) -> None:
    found = read_foreign_hash(stored)
    assert found.scheme == scheme
    assert found.matches(PASSWORD.encode())
    for wrong in (b"", b"correct hors", b"correct horse\0", b"\xff" * 80, b"x" * 5000):
        assert not found.matches(wrong)
    assert is_foreign(stored)


@pytest.mark.parametrize("stored", [stored for _, stored in KNOWN])
def test_it_is_stored_as_it_is(stored: str) -> None:
    assert check_hash(stored) == stored


@pytest.mark.parametrize("stored", [stored for _, stored in WEAK])
def test_hashes_that_hide_nothing_need_leave(stored: str) -> None:
    with pytest.raises(ValueError, match="MD5"):
        check_hash(stored)
    assert check_hash(stored, allow_weak=True) == stored


def test_argon2id_of_dovecot_is_stored_without_its_prefix() -> None:
    for prefix in ("", "{ARGON2ID}", "{crypt}"):
        assert check_hash(prefix + ARGON2ID) == ARGON2ID
    assert not is_foreign(ARGON2ID)


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (SHA512.replace("$6$", "$6$rounds=2147483647$"), "rounds of SHA-crypt must be"),
        (SHA256.replace("$5$", "$5$rounds=1000001$"), "rounds of SHA-crypt must be"),
        (BCRYPT.replace("$05$", "$31$"), "cost of bcrypt must be 4 to 14"),
        (
            "$bcrypt-sha256$v=2,t=2b,r=15$6nLn55Mhycvx5Pni4ezBre$BrpLMTddSVsbMm8a6HWGWzOGQDc8hq2",
            "cost of bcrypt",
        ),
        (
            "pbkdf2_sha256$2147483648$saltsalt12345$fAA0A0T9GDNWWYbkWRjvto4vjBZMndBQo7vQHz7VGh8=",
            "iterations of PBKDF2",
        ),
        (
            "{PBKDF2}$1$TEXFzPmury/AtVs/$9999999999$1e2b88395217a0d3776cfb94013d14d3d3824b68",
            "iterations of PBKDF2",
        ),
        (
            "pbkdf2_sha256$1000$saltsalt12345$fAA0A0T9GDNWWYbkWRjvto4vjBZMndBQo7vQHz7VGg",
            "not as long as its digest",
        ),
        ("{SSHA}zkw8BXTwcSwL+6Rym/M5XRXJJec=", "no hash of the scheme {SSHA}"),
        ("{SSHA}zkw8BXTwcSwL", "no hash of the scheme {SSHA}"),
        ("{SSHA}!", "base64"),
        ("{SSHA256.HEX}xy", "hexadecimal"),
        ("{PLAIN}secret", "{PLAIN}"),
        ("{CLEARTEXT}secret", "{CLEARTEXT}"),
        ("{CRAM-MD5}a48f65f2a4d1ad6fb1a6a5c0f2ec0a7d", "{CRAM-MD5}"),
        ("{BLF-CRYPT}" + SHA512, "known scheme"),
        ("secret", "known scheme"),
        ("", "known scheme"),
        ("$6$" + "x" * 600, "known scheme"),
        (SHA512 + "\n", "known scheme"),
        ("$argon2i$v=19$m=8192,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA", "argon2id"),
    ],
)
def test_what_is_no_hash_or_too_dear_is_refused(stored: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_hash(stored, allow_weak=True)


@given(st.text(max_size=200) | st.from_regex(r"\A(\{[A-Z]{1,9}\}|\$\w{1,3}\$)[\x21-\x7e]{0,80}\Z"))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        assert not read_foreign_hash(text).matches(b"\0\xff") or text.startswith("{")
    except ValueError as error:
        assert str(error)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_logins_are_counted_by_scheme_and_a_wrong_password_costs_a_decoy_besides(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoys: list[str | None] = []
    verify = passwords._verify

    def noted(stored: str | None, password: str) -> bool:
        decoys.append(stored)
        return verify(stored, password)

    monkeypatch.setattr(passwords, "_verify", noted)

    def counted(outcome: str) -> float:
        labels = {"scheme": "ssha", "outcome": outcome}
        name = "posthorn_foreign_password_verifications_total"
        return REGISTRY.get_sample_value(name, labels) or 0.0

    right, wrong = counted("right"), counted("wrong")
    stored = dict(KNOWN)["ssha"]
    assert not await passwords.verify(stored, "wrong")
    assert decoys == [None]
    assert await passwords.verify(stored, PASSWORD)
    assert decoys == [None], "who is right does not wait for it"
    assert (counted("right"), counted("wrong")) == (right + 1, wrong + 1)
