"""S3 policies: the permissions of each part's login, in AWS' policy language, which other stores
support as well.

Rules:

- smtp-in (both roles) writes bodies and reads none. It may list the bucket, since a login that may
  not list gets 403 for a missing bucket as for an existing one.
- scan reads bodies, and writes those anew that were accepted unscanned; it needs no mark, since it
  takes keys from messages only.
- pop3 and relay read; only delivery deletes, and lists to find orphans. imap reads, and writes
  messages appended; api reads, and writes messages sent or imported.
- Each part compares the mark of the installation (ADR 18); delivery and api write it, and delivery
  keeps orphans under ``trash/``.
- No part may create the bucket: it is created before, or by another login (the bundled server's).
"""

from __future__ import annotations

import json
from typing import Any, Final

from posthorn.ports.blobs import BODIES, MARK, SEGMENTS, TRASH

_PUT: Final = ("s3:PutObject",)
_GET: Final = ("s3:GetObject",)
_BOTH: Final = ("s3:PutObject", "s3:GetObject")
_ALL: Final = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject")

PARTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "smtp-in": {BODIES: _PUT},
    "submission": {BODIES: _PUT, MARK: _GET},
    "delivery": {BODIES: _ALL, SEGMENTS: _ALL, TRASH: _ALL, MARK: _BOTH},
    "relay": {BODIES: _GET, SEGMENTS: _GET, MARK: _GET},
    "scan": {BODIES: _BOTH},
    "pop3": {BODIES: _GET, SEGMENTS: _GET, MARK: _GET},
    "imap": {BODIES: _BOTH, SEGMENTS: _BOTH, MARK: _GET},
    "api": {BODIES: _BOTH, SEGMENTS: _BOTH, MARK: _BOTH},
}
"""Permitted object operations, by part and key prefix."""


def policy(part: str, bucket: str, prefix: str = "") -> dict[str, Any]:
    """Return the policy of a part's login. ``prefix``: that of ``POSTHORN_BLOBS``, with a
    trailing slash, if any."""
    arn = f"arn:aws:s3:::{bucket}"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "Bucket",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": [arn],
        }
    ]
    for keys, actions in PARTS[part].items():
        sid = keys.rstrip("/").replace(".", "").capitalize()
        statements.append(
            {
                "Sid": sid,
                "Effect": "Allow",
                "Action": list(actions),
                "Resource": [f"{arn}/{prefix}{keys}*"],
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def policy_text(part: str, bucket: str) -> str:
    """Return the policy as a JSON document."""
    return json.dumps(policy(part, bucket), indent=1) + "\n"
