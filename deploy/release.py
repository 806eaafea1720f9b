"""The version, written wherever it stands: ``python -m deploy.release`` from the project's root.

``VERSION`` is the source. Packages read it when they are built; the files in ``PLACES`` hold
copies, because Docker, Compose and Helm cannot read another file.

- ``python -m deploy.release 1.2.3`` writes the version, and closes the Unreleased sections of
  CHANGELOG.md and UPGRADING.md;
- ``python -m deploy.release --check [v1.2.3]`` fails, naming the files, when a copy differs from
  ``VERSION``; with a tag it also fails when the tag is another version or the changelog has no
  section of it;
- ``python -m deploy.release --notes`` prints the changelog's section of the version.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_NUMBER = r"\d+\.\d+\.\d+"
_IMAGE = re.compile(rf"(?<=ghcr\.io/posthorn/)(posthorn-[a-z0-9-]+:)({_NUMBER})()")
_CHART_REFERENCE = re.compile(rf"(oci://ghcr\.io/posthorn/charts/posthorn --version )({_NUMBER})()")
_CHART = "deploy/helm/posthorn/Chart.yaml"

PLACES: dict[str, tuple[re.Pattern[str], ...]] = {
    "Dockerfile": (re.compile(rf"^(ARG VERSION=)({_NUMBER})()$", re.MULTILINE),),
    "docker-compose.yml": (re.compile(rf"(\$\{{POSTHORN_VERSION:-)({_NUMBER})(\}})"),),
    _CHART: (
        re.compile(rf"^((?:version: |appVersion: \"))({_NUMBER})(\"?)$", re.MULTILINE),
        _IMAGE,
    ),
}
"""Files that must hold the version, by path, and what it stands in: three groups, of which the
second is the version."""


class ReleaseError(Exception):
    """The version cannot be released; the text says why."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the version in a file."""

    path: Path
    line: int
    version: str


def version(root: Path = ROOT) -> str:
    """Return the version of the tree, such as ``1.2.3``."""
    return (root / "VERSION").read_text().strip()


def copies(root: Path = ROOT) -> Iterator[Copy]:
    """Yield every copy of the version outside ``VERSION``. Raises ReleaseError when a file holds
    none where it must."""
    for path, patterns in _files(root):
        text = path.read_text()
        for pattern in patterns:
            found = list(pattern.finditer(text))
            if not found and str(path.relative_to(root)) in PLACES:
                raise ReleaseError(
                    f"{path.relative_to(root)} does not hold the version where it should"
                )
            for match in found:
                yield Copy(path, text.count("\n", 0, match.start()) + 1, match[2])


def _files(root: Path) -> Iterator[tuple[Path, tuple[re.Pattern[str], ...]]]:
    for name, patterns in PLACES.items():
        yield root / name, patterns
    for path in sorted([root / "README.md", *(root / "docs").rglob("*.md")]):
        yield path, (_IMAGE, _CHART_REFERENCE)


def check(root: Path = ROOT, tag: str | None = None) -> None:
    """Compare every copy with ``VERSION``, and both with ``tag``. Raises ReleaseError, naming
    what differs."""
    ours = version(root)
    if not _VERSION.fullmatch(ours):
        raise ReleaseError(f"VERSION holds {ours!r}, which is not of the form x.y.z")
    wrong = [
        f"{each.path.relative_to(root)}:{each.line}: {each.version}"
        for each in copies(root)
        if each.version != ours
    ]
    if wrong:
        raise ReleaseError("\n".join([f"VERSION is {ours}, but:", *wrong]))
    if tag is not None:
        if tag != f"v{ours}":
            raise ReleaseError(f"the tag {tag} is not v{ours}, which VERSION says")
        notes(root)


def release(new: str, root: Path = ROOT, day: str | None = None) -> None:
    """Make ``new`` the version of the tree and close the changelog's Unreleased section with it.
    Raises ReleaseError."""
    check(root)
    if not _VERSION.fullmatch(new):
        raise ReleaseError(f"{new!r} is not of the form x.y.z: make release VERSION=x.y.z")
    if _ordered(new) < _ordered(version(root)):
        raise ReleaseError(f"{new} is before {version(root)}, which VERSION says")
    path = root / "CHANGELOG.md"
    text = path.read_text()
    if _section(text, new) is not None:
        raise ReleaseError(f"CHANGELOG.md already has a section of {new}")
    if not (_section(text, "Unreleased") or "").strip():
        raise ReleaseError("CHANGELOG.md has nothing under Unreleased")
    day = day or datetime.now(UTC).date().isoformat()
    path.write_text(text.replace("## Unreleased\n", f"## Unreleased\n\n## {new} - {day}\n", 1))
    upgrading = root / "deploy/helm/posthorn/UPGRADING.md"
    upgrading.write_text(upgrading.read_text().replace("\n## Unreleased\n", f"\n## To {new}\n", 1))
    for file, patterns in _files(root):
        held = file.read_text()
        for pattern in patterns:
            held = pattern.sub(rf"\g<1>{new}\g<3>", held)
        if held != file.read_text():
            file.write_text(held)
    (root / "VERSION").write_text(f"{new}\n")


def notes(root: Path = ROOT) -> str:
    """Return the changelog's section of the version. Raises ReleaseError when there is none."""
    found = _section((root / "CHANGELOG.md").read_text(), version(root))
    if found is None:
        raise ReleaseError(
            f"CHANGELOG.md has no section of {version(root)}: make release VERSION={version(root)}"
        )
    return found.strip() + "\n"


def _section(changelog: str, title: str) -> str | None:
    match = re.search(
        rf"^## {re.escape(title)}(?: - \S+)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    return match[1] if match else None


def _ordered(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split("."))


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    try:
        match arguments:
            case ["--check"]:
                check()
            case ["--check", tag]:
                check(tag=tag)
            case ["--notes"]:
                sys.stdout.write(notes())
            case [new] if not new.startswith("-"):
                release(new)
                sys.stdout.write(
                    f"{new}: look at the changes, commit them and tag the commit v{new}\n"
                )
            case _:
                raise ReleaseError(
                    "usage: make release VERSION=x.y.z, or python -m deploy.release --check [TAG] | --notes"
                )
    except ReleaseError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
