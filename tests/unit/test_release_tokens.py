"""Tokens of release links: nobody makes, changes or keeps one."""

from __future__ import annotations

from uuid import UUID

import pytest

from posthorn_api.digests.tokens import Action, Grant, make_token, read_token

KEY, OLD = b"k" * 32, b"o" * 32
GRANT = Grant(Action.FROM_JUNK, 17, UUID(int=5), 2_000_000_000)
BEFORE = GRANT.expires_at - 1


def test_a_token_says_what_it_grants_until_it_expires() -> None:
    token = make_token(KEY, GRANT)
    assert read_token([KEY], token, BEFORE) == GRANT
    assert read_token([OLD, KEY], token, BEFORE) == GRANT, "keys are replaced one by one"
    assert read_token([KEY], token, GRANT.expires_at) is None
    assert read_token([OLD], token, BEFORE) is None
    assert token.replace("-", "").replace("_", "").isalnum()


def test_no_changed_token_is_taken() -> None:
    token = make_token(KEY, GRANT)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        assert read_token([KEY], changed, 0) is None or changed == token


@pytest.mark.parametrize("text", ["", "x", "é" * 63, "=" * 63, "A" * 63, "A" * 10_000, "a b"])
def test_text_that_is_no_token_is_refused(text: str) -> None:
    assert read_token([KEY], text, 0) is None


def test_an_action_of_a_later_release_is_refused() -> None:
    token = make_token(KEY, Grant(9, 17, UUID(int=5), 2_000_000_000))  # type: ignore[arg-type]
    assert read_token([KEY], token, 0) is None
