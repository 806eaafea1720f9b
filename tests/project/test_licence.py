"""The licence is named wherever the project is published."""

from __future__ import annotations

import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml
from deploy.release import ROOT

LICENCE = "Apache-2.0"
PROJECTS = [
    ROOT / "pyproject.toml",
    *sorted(ROOT.glob("libs/*/pyproject.toml")),
    *sorted(ROOT.glob("services/*/pyproject.toml")),
]


def test_the_text_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert [number for number in range(1, 10) if f"\n   {number}. " not in text] == []
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("file", PROJECTS, ids=lambda path: path.parent.name)
def test_a_package_names_it(file: Path) -> None:
    project = tomllib.loads(file.read_text())["project"]
    assert project["license"] == LICENCE
    if file.parent != ROOT:
        assert metadata(project["name"])["License-Expression"] == LICENCE


def test_the_chart_names_it() -> None:
    chart = yaml.safe_load((ROOT / "deploy/helm/posthorn/Chart.yaml").read_text())
    assert chart["annotations"]["artifacthub.io/license"] == LICENCE


def test_images_name_it_and_hold_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f'org.opencontainers.image.licenses="{LICENCE}"' in dockerfile
    assert "\nCOPY LICENSE /licenses/LICENSE\n" in dockerfile
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"!LICENSE", "!VERSION"} <= set(sent)
