"""The version has one source, and `make release` writes every copy of it."""

from __future__ import annotations

import shutil
import tomllib
from importlib.metadata import version as installed
from pathlib import Path

import pytest
import yaml
from deploy.release import PLACES, ROOT, ReleaseError, check, copies, main, notes, release, version

PACKAGES = sorted(ROOT.glob("libs/*/pyproject.toml")) + sorted(
    ROOT.glob("services/*/pyproject.toml")
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of every file that a release reads or writes."""
    for name in (
        "VERSION",
        "CHANGELOG.md",
        "README.md",
        "deploy/helm/posthorn/UPGRADING.md",
        *PLACES,
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def test_every_copy_of_the_version_is_that_of_the_source() -> None:
    check()
    assert {each.version for each in copies()} == {version()}
    assert {str(each.path.relative_to(ROOT)) for each in copies()} >= set(PLACES)


@pytest.mark.parametrize("file", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_takes_its_version_from_the_source(file: Path) -> None:
    project = tomllib.loads(file.read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert (file.parent / project["tool"]["hatch"]["version"]["path"]).resolve() == ROOT / "VERSION"
    assert installed(project["project"]["name"]) == version()


def test_a_release_writes_every_copy(tree: Path) -> None:
    release("7.8.9", tree, day="2027-01-02")
    check(tree, "v7.8.9")
    assert {each.version for each in copies(tree)} == {"7.8.9"}
    assert (tree / "VERSION").read_text() == "7.8.9\n"
    chart = yaml.safe_load((tree / "deploy/helm/posthorn/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == ("7.8.9", "7.8.9")
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert {each["image"].rpartition(":")[2] for each in images} == {"7.8.9"}
    assert "ARG VERSION=7.8.9\n" in (tree / "Dockerfile").read_text()


def test_no_file_that_a_user_reads_keeps_the_version_before(tree: Path) -> None:
    before = version(tree)
    release("7.8.9", tree)
    for name in (
        *PLACES,
        "README.md",
        *(str(path.relative_to(tree)) for path in (tree / "docs").rglob("*.md")),
    ):
        assert f":{before}" not in (tree / name).read_text(), name
        assert f"-{before}" not in (tree / name).read_text(), name


def test_a_release_closes_the_unreleased_sections(tree: Path) -> None:
    unreleased = (tree / "CHANGELOG.md").read_text().partition("## Unreleased\n")[2]
    release("7.8.9", tree, day="2027-01-02")
    head, _, rest = (tree / "CHANGELOG.md").read_text().partition("## Unreleased\n")
    assert rest == f"\n## 7.8.9 - 2027-01-02\n{unreleased}"
    assert head.startswith("# Changelog")
    assert notes(tree).startswith("### ")
    assert "\n## " not in notes(tree)
    assert "## Unreleased" not in (tree / "deploy/helm/posthorn/UPGRADING.md").read_text()


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("1.2", "x.y.z"),
        ("v1.2.3", "x.y.z"),
        ("1.2.03", "x.y.z"),
        ("", "x.y.z"),
        ("0.0.9", "before"),
    ],
)
def test_a_version_that_cannot_follow_is_refused_and_nothing_is_written(
    tree: Path, new: str, said: str
) -> None:
    texts = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    with pytest.raises(ReleaseError, match=said):
        release(new, tree)
    assert texts == {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_a_second_release_without_a_change_is_refused(tree: Path) -> None:
    release("7.8.9", tree)
    with pytest.raises(ReleaseError, match="already has a section"):
        release("7.8.9", tree)
    with pytest.raises(ReleaseError, match="nothing under Unreleased"):
        release("7.9.0", tree)


@pytest.mark.parametrize("name", sorted(PLACES))
def test_a_copy_that_differs_is_named(tree: Path, name: str) -> None:
    text = (tree / name).read_text()
    at = text.rindex(version(tree))
    (tree / name).write_text(text[:at] + "6.6.6" + text[at + len(version(tree)) :])
    with pytest.raises(ReleaseError, match=rf"{name}:\d+: 6\.6\.6"):
        check(tree)


def test_a_file_that_lost_its_copy_is_named(tree: Path) -> None:
    (tree / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ReleaseError, match="Dockerfile does not hold the version"):
        check(tree)


def test_a_tag_must_be_the_version_and_have_notes(tree: Path) -> None:
    release("7.8.9", tree)
    check(tree, "v7.8.9")
    for tag in ("7.8.9", "v7.8.8"):
        with pytest.raises(ReleaseError, match=r"is not v7\.8\.9"):
            check(tree, tag)
    (tree / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    with pytest.raises(ReleaseError, match=r"no section of 7\.8\.9"):
        check(tree, "v7.8.9")


def test_the_command_line_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    for arguments in ([], ["--nonsense"], ["not-a-version"]):
        assert main(arguments) == 1
        assert "make release VERSION=x.y.z" in capsys.readouterr().err
