"""The fields that tell of our checks: Authentication-Results (RFC 8601) and X-Posthorn-Verdict.

Filters and mail programs trust a field with our authserv-id, so one from outside is removed on
arrival (§5), and with it every X-Posthorn-Verdict. Fields with other ids stay.

Rules for what is written:

- One field for all results, in ASCII. Everything that a stranger chose is reduced to characters
  that stand for themselves in a token or a quoted string: no quote, parenthesis, semicolon, equals
  sign, backslash or control character. So nobody can end a value, and even a reader that searches
  the text for ``dkim=pass`` finds only ours.
- The local part of the reverse-path is left out unless it consists of letters, digits and ``._+-``
  (§2.7.2 allows the domain alone).
- Every value has a limit, and so has the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from posthorn.wire.address import AddressError, canonical_domain
from posthorn.wire.auth.results import Arc, Authentication, Dkim, Dmarc, Iprev, Outcome, Spf
from posthorn.wire.message.header_decoding import decode_text

VERDICT_FIELD = "X-Posthorn-Verdict"
WIDTH = 78
"""Characters of a line where it can be folded (RFC 5322 §2.1.1)."""
MOST_RESULTS = 12
"""Results of one method that are written."""
VALUE_LIMIT = 255
REASON_LIMIT = 120
RULES_LIMIT = 1500
"""Characters of the rules in X-Posthorn-Verdict."""

_KEPT_RESULTS = 500  # those that say nothing of one message alone

_FIELD = re.compile(
    rb"^(?:(Authentication-Results)|X-Posthorn-Verdict)(?:[ \t]|\r\n[ \t])*+:"
    rb"((?:[^\n]*\r\n[ \t])*[^\n]*(?:\n|\Z))",
    re.IGNORECASE | re.MULTILINE,
)
_OURS = (b"authentication-results", VERDICT_FIELD.lower().encode())
_ID = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s;()"]+)', re.DOTALL)
_IGNORED = re.compile(r"[\x00-\x20\x7f]")

_UNCHECKED = Authentication()
_AS_IT_IS = re.compile(r"[A-Za-z0-9._+~*!#$%&'-]{1,255}\Z")  # a token without what is forbidden
_TOKEN = re.compile(r"[A-Za-z0-9._+~*!#$%&'^`{|}-]+\Z")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9 .,:/@_+~*!#$%&'?\[\]-]")
_MAILBOX = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9._-]{1,255}\Z")
_DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")
_RULE = re.compile(r"[^A-Za-z0-9_.-]")
_WORDS = re.compile(r"[^,]+,?")


def without_ours(block: bytes, authserv_id: str) -> bytes:
    """Return a header block, in CRLF lines, without the Authentication-Results fields with this
    authserv-id and without X-Posthorn-Verdict."""
    lower = block.lower()
    if not any(name in lower for name in _OURS):
        return block
    ours = _comparable(authserv_id)

    def kept(field: re.Match[bytes]) -> bytes:
        return b"" if not field[1] or ours in _ids(field[2]) else field[0]

    return _FIELD.sub(kept, block)


def results_field(
    hostname: str,
    authentication: Authentication,
    *,
    reverse_path: str,
    helo: str,
    client: str = "",
) -> bytes:
    """Return the Authentication-Results field (RFC 8601 §2.2), with its CRLF.

    ``hostname`` is the authserv-id, ``client`` the client's IP address, ``reverse_path`` is empty
    if it is null. Of a message that nobody checked it says ``none`` alone.
    """
    if authentication == _UNCHECKED:
        return f"Authentication-Results: {_value(hostname)}; none\r\n".encode("ascii")
    results = [
        _iprev(authentication.iprev, client),
        *[_spf(each, reverse_path, helo) for each in _spf_results(authentication, reverse_path)],
        *[_dkim(each) for each in authentication.dkim[:MOST_RESULTS] or (_NO_DKIM,)],
        _dmarc(authentication.dmarc),
        _arc(authentication.arc, client),
    ]
    text = ";\r\n\t".join([_value(hostname), *results])
    return f"Authentication-Results: {text}\r\n".encode("ascii")


def verdict_field(
    action: str,
    *,
    score: float | None = None,
    rules: Sequence[tuple[str, float]] = (),
    message_id: str = "",
) -> bytes:
    """Return the X-Posthorn-Verdict field, with its CRLF.

    ``action`` is what was decided, such as ``deliver``, ``spam``, ``virus`` or ``unscanned``;
    ``rules`` are names and points, the most important first.
    """
    parts = [_RULE.sub("?", action)[:40]]
    if score is not None:
        parts.append(f"score={_points(score)}")
    if rules:
        parts.append("rules=" + ",".join(_rules(rules)))
    if message_id:
        parts.append("id=" + _RULE.sub("?", message_id)[:VALUE_LIMIT])
    words = [word for part in parts for word in _WORDS.findall(part + ";" * (part != parts[-1]))]
    lines = [VERDICT_FIELD + ":"]
    for word in words:
        glue = "" if lines[-1].endswith(",") else " "
        if len(lines[-1]) + len(glue) + len(word) > WIDTH:
            lines.append("\t" + word)
        else:
            lines[-1] += glue + word
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


_NO_DKIM = Dkim(Outcome.NONE, "", "")


@lru_cache(_KEPT_RESULTS)
def _iprev(result: Iprev, client: str) -> str:
    words = [f"iprev={result.outcome}", _property("policy.iprev", client)]
    if _DOMAIN.match(result.name):
        words.append(f"({result.name})")
    return _folded(words)


def _spf_results(authentication: Authentication, reverse_path: str) -> Iterable[Spf]:
    nothing = Spf(Outcome.NONE, "mailfrom" if reverse_path else "helo", "")
    return authentication.spf[:MOST_RESULTS] or (nothing,)


@lru_cache(_KEPT_RESULTS)
def _spf(result: Spf, reverse_path: str, helo: str) -> str:
    if result.identity == "helo":
        identity = _property("smtp.helo", helo)
    else:
        identity = _property("smtp.mailfrom", _mail_from(reverse_path, result.domain))
    return _folded([f"spf={result.outcome}", _reason(result.outcome, result.reason), identity])


def _dkim(result: Dkim) -> str:
    return _folded(
        [
            f"dkim={result.outcome}",
            _reason(result.outcome, result.reason),
            _property("header.d", result.domain),
            _property("header.s", result.selector),
            _property("header.a", result.algorithm),
            _property("header.b", result.signature_start),
        ]
    )


@lru_cache(_KEPT_RESULTS)
def _dmarc(result: Dmarc) -> str:
    """Return the result with what RFC 9989 registers (``polrec``), and the policy that we apply."""
    is_elsewhere = result.record_domain != result.domain
    return _folded(
        [
            f"dmarc={result.outcome}",
            _reason(result.outcome, result.reason),
            _property("header.from", result.domain),
            _property("polrec.p", result.published or ""),
            _property("polrec.domain", result.record_domain if is_elsewhere else ""),
            _property("policy.dmarc", result.applied or ""),
        ]
    )


def _arc(result: Arc, client: str) -> str:
    """Return the result with what RFC 8617 §6 registers."""
    words = [f"arc={result.outcome}", _reason(result.outcome, result.reason)]
    if result.outcome is Outcome.PASS:
        words.append(f"header.oldest-pass={result.oldest_pass}")
    if result.outcome is not Outcome.NONE:
        words.append(_property("smtp.remote-ip", client))
    return _folded(words)


def _mail_from(reverse_path: str, domain: str) -> str:
    if _MAILBOX.match(reverse_path):
        return reverse_path
    if not domain:
        domain = reverse_path.rpartition("@")[2]
    try:
        return canonical_domain(domain)
    except AddressError:
        return domain


def _reason(outcome: Outcome, reason: str) -> str:
    """Return a reason; of what passed none is needed."""
    if not reason or outcome is Outcome.PASS:
        return ""
    return f'reason="{_clean(reason, REASON_LIMIT)}"'


def _property(name: str, value: str) -> str:
    return f"{name}={_value(value)}" if value else ""


def _value(text: str) -> str:
    """Return a value (RFC 8601 §2.2): a token or a quoted string; an address as it is."""
    if _AS_IT_IS.match(text):
        return text
    clean = _clean(text, VALUE_LIMIT)
    return clean if _TOKEN.match(clean) or _MAILBOX.match(clean) else f'"{clean}"'


def _clean(text: str, limit: int) -> str:
    return _FORBIDDEN.sub("?", text[:limit])


def _folded(words: Iterable[str]) -> str:
    """Return the words of a result in lines."""
    text, width = "", 0
    for word in filter(None, words):
        # a tab before the line, a semicolon after it
        if width and width + len(word) + 3 > WIDTH:
            text += "\r\n\t" + word
            width = len(word)
        elif width:
            text += " " + word
            width += 1 + len(word)
        else:
            text, width = word, len(word)
    return text


def _rules(rules: Sequence[tuple[str, float]]) -> Iterator[str]:
    length = 0
    for name, points in rules:
        text = _rule(name[:60], points)
        length += len(text) + 1
        if length > RULES_LIMIT:
            return
        yield text


@lru_cache(_KEPT_RESULTS)
def _rule(name: str, points: float) -> str:
    return f"{_RULE.sub('?', name)}={_points(points)}"


def _points(points: float) -> str:
    return f"{points:.2f}".rstrip("0").rstrip(".")


def _ids(value: bytes) -> set[str]:
    """Return the ids that a reader may find in a field's value: as it is, and with its encoded
    words decoded, as some mail programs do."""
    found = {_comparable(_authserv_id(value))}
    if b"=?" in value:
        decoded = decode_text(value.decode("utf-8", "replace"))
        found.add(_comparable(_authserv_id(decoded.encode("utf-8", "replace"))))
    return found


def _comparable(authserv_id: str) -> str:
    """Return an id in lower case, as A-labels (RFC 8616 §5), without control characters."""
    plain = _IGNORED.sub("", authserv_id)
    try:
        return canonical_domain(plain)
    except AddressError:
        return plain.lower().rstrip(".")


def _authserv_id(value: bytes) -> str:
    """Return the id at the beginning of the field's value, past comments (RFC 8601 §2.2); empty
    when there is none."""
    at = depth = 0
    while at < len(value):
        character = value[at : at + 1]
        if character == b"\\" and depth:
            at += 1
        elif character == b"(":
            depth += 1
        elif character == b")" and depth:
            depth -= 1
        elif not depth and not (character.isspace() or character == b"\0"):
            break
        at += 1
    found = _ID.match(value, at)
    if found is None:
        return ""
    quoted = re.sub(rb"\\(.)", rb"\1", found[1]) if found[1] is not None else found[2]
    return quoted.decode("utf-8", "replace")
