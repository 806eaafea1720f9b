"""Pages that are made from code: they are what the code says now, and say something of
everything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.docs.api import document
from deploy.docs.generate import REFERENCE, configuration, outputs, stale
from deploy.docs.markdown import NOTICE, amount, prose
from deploy.docs.metrics import metrics
from deploy.docs.problems import problem_types
from deploy.docs.source import attribute_docs
from deploy.helm.generate import CHART
from deploy.helm.settings import CLASSES

from posthorn.runtime.env_settings import EnvSettings
from posthorn_api.http.permissions import RULES
from posthorn_local.settings import LocalSettings


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    return outputs()


def test_generated_pages_are_up_to_date(made: dict[Path, str]) -> None:
    assert not stale(made), "run make docs"


def test_a_page_that_is_made_no_more_is_found(
    made: dict[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "api" / "gone.md"
    left.parent.mkdir()
    left.write_text(f"{NOTICE}\n\n# Gone\n")
    (tmp_path / "by-hand.md").write_text("# By hand\n")
    monkeypatch.setattr("deploy.docs.generate.REFERENCE", tmp_path)
    assert stale({}) == [left]
    assert stale({tmp_path / "new.md": "text"}) == [left, tmp_path / "new.md"]


def test_the_navigation_follows_the_folders() -> None:
    made = configuration(["index.md", "new.md", "domains.md"])
    assert (
        "reference/api/domains.md\n          - reference/api/new.md\n      - Problem types" in made
    )
    assert made.count("reference/api/") == 3
    assert made.count("      - adr/") == len(list((REFERENCE.parent / "adr").glob("*.md")))


def test_every_setting_has_a_meaning(made: dict[Path, str]) -> None:
    page = made[REFERENCE / "settings.md"]
    owners: list[type[EnvSettings]] = [*CLASSES.values(), LocalSettings]
    for owner in owners:
        for name in owner.model_fields:
            row = re.search(
                rf"^\| `POSTHORN_{name.upper()}`( ◆)? \| (.+) \| (.+) \| (.+) \|$",
                page,
                re.MULTILINE,
            )
            assert row, f"{owner.__name__}.{name} has no docstring, or is not on the page"
    assert len(re.findall(r"^\| `POSTHORN_", page, re.MULTILINE)) > 150


def test_only_the_class_itself_describes_its_settings() -> None:
    class Parent(EnvSettings):
        first: int = 1
        """The first."""

    class Child(Parent):
        second: int = 2
        third: int = 3
        """The third."""

    assert attribute_docs(Child) == {"second": "", "third": "The third."}


def test_every_metric_of_the_alerts_and_the_dashboards_is_described() -> None:
    described = {metric.name for metric in metrics()}
    assert len(described) > 100
    dashboards = sorted((CHART / "files" / "dashboards").glob("*.json"))
    assert len(dashboards) == 5
    for name in (CHART / "files" / "alerts.yaml", *dashboards):
        used = set(re.findall(r"posthorn_[a-z0-9_]+(?=[{\[( ])", name.read_text()))
        assert used
        for each in used:
            assert re.sub("_(bucket|sum|count)$", "", each) in described, f"{name}: {each}"


def test_every_alert_is_linked_from_a_metric(made: dict[Path, str]) -> None:
    page = made[REFERENCE / "metrics.md"]
    for alert in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text()):
        if "posthorn_" in alert["expr"]:
            assert f"[{alert['alert']}](../runbooks/{alert['alert'].lower()}.md)" in page


def test_every_operation_has_a_section_with_who_may_call_it(made: dict[Path, str]) -> None:
    sections = "\n".join(
        text for path, text in made.items() if path.parent.name == "api" and path.name != "index.md"
    )
    operations: list[dict[str, Any]] = [
        operation
        for path, item in document()["paths"].items()
        if path.startswith("/v1/")
        for operation in item.values()
    ]
    assert {operation["operationId"] for operation in operations} == RULES.keys()
    assert sections.count("\nRoles: ") == len(operations) > 80
    for operation in operations:
        assert f"\n## {operation['summary'].rstrip('.')}\n" in sections


def test_problem_types_are_those_of_the_openapi_descriptions() -> None:
    statuses = {status for found in problem_types().values() for status in found}
    described = {
        int(status)
        for item in document()["paths"].values()
        for operation in item.values()
        for status in operation["responses"]
        if int(status) >= 400
    }
    assert described <= statuses


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Two\n    lines.", "Two lines."),
        ("``code`` and <tag>", "`code` and &lt;tag>"),
        ("``events.<slot>``", "`events.<slot>`"),
    ],
)
def test_docstrings_become_markdown(text: str, shown: str) -> None:
    assert prose(text) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("ingest_max_bytes", 8 * 1024**3, "`8589934592` (8 GiB)"),
        ("events_max_age_seconds", 14 * 86_400.0, "`1209600` (14 days)"),
        ("grace_seconds", 20.0, "`20`"),
        ("smtp_port", 2525, "`2525`"),
        ("retry_jitter", 0.2, "`0.2`"),
    ],
)
def test_numbers_are_shown_with_their_unit(name: str, value: float, shown: str) -> None:
    assert amount(name, value) == shown
