"""S3: what each part's login needs, as policies in the language of AWS, which other stores understand as well.

Rules:

- The doors put bodies and read none: smtp-in in both roles. A bucket is theirs to see, since a login that may not list is
  answered 403 for one that is missing as for one that is there.
- pop3 and relay read; delivery alone deletes, and lists what it must tell from orphans. api reads, and puts what is sent or
  imported.
- Each compares the mark of the installation (ADR 18); delivery and api write it, and delivery keeps orphans under ``trash/``.
- Nobody makes the bucket: it is made before, or by a login that may (the bundled server's).
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
    "pop3": {BODIES: _GET, SEGMENTS: _GET, MARK: _GET},
    "api": {BODIES: _BOTH, SEGMENTS: _BOTH, MARK: _BOTH},
}
"""By part and prefix of keys: what may be done to objects."""


def policy(part: str, bucket: str, prefix: str = "") -> dict[str, Any]:
    """Return the policy of a part's login. ``prefix`` is that of ``POSTHORN_BLOBS``, with a slash at its end, if any."""
    arn = f"arn:aws:s3:::{bucket}"
    statements: list[dict[str, Any]] = [
        {"Sid": "Bucket", "Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": [arn]}
    ]
    for keys, actions in PARTS[part].items():
        sid = keys.rstrip("/").replace(".", "").capitalize()
        statements.append(
            {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": [f"{arn}/{prefix}{keys}*"]}
        )
    return {"Version": "2012-10-17", "Statement": statements}


def policy_text(part: str, bucket: str, prefix: str = "") -> str:
    """Return the policy as a JSON document."""
    return json.dumps(policy(part, bucket, prefix), indent=1) + "\n"
