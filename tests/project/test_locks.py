"""The requirement files agree: an image holds no version that the tests did not run with."""

from __future__ import annotations

import re

import pytest
from deploy.release import ROOT

REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(path.name for path in REQUIREMENTS.glob("*.txt"))
WITHIN_DEV = sorted(
    {"build.txt"} | {f"{path.parent.name}.txt" for path in ROOT.glob("services/*/pyproject.toml")}
)
_PIN = re.compile(r"^([a-z0-9-]+)(?:\[[a-z0-9,]+\])?==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return {match[1]: match[2] for match in _PIN.finditer((REQUIREMENTS / name).read_text())}


@pytest.mark.parametrize("name", WITHIN_DEV)
def test_versions_are_those_of_dev(name: str) -> None:
    tested, shipped = pins("dev.txt"), pins(name)
    assert len(shipped) > (5 if name != "console.txt" else 0)
    assert {
        package: (found, tested.get(package))
        for package, found in shipped.items()
        if found != tested.get(package)
    } == {}


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_has_a_hash_and_no_index_is_named(name: str) -> None:
    lines = (REQUIREMENTS / name).read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    assert "://" not in text
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert re.fullmatch(
            r"\S+==\S+(?: ; [^\\]+)? \\(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+", requirement
        ), requirement
