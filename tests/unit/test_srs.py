"""Sender rewriting: what goes out comes back, through any number of forwarders; nothing else
does."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.address import AddressError, parse_address
from posthorn.wire.srs import (
    VALID_DAYS,
    SrsError,
    is_long,
    is_srs,
    long_token,
    reverse,
    rewrite,
    rewrite_long,
    tag_of,
    token_of,
    verify,
)

KEY, OTHER = b"k" * 32, b"o" * 32
TODAY = 20_600


def local_of(address: str) -> str:
    return address.rpartition("@")[0]


def test_an_address_is_rewritten_at_the_domain_and_comes_back() -> None:
    out = rewrite("Alice@Example.org", "ours.test", KEY, TODAY)
    assert re.fullmatch(r"SRS0=[a-z2-7]{8}=[A-Z2-7]{2}=Example\.org=Alice@ours\.test", out)
    assert reverse(local_of(out), [KEY], TODAY) == "Alice@example.org"


def test_each_message_has_an_address_of_its_own_where_there_is_room() -> None:
    one, other = (tag_of(bytes([number]) * 16) for number in (1, 2))
    out = rewrite("alice@example.org", "ours.test", KEY, TODAY, one)
    assert re.fullmatch(r"SRS0=[a-z2-7]{8}=[A-Z2-7]{6}=example\.org=alice@ours\.test", out)
    assert out != rewrite("alice@example.org", "ours.test", KEY, TODAY, other)
    assert reverse(local_of(out).lower(), [KEY], TODAY) == "alice@example.org"
    with pytest.raises(SrsError):
        reverse(local_of(out).replace(one, other), [KEY], TODAY)
    with pytest.raises(SrsError):
        reverse(local_of(out), [KEY], TODAY + VALID_DAYS + 1)
    full = "a" * 34 + "@example.org"
    assert rewrite(full, "ours.test", KEY, TODAY, one) == rewrite(full, "ours.test", KEY, TODAY)


def test_it_comes_back_after_its_case_was_folded() -> None:
    out = rewrite("Alice@example.org", "ours.test", KEY, TODAY)
    assert reverse(local_of(out).lower(), [KEY], TODAY) == "alice@example.org"
    assert reverse(local_of(out).upper(), [KEY], TODAY) == "ALICE@example.org"


def test_the_null_reverse_path_stays() -> None:
    assert rewrite("", "ours.test", KEY, TODAY) == ""


def test_the_local_part_may_hold_equals_signs_and_quotes() -> None:
    for sender in (
        "a=b=c@example.org",
        '"two words"@example.org',
        r'"quo\"te"@example.org',
        "a@[192.0.2.1]",
    ):
        out = rewrite(sender, "ours.test", KEY, TODAY)
        assert reverse(local_of(out), [KEY], TODAY) == sender
        # unquoted, as wire.address keeps it
        assert reverse(parse_address(out).local, [KEY], TODAY) == sender


def test_a_chain_of_forwarders_grows_no_further_than_two_and_unwinds_to_the_first() -> None:
    first = rewrite("alice@example.org", "one.test", OTHER, TODAY)
    second = rewrite(first, "two.test", KEY, TODAY)
    third = rewrite(second, "three.test", KEY, TODAY)
    assert second.startswith("SRS1=") and third.startswith("SRS1=")
    assert len(local_of(third)) == len(local_of(second))
    for back in (second, third):
        assert reverse(local_of(back).lower(), [KEY], TODAY) == first.lower().replace(
            "srs0", "SRS0"
        )
    assert reverse(local_of(first), [OTHER], TODAY) == "alice@example.org"


@pytest.mark.parametrize("separator", ["=", "+", "-"])
def test_an_srs0_address_with_any_separator_is_taken_for_one(separator: str) -> None:
    sender = f"SRS0{separator}AbCd=XY=example.org=alice@forwarder.test"
    out = rewrite(sender, "ours.test", KEY, TODAY)
    assert out.startswith("SRS1=")
    assert reverse(local_of(out), [KEY], TODAY) == sender


def test_an_address_expires_after_three_weeks_and_a_clock_may_be_a_little_ahead() -> None:
    local = local_of(rewrite("alice@example.org", "ours.test", KEY, TODAY))
    for day in (TODAY - 1, TODAY, TODAY + VALID_DAYS):
        assert reverse(local, [KEY], day) == "alice@example.org"
    for day in (TODAY - 2, TODAY + VALID_DAYS + 1, TODAY + 500, TODAY + 1000):
        with pytest.raises(SrsError, match="expired"):
            reverse(local, [KEY], day)


def test_every_day_of_the_cycle_is_told_apart() -> None:
    locals_ = {local_of(rewrite("a@b.test", "ours.test", KEY, day)) for day in range(1024)}
    assert len(locals_) == 1024


def test_an_old_key_still_opens_and_a_strange_one_does_not() -> None:
    local = local_of(rewrite("alice@example.org", "ours.test", KEY, TODAY))
    assert reverse(local, [OTHER, KEY], TODAY) == "alice@example.org"
    for keys in ([OTHER], []):
        with pytest.raises(SrsError, match="does not verify"):
            reverse(local, keys, TODAY)


def test_no_character_can_be_changed() -> None:
    for sender in ("alice@example.org", "SRS0=abcd=AB=x.test=bob@forwarder.test"):
        local = local_of(rewrite(sender, "ours.test", KEY, TODAY))
        for place in range(5, len(local)):
            for other in "Qx7=":
                changed = local[:place] + other + local[place + 1 :]
                if changed.lower() != local.lower():
                    with pytest.raises(SrsError):
                        reverse(changed, [KEY], TODAY)


def test_what_does_not_fit_is_refused() -> None:
    longest = "a" * (64 - len("SRS0=hhhhhhhh=DD=example.org="))
    assert len(local_of(rewrite(f"{longest}@example.org", "ours.test", KEY, TODAY))) == 64
    for sender in (
        f"{longest}a@example.org",
        f"{longest[:-1]}ä@example.org",
        "nodomain",
        "@example.org",
        "local@",
    ):
        with pytest.raises(SrsError):
            rewrite(sender, "ours.test", KEY, TODAY)


@pytest.mark.parametrize(
    "local",
    [
        *(
            "",
            "alice",
            "SRS0",
            "SRS0=",
            "SRS0====",
            "SRS1=",
            "SRS1====",
            "SRS0=aaaaaaaa=AA=x.test=",
            '"',
            '""',
        ),
        *(
            "SRS0=aaaaaaaa=A1=x.test=bob",
            "SRS0+aaaaaaaa=AA=x.test=bob",
            "SRS1=aaaaaaaa=x.test==",
            "SRS2=aaaaaaaa=AA=x=y",
        ),
    ],
)
def test_what_is_none_is_refused(local: str) -> None:
    with pytest.raises(SrsError):
        reverse(local, [KEY], TODAY)


def test_the_look_of_one_is_told() -> None:
    assert all(is_srs(local) for local in ("SRS0=x", "srs1=x", "SrS0=", '"srs0=a b"', "srs2=x"))
    assert not any(is_srs(local) for local in ("", "srs0", "srs0+x", "srs3=", "xsrs0="))
    assert is_long("SrS2=x") and not is_long("SRS0=x")


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_rewritten_or_refused(reverse_path: str, local: str) -> None:
    with suppress(SrsError):
        rewrite(reverse_path, "ours.test", KEY, TODAY)
    with suppress(SrsError):
        reverse(local, [KEY], TODAY)
    with suppress(SrsError):
        verify(local, [KEY], TODAY)


VERP = "bounces+0102018f3c5a7d11-9b1e2c44-77aa-4c0e-8d1f-000000@eu-west-1.amazonses.example"


def test_a_long_sender_is_named_by_a_token_that_its_address_proves() -> None:
    with pytest.raises(SrsError):
        rewrite(VERP, "ours.test", KEY, TODAY)
    one, other = (
        rewrite_long(VERP, "ours.test", KEY, TODAY, tag_of(bytes([number]) * 16))
        for number in (1, 2)
    )
    assert re.fullmatch(r"SRS2=[a-z2-7]{8}=[A-Z2-7]{6}=[a-z2-7]{12}@ours\.test", one)
    assert one != other and len(local_of(one)) == 33
    for local in (
        local_of(one),
        local_of(other).lower(),
        local_of(other).upper(),
        f'"{local_of(one)}"',
    ):
        assert is_srs(local)
        verify(local, [OTHER, KEY], TODAY + VALID_DAYS)
        assert long_token(local, [OTHER, KEY], TODAY) == token_of(VERP)
        with pytest.raises(SrsError):
            reverse(local, [KEY], TODAY)  # it needs the sender that is stored
    assert long_token(
        local_of(rewrite_long(VERP, "ours.test", KEY, TODAY)), [KEY], TODAY
    ) == token_of(VERP)


def test_the_address_of_a_long_sender_expires_and_needs_the_key() -> None:
    local = local_of(rewrite_long(VERP, "ours.test", KEY, TODAY))
    for day in (TODAY - 2, TODAY + VALID_DAYS + 1):
        with pytest.raises(SrsError, match="expired"):
            verify(local, [KEY], day)
    for keys in ([OTHER], []):
        with pytest.raises(SrsError, match="does not verify"):
            verify(local, keys, TODAY)


def test_no_character_of_a_long_senders_address_can_be_changed() -> None:
    local = local_of(rewrite_long(VERP, "ours.test", KEY, TODAY, "AAAA"))
    for place in range(5, len(local)):
        for other in "Q7=k\N{KELVIN SIGN}\N{LATIN SMALL LETTER LONG S}":
            changed = local[:place] + other + local[place + 1 :]
            if changed.lower() != local.lower() or not changed.isascii():
                with pytest.raises(SrsError):
                    verify(changed, [KEY], TODAY)


def test_the_hash_of_one_kind_makes_no_address_of_another() -> None:
    _, hashed, day, token = local_of(rewrite_long(VERP, "ours.test", KEY, TODAY)).split("=")
    for local in (
        f"SRS0={hashed}={day}={token}=x",
        f"SRS1={hashed}={day}=={token}",
        f"SRS0={hashed}={day}=x.test={token}",
    ):
        with pytest.raises(SrsError):
            verify(local, [KEY], TODAY)
    for sender in (
        f"{token}@x.test",
        f"SRS0={token}@{day.lower()}",
        f"SRS0=srs2:{day}={token}@x.test",
    ):
        hashed = local_of(rewrite(sender, "ours.test", KEY, TODAY)).split("=")[1]
        with pytest.raises(SrsError, match="does not verify"):
            verify(f"SRS2={hashed}={day}={token}", [KEY], TODAY)


def test_what_cannot_go_back_has_no_long_form_either() -> None:
    for sender in ("", "nodomain", "@example.org", "local@"):
        with pytest.raises(SrsError):
            rewrite_long(sender, "ours.test", KEY, TODAY)


def test_another_forwarder_can_rewrite_the_address_of_a_long_sender() -> None:
    out = rewrite_long(VERP, "example.org", KEY, TODAY, "AAAA")
    again = rewrite(out, "next.test", OTHER, TODAY)
    assert reverse(local_of(again), [OTHER], TODAY) == out


@given(
    st.text(min_size=1, max_size=300),
    st.sampled_from(["example.org", "[192.0.2.1]"]),
    st.integers(0, 40_000),
)
def test_every_sender_with_a_domain_has_one_of_both_forms(
    local: str, domain: str, day: int
) -> None:
    sender = f"{local}@{domain}"
    try:
        out = rewrite(sender, "ours.test", KEY, day, "ABCD")
    except SrsError:
        out = rewrite_long(sender, "ours.test", KEY, day, "ABCD")
        assert long_token(local_of(out).lower(), [KEY], day + 1) == token_of(sender)
    assert len(local_of(out).encode()) <= 64
    verify(local_of(out), [KEY], day + VALID_DAYS)


@given(
    st.text(min_size=1, max_size=30),
    st.sampled_from(["example.org", "[192.0.2.1]", "xn--bcher-kva.example"]),
)
def test_any_address_comes_back_folded_as_our_door_folds_it(local: str, domain: str) -> None:
    try:
        sender = parse_address(f"{local}@{domain}")
    except AddressError:
        return
    try:
        out = rewrite(str(sender), "ours.test", KEY, TODAY)
    except SrsError:
        return
    back = parse_address(out).local
    assert reverse(back, [KEY], TODAY + 1).lower() == str(sender).lower()


def test_what_a_sender_puts_behind_srs0_does_not_make_an_address_of_ours() -> None:
    """One that is taken for another forwarder's: its rest is the sender's to choose, and the
    hash is over it."""
    digits = rewrite("a@far.test", "example.test", KEY, TODAY).split("=")[2]
    forged = rewrite(f"SRS0=victim.test=user@{digits.lower()}", "example.test", KEY, TODAY)
    hashed = forged.split("=")[1]
    with pytest.raises(SrsError):
        reverse(f"SRS0={hashed}={digits}=victim.test=user", (KEY,), TODAY)


def test_an_address_that_comes_back_in_capitals_leads_to_the_same_domain() -> None:
    local = rewrite("joe@far.test", "example.test", KEY, TODAY).rpartition("@")[0]
    assert reverse(local.upper(), (KEY,), TODAY) == "JOE@far.test"
