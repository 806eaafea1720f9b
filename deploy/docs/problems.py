"""The page of problem types: every answer of the API that is no success, from the places in the
code that make them."""

from __future__ import annotations

import ast
from collections import defaultdict
from http import HTTPStatus

from deploy.docs.markdown import code, page, prose, table
from deploy.docs.source import calls, constant, modules

_PREFIX = "urn:posthorn:problem:"
_WHAT_TO_DO = {
    "malformed": "Correct the request; the detail says what cannot be read.",
    "unauthorized": "Send a valid API key or token: `Authorization: Bearer …`.",
    "forbidden": "Use a key whose role and tenant allow the operation ([rights](../concepts/tenants.md#roles)).",
    "not-found": "Check the path and the name. What belongs to another tenant is answered the same way.",
    "method-not-allowed": "Use a method that the header `Allow` names.",
    "cross-site": "Browsers: make the request from a page of the same origin. Programs: show a key instead of the cookie.",
    "timeout": "Send the body again, faster or in smaller pieces.",
    "conflict": "Something else stands in the way; the detail names it.",
    "idempotency-key-in-use": "Wait for `Retry-After`, then repeat: the answer of the first request will be returned.",
    "changed": "Read the object again, decide anew, and repeat with its new `ETag`.",
    "too-large": "Send less. The limits are [settings](settings.md) of the API.",
    "unsupported-media-type": "Send the media type that the detail names.",
    "invalid": "Correct the fields that `errors` lists.",
    "idempotency-key-reused": "Take a new `Idempotency-Key` for a new request.",
    "too-many-requests": "Wait for `Retry-After` seconds, then repeat.",
    "internal": "A fault of the system. Look for the id in the API's log, and report it.",
    "unavailable": "Repeat after `Retry-After` seconds; with an `Idempotency-Key` nothing is done twice.",
    "halted": "An operator must act: [PosthornInstallationForeign](../runbooks/posthorninstallationforeign.md).",
}
_ABOUT = f"""\
Every answer that is no success has the media type `application/problem+json` (RFC 9457):

```json
{{
  "type": "{_PREFIX}invalid",
  "title": "…",
  "status": 422,
  "detail": "what is wrong with this request",
  "errors": [{{"field": "address", "message": "what is wrong with this field"}}]
}}
```

Programs should decide by `type` or by the status; `title` and `detail` are for people and may change. `errors` is there where
fields are wrong. A fault of Posthorn's own stores is always 503, never an empty list or 404."""


def problem_types() -> dict[str, set[int]]:
    """Return the statuses of each problem type that the API makes."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for path, tree in modules():
        if "posthorn_api" not in path.parts:
            continue
        for called, call in calls(tree):
            if called == "Problem" and len(call.args) >= 2:
                status, slug = constant(call.args[0]), constant(call.args[1])
                if isinstance(status, int) and isinstance(slug, str):
                    found[slug].add(status)
        for node in ast.walk(tree):  # tables of statuses: {404: ("not-found", "…")}
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    status = constant(key)
                    first = (
                        constant(value.elts[0])
                        if isinstance(value, ast.Tuple) and value.elts
                        else None
                    )
                    if isinstance(status, int) and status >= 400 and isinstance(first, str):
                        found[first].add(status)
    return dict(found)


def problems_page() -> str:
    """Return the page. Raises ValueError when the API makes a type that is not described here,
    or one too many is described."""
    found = problem_types()
    if wrong := found.keys() ^ _WHAT_TO_DO.keys():
        raise ValueError(
            f"deploy/docs/problems.py must say what to do about exactly the types there are: {sorted(wrong)}"
        )
    rows = [
        (
            code(slug),
            ", ".join(f"{status} {HTTPStatus(status).phrase}" for status in sorted(statuses)),
            prose(_WHAT_TO_DO[slug]),
        )
        for slug, statuses in sorted(found.items(), key=lambda item: (min(item[1]), item[0]))
    ]
    return page(
        "Problem types", _ABOUT, table((f"type, after `{_PREFIX}`", "status", "what to do"), rows)
    )
