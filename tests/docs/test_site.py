"""The documentation site: it builds without a warning, holds every page once, and needs no other
host to be read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Attributes whose address a browser fetches by itself."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. The builder checks links and anchors, and a warning ends it."""
    directory = tmp_path_factory.mktemp("site")
    configuration = (
        (ROOT / "mkdocs.yml").read_text().replace("site_dir: build/site", "site_dir: site")
    )
    (directory / "mkdocs.yml").write_text(configuration)
    shutil.copytree(DOCS, directory / "docs")
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [str(zensical), "build", "--strict"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "site"


def pages() -> set[str]:
    return {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def in_navigation(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for each in node:
            yield from in_navigation(each)
    else:
        for each in node.values():
            yield from in_navigation(each)


class _Loads(HTMLParser):
    """Collects what a browser fetches for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(LOADS.get(tag, ""))
        if address and not (tag == "link" and given.get("rel") in ("canonical", "next", "prev")):
            self.found.append(address)


def test_every_page_is_built_and_in_the_navigation_once(site: Path) -> None:
    nav = list(in_navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == sorted(pages())
    for page in pages():
        built = site / re.sub("(^|/)README.md$", r"\1index.md", page).replace(".md", ".html")
        assert built.exists(), built
        assert "<h1" in built.read_text()


def test_a_browser_fetches_nothing_from_another_host(site: Path) -> None:
    built = list(site.rglob("*.html"))
    assert len(built) > 80
    for path in built:
        loads = _Loads()
        loads.feed(path.read_text())
        assert loads.found, path
        assert not [each for each in loads.found if re.match(r"(https?:)?//", each)], path
        assert not re.search('data-md-component="source"|class="mermaid"', path.read_text()), (
            path
        )  # scripts that ask others
    for path in site.rglob("*.css"):
        assert not re.search(r"""(url\(|@import )["']?(https?:)?//""", path.read_text()), path


def test_no_heading_has_the_name_of_another_on_its_page(site: Path) -> None:
    """The builder numbers the second one, and GitHub does so in another way: links lead to the
    first."""
    for path in (site / "reference").rglob("*.html"):
        assert not re.findall(r'<h\d id="([^"]+_\d+)"', path.read_text()), path


def test_fences_are_read_as_code(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert "```" not in path.read_text(), path


def test_links_of_other_pages_into_the_documentation_lead_somewhere() -> None:
    """README and the like are no pages of the site, so that the builder does not look at them."""
    looked_at = 0
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "deploy/helm/posthorn/README.md",
        "deploy/helm/posthorn/UPGRADING.md",
    ):
        for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text()):
            if not re.match(r"[a-z]+:", target):
                looked_at += 1
                assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"
    assert looked_at > 5


def test_links_to_files_of_the_repository_lead_somewhere() -> None:
    for page in pages():
        for target in re.findall(
            r"github\.com/posthorn/posthorn/(?:blob|tree)/main/([^)`#\s]+)",
            (DOCS / page).read_text(),
        ):
            assert (ROOT / target).exists(), f"{page}: {target}"
