"""The policies of the parts on S3: what each may do, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posthorn.adapters.blobs.s3_policies import PARTS, policy

DEPLOYED = Path(__file__).parents[2] / "deploy" / "s3"


def allowed(document: dict[str, Any], action: str, resource: str) -> bool:
    """Return whether a policy allows it. Only a star at the end of a resource is known."""
    return any(
        action in statement["Action"]
        and any(
            resource == each or (each.endswith("*") and resource.startswith(each[:-1]))
            for each in statement["Resource"]
        )
        for statement in document["Statement"]
    )


@pytest.mark.parametrize("part", ["smtp-in", "submission"])
def test_the_doors_put_bodies_and_do_nothing_else(part: str) -> None:
    rules = policy(part, "mail")
    assert allowed(rules, "s3:PutObject", "arn:aws:s3:::mail/bodies/0192")
    for action in ("s3:GetObject", "s3:DeleteObject"):
        assert not allowed(rules, action, "arn:aws:s3:::mail/bodies/0192")
    assert not allowed(rules, "s3:PutObject", "arn:aws:s3:::mail/segments/0192")


@pytest.mark.parametrize("part", ["pop3", "relay"])
def test_readers_read(part: str) -> None:
    rules = policy(part, "mail", "production/")
    for prefix in ("bodies", "segments"):
        assert allowed(rules, "s3:GetObject", f"arn:aws:s3:::mail/production/{prefix}/0192")
        assert not allowed(rules, "s3:GetObject", f"arn:aws:s3:::mail/{prefix}/0192")
        for action in ("s3:PutObject", "s3:DeleteObject"):
            assert not allowed(rules, action, f"arn:aws:s3:::mail/production/{prefix}/0192")


def test_imap_reads_and_appends() -> None:
    rules = policy("imap", "mail")
    for prefix in ("bodies", "segments"):
        for action in ("s3:GetObject", "s3:PutObject"):
            assert allowed(rules, action, f"arn:aws:s3:::mail/{prefix}/0192")


def test_delivery_alone_deletes() -> None:
    deleting = {
        part
        for part in PARTS
        if allowed(policy(part, "mail"), "s3:DeleteObject", "arn:aws:s3:::mail/segments/0")
    }
    assert deleting == {"delivery"}


@pytest.mark.parametrize("part", PARTS)
def test_no_policy_reaches_another_bucket_or_everything(part: str) -> None:
    for statement in policy(part, "mail")["Statement"]:
        assert not any("*" in action for action in statement["Action"])
        assert all(each.startswith("arn:aws:s3:::mail") for each in statement["Resource"])
    assert json.loads((DEPLOYED / f"{part}.json").read_text()) == policy(part, "posthorn")
