"""Values of the chart that the documentation shows: each block whose fence says ``yaml values``
renders."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.chart.rendering import merged, render
from tests.docs.test_site import DOCS

BLOCK = re.compile(r"^```yaml values\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.rglob("*.md"))
    for number, block in enumerate(BLOCK.findall(path.read_text()), 1)
]
FOREIGN = re.compile(r"^```yaml\n(?!plan:|apiVersion: batch/v1\n)", re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_values_render(block: str) -> None:
    values = yaml.safe_load(block)
    if "existingSecret" in values.get(
        "secretKey", {}
    ):  # on a cluster, which the chart can look into, it need not be named
        values = merged({"secretKey": {"srsKey": "srs"}}, values)
    rendered = render(values)
    assert rendered.by_kind("Deployment").keys() >= {
        "posthorn-smtp-in",
        "posthorn-relay",
        "posthorn-scan",
        "posthorn-api",
    }


def test_every_page_with_values_is_looked_at() -> None:
    assert len(BLOCKS) >= 10
    for path in DOCS.rglob("*.md"):
        assert not FOREIGN.search(path.read_text()), (
            f"{path}: yaml that is neither values nor known here"
        )
