"""Workflows and issue forms: GitHub reads them only when it is too late, so their references are
checked here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.release import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(
    path
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
    if path.name != "config.yml"
)
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def load(path: Path) -> dict[str, Any]:
    # PyYAML reads YAML 1.1, where the key `on` is true
    found = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in found.items()}


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load(path)["jobs"]
    return found


def steps(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in jobs(path).items():
        for step in job["steps"]:
            yield name, step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: *(.*)$", path.read_text(), re.MULTILINE)
    assert used
    for each in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_an_action_has_one_version_in_all_workflows() -> None:
    pinned: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, commit in re.findall(r"uses: *([\w./-]+)@(\S+)", path.read_text()):
            pinned.setdefault(action, set()).add(commit)
    assert {action: commits for action, commits in pinned.items() if len(commits) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_a_trigger_and_each_job_a_limit_and_rights(path: Path) -> None:
    workflow = load(path)
    assert workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 120, name
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"]), name
        needed = job.get("needs", [])
        assert {needed} if isinstance(needed, str) else set(needed) <= set(workflow["jobs"]), name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_step_runs_is_there(path: Path) -> None:
    for _, step in steps(path):
        for line in step.get("run", "").splitlines():
            for name in re.findall(r"(?:^|\s)(\.?[\w-]+(?:/[\w.-]+)+)(?=\s|$)", line):
                if not name.startswith("oci:"):
                    assert (ROOT / name).exists(), line
            for target in re.findall(r"\bmake ([a-z-]+)", line):
                assert target in TARGETS, line
            for module in re.findall(r"\bpython3? -m ([\w.]+)", line):
                assert (ROOT / f"{module.replace('.', '/')}.py").exists(), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_from_outside_is_put_into_a_script(path: Path) -> None:
    """An expression within `run` is pasted into the shell's text; variables are not."""
    for _, step in steps(path):
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_pipe_fails_with_its_first_command(path: Path) -> None:
    """GitHub's default shell has no pipefail; `shell: bash` has."""
    workflow = load(path)
    for _, step in steps(path):
        if re.search(r"(?<!\|)\|(?!\|)", step.get("run", "")):
            assert workflow["defaults"]["run"]["shell"] == "bash"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_an_expression_reads_is_there(path: Path) -> None:
    workflow = jobs(path)
    for name, job in workflow.items():
        text = yaml.safe_dump(job)
        ids = {step["id"] for step in job["steps"] if "id" in step}
        assert set(re.findall(r"\bsteps\.(\w+)\.", text)) <= ids, name
        for other, output in re.findall(r"\bneeds\.(\w+)\.outputs\.(\w+)", text):
            assert other in job["needs"], name
            assert output in workflow[other]["outputs"], name
        for key in re.findall(r"\bmatrix\.(\w+)", text):
            matrix = job["strategy"]["matrix"]
            assert key in matrix or all(key in each for each in matrix["include"]), name


def test_ci_runs_what_a_developer_can_run() -> None:
    assert any(
        re.search(r"(^|\s)\.ci/run$", step.get("run", ""))
        for _, step in steps(ROOT / ".github/workflows/ci.yml")
    )
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_a_release_publishes_every_image_that_the_chart_names() -> None:
    release = jobs(ROOT / ".github/workflows/release.yml")
    chart = yaml.safe_load((ROOT / "deploy/helm/posthorn/Chart.yaml").read_text())
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    published = {f"posthorn-{each}" for each in release["images"]["strategy"]["matrix"]["service"]}
    assert published - {"posthorn-cli"} == {each["name"] for each in images}
    assert "posthorn-cli" in published
    (build,) = [step for step in release["images"]["steps"] if step.get("id") == "build"]
    assert build["with"]["platforms"] == "linux/amd64,linux/arm64"
    assert (build["with"]["sbom"], build["with"]["provenance"]) == (True, "mode=max")
    arguments = set(re.findall(r"^(\w+)=", build["with"]["build-args"], re.MULTILINE))
    assert arguments <= set(
        re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    )
    for job in ("images", "chart"):
        assert release[job]["permissions"]["id-token"] == "write"
        assert any("cosign sign" in step.get("run", "") for step in release[job]["steps"]), job
    for job in ("images", "chart", "publish"):
        assert "check" in release[job]["needs"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one(path: Path) -> None:
    form = load(path)
    assert (
        {"name", "description", "body"}
        <= set(form)
        <= {"name", "description", "title", "labels", "body"}
    )
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert ids
    assert len(set(ids)) == len(ids)
    for field in form["body"]:
        attributes = field["attributes"]
        match field["type"]:
            case "markdown":
                assert attributes["value"].strip()
            case "input" | "textarea":
                assert attributes["label"]
            case "dropdown":
                assert len(set(attributes["options"])) == len(attributes["options"]) > 1
            case "checkboxes":
                assert all(option["label"] for option in attributes["options"])
            case other:
                raise AssertionError(f"no such field in an issue form: {other}")


def test_there_is_a_form_for_each_kind_of_report() -> None:
    assert {path.stem for path in FORMS} == {"bug", "lost-mail", "feature"}


def test_renovate_is_told_in_json() -> None:
    found = json.loads((ROOT / ".github" / "renovate.json").read_text())
    assert "github-actions" in found["enabledManagers"]
    (regex,) = found["customManagers"]
    workflow = (ROOT / ".github/workflows/release.yml").read_text()
    assert re.search(regex["matchStrings"][0].replace("?<", "?P<"), workflow)


def test_pre_commit_runs_the_locked_ruff() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"].split()[:2] for hook in repository["hooks"]] == [
        [".venv/bin/ruff", "check"],
        [".venv/bin/ruff", "format"],
    ]
