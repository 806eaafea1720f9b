"""Python that the documentation shows: all of it parses, and what checks a webhook's signature
does so."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthorn_api.webhooks.signing import new_secret, signed_headers
from tests.docs.test_site import DOCS

CONSOLE = Path(__file__).parents[2] / "services/console/web/src/features/webhooks/verifying.tsx"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(params=["docs", "console"])
def is_genuine(request: pytest.FixtureRequest) -> Callable[[str, Any, bytes], bool]:
    if request.param == "docs":
        (block,) = BLOCK.findall((DOCS / "how-to" / "webhooks.md").read_text())
    else:
        block = CONSOLE.read_text().split("`", 2)[1]
        assert not {"\\", "$"} & set(block), "a template literal would change it"
    names: dict[str, Any] = {}
    exec(block, names)
    found: Callable[[str, Any, bytes], bool] = names["is_genuine"]
    return found


def test_every_block_parses() -> None:
    blocks = [block for path in DOCS.rglob("*.md") for block in BLOCK.findall(path.read_text())]
    assert len(blocks) >= 2
    for block in blocks:
        compile(block, "docs", "exec")


def test_a_signature_of_ours_is_genuine(is_genuine: Callable[[str, Any, bytes], bool]) -> None:
    now, former, present = time.time(), new_secret(), new_secret()
    headers = signed_headers("0198c1d2", now, b"{}", present, former)
    assert is_genuine(present.shown, headers, b"{}")
    assert is_genuine(former.shown, headers, b"{}")


def test_what_is_forged_or_old_is_not(is_genuine: Callable[[str, Any, bytes], bool]) -> None:
    now, secret = time.time(), new_secret()
    headers = signed_headers("0198c1d2", now, b"{}", secret)
    assert not is_genuine(secret.shown, headers, b'{"changed": true}')
    assert not is_genuine(new_secret().shown, headers, b"{}")
    assert not is_genuine(secret.shown, signed_headers("0198c1d2", now - 400, b"{}", secret), b"{}")
