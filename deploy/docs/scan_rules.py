"""The page of the built-in scorer's rules, from the table in the code."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.docs.markdown import code, page, prose, table

from posthorn.wire.spam import (
    bayes,
    rules_attachments,
    rules_authentication,
    rules_html,
    rules_links,
    rules_names,
    rules_sender,
    scorer,
)
from posthorn.wire.spam.rule import Rule

_ABOUT = """\
The built-in scorer adds up the points of the rules that match. A recipient's policy says from how many a message is filed in Junk
(6 unless it says otherwise) or refused (15). No rule crosses the first threshold alone. The verdict, in the header and in the
trace, names each rule that matched, with its points and what it found.

Rules of *form* stand back if the author is authenticated and aligned (SPF or DKIM): honest mail in bulk has the same forms."""

_OTHERS = f"""\
## Others

| rule | points | matches if |
|---|---|---|
| `GTUBE` | `{scorer.GTUBE_POINTS:g}` | The text holds the test string for filters. No other rule counts then. |
| `LISTED_<ZONE>` | of the zone | A blocklist or an allow list of the settings holds the client or a domain of the message; \
all together `{scorer.MOST_LIST_POINTS:g}` at most. |

## Bayes filter

Accounts and tenants have a Bayes filter each, taught by what people file in Junk and take out of it. How many points it gives, or
takes where a message is like wanted ones, depends on what it was taught:

| spam and ham taught | points at most |
|---|---|
| fewer than {bayes.LEAST_TAUGHT} of either | none |
| fewer than {bayes.SOME_TAUGHT} of either | `{bayes.FEW_POINTS:g}` |
| fewer than {bayes.MUCH_TAUGHT:,} in all | `{bayes.SOME_POINTS:g}` |
| more | `{bayes.MUCH_POINTS:g}` |"""

_SUBJECTS: Sequence[tuple[str, Sequence[Rule]]] = (
    ("Authentication and client", rules_authentication.RULES),
    ("HELO, dates and fields", rules_sender.RULES),
    ("Names", rules_names.RULES),
    ("Attachments", rules_attachments.RULES),
    ("Links", rules_links.RULES),
    ("Text and HTML", rules_html.RULES),
)


def scan_rules_page() -> str:
    """Return the page."""
    sections = []
    for title, rules in _SUBJECTS:
        rows = [
            (
                code(rule.name),
                code(f"{rule.points:g}"),
                "yes" if rule.is_shape else "",
                prose(rule.description),
            )
            for rule in sorted(rules, key=lambda each: each.name)
        ]
        sections.append(f"## {title}\n\n{table(('rule', 'points', 'form', 'matches if'), rows)}")
    return page("Rules of the built-in scorer", _ABOUT, *sections, _OTHERS)
