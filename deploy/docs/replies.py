"""The page of replies: what SMTP clients are answered, from the table in the code, and the
response codes of POP3."""

from __future__ import annotations

from deploy.docs.markdown import code, page, prose, table

from posthorn.wire.smtp import replies

_ABOUT = """\
A reply with a code of 400 to 499 is temporary: the client keeps the message and tries again. A code of 500 to 599 is final. Every
fault of Posthorn's own (NATS, Postgres, S3, DNS) is temporary, in each protocol. Replies never repeat what the client sent."""

_POP3 = """\
## POP3

A negative reply begins with `-ERR`, and where a client should know more, with a response code (RFC 2449, RFC 3206):

| response code | meaning |
|---|---|
| `[SYS/TEMP]` | A fault of Posthorn's, too many sessions, or too many failed logins: try again later. Never an empty maildrop. |
| `[IN-USE]` | Another session has the maildrop: try again later. |
| `[AUTH]` | Wrong address or password, a password that was changed or revoked meanwhile, or no TLS yet. |"""


def replies_page() -> str:
    """Return the page."""
    found = {
        each.octets: each for each in vars(replies).values() if isinstance(each, replies.Reply)
    }
    sections = []
    for title, codes in (
        ("Success and intermediate replies", "23"),
        ("Temporary refusals", "4"),
        ("Final refusals", "5"),
    ):
        rows = [
            (code(each.code), code(each.status), prose(each.text.replace("\n", " / ")))
            for each in sorted(found.values(), key=lambda each: (each.code, each.status, each.text))
            if str(each.code)[0] in codes
        ]
        sections.append(f"### {title}\n\n{table(('code', 'enhanced code', 'text'), rows)}")
    return page("SMTP and POP3 replies", _ABOUT, "## SMTP", *sections, _POP3)
