"""The warning about a domain whose postmaster's mail nobody takes."""

from __future__ import annotations

from typing import cast

import pytest

from posthorn_cli.client.types import DomainView
from posthorn_cli.postmaster import without_postmaster


@pytest.mark.parametrize(
    ("answer", "is_warned"),
    [({"postmaster": None}, True), ({"postmaster": "a@example.test"}, False), ({}, False)],
    ids=["nobody", "somebody", "a server of an earlier release"],
)
def test_a_domain_without_a_postmaster_is_warned_of(
    answer: dict[str, str | None], is_warned: bool
) -> None:
    warning = without_postmaster(cast("DomainView", {"name": "example.test", **answer}))
    assert ("postmaster@example.test" in warning) is is_warned
    assert ("POSTHORN_SMTP_POSTMASTER" in warning) is is_warned
