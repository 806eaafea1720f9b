"""The header fields that tell of a verdict, as smtp-in and the scanning tier put them before a
message."""

from __future__ import annotations

from posthorn.model.verdict import Verdict
from posthorn.wire.auth.authentication_results import results_field, verdict_field


def verdict_fields(
    verdict: Verdict,
    *,
    hostname: str,
    client: str,
    helo: str,
    reverse_path: str,
    message_id: str,
    is_spam: bool,
) -> bytes:
    """Return Authentication-Results (RFC 8601) and X-Posthorn-Verdict, with their line ends.

    ``hostname`` is the authserv-id. ``is_spam``: whether the policy of a recipient treats the
    message as spam.
    """
    word = "virus" if verdict.virus else "spam" if is_spam else "deliver"
    results = results_field(
        hostname, verdict.authentication, reverse_path=reverse_path, helo=helo, client=client
    )
    rules = sorted(verdict.rules, key=lambda rule: -abs(rule.points))
    return results + verdict_field(
        word,
        score=verdict.score,
        rules=[(rule.name, rule.points) for rule in rules],
        message_id=message_id,
    )
