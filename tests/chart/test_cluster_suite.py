"""What ``make cluster`` stands on, as far as it can be looked at without a cluster: values,
workflow, balance."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, NEWEST, OLDEST, merged, render
from tests.cluster.images import SERVICES
from tests.cluster.ledger import account
from tests.cluster.phases import PHASES

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "tests" / "cluster"
WORKFLOW = ROOT / ".github" / "workflows" / "cluster.yml"


def line(**entry: Any) -> str:
    return json.dumps(entry)


LEDGER = [
    line(phase="calm", at=0.0),
    line(id=1, at=1.0, took=0.1, answer="250"),
    line(client="POP3", at=1.5, took=0.1, well=True, said=""),
    line(id=2, at=2.0, took=0.1, answer="250"),
    line(phase="storm", at=3.0),
    line(client="POP3", at=3.5, took=0.1, well=False, said="refused"),
    line(id=3, at=4.0, took=0.1, answer="451"),
    line(id=4, at=5.0, took=0.1, answer="unknown"),
    line(id=5, at=9.0, took=0.1, answer="250"),
    line(id=6, at=9.5, took=0.1, answer="refused"),
    line(id=7, at=10.0, took=0.1, answer="250"),
    line(phase="end", at=11.0),
]


def test_a_run_without_loss_is_good() -> None:
    result = account(LEDGER, {1: 1, 2: 1, 4: 1, 5: 1, 7: 1})
    assert result.complaints() == []
    calm, storm = result.phases
    # the pause began there
    assert calm.row() == ["calm", "3", "2", "2", "0", "0", "0", "0", "0", "7.0"]
    assert storm.row() == ["storm", "8", "5", "2", "1", "0", "2", "0", "0", "1.0"]
    assert (storm.clients["POP3"]["failed"], calm.clients["POP3"]["well"]) == (1, 1)
    assert result.table().splitlines()[-1] == "| all | 11 | 7 | 4 | 1 | 0 | 2 | 0 | 0 | 7.0 |"
    assert json.loads(json.dumps(result.document()))["total"]["tries"] == 7


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ({1: 1, 4: 1, 5: 1, 7: 1}, "lost: 1, such as [2]"),
        ({1: 1, 2: 2, 5: 1, 7: 1}, "doubled: 1, such as [2]"),
        ({1: 1, 2: 1, 3: 2, 5: 1, 7: 1}, "doubled: 1, such as [3]"),
    ],
)
def test_what_is_lost_or_doubled_is_told(found: dict[int, int], complaint: str) -> None:
    assert account(LEDGER, found).complaints() == [complaint]


def test_a_permanent_refusal_an_altered_message_and_a_fault_are_told() -> None:
    everything = dict.fromkeys((1, 2, 4, 5, 7), 1)
    refused = [*LEDGER[:-1], line(id=8, at=10.5, took=0.1, answer="550")]
    assert account(refused, everything).complaints() == ["permanent refusals: {'550': 1}"]
    assert account(LEDGER, everything, [5]).complaints() == ["altered: 1, such as [5]"]
    failed = account(LEDGER, everything)
    failed.faults["storm"] = "AssertionError: not ready"
    assert failed.complaints() == ["storm: AssertionError: not ready"]
    assert account([line(phase="calm", at=0.0)], {}).complaints() == ["nothing was accepted"]


@pytest.mark.parametrize("kube", [OLDEST, NEWEST])
def test_the_suites_values_render(kube: str) -> None:
    layers = [
        json.loads((CLUSTER / f"{name}.json").read_text()) for name in ("values", "standins-values")
    ]
    rendered = render(merged(*layers), kube=kube)
    images = {
        found["spec"]["template"]["spec"]["containers"][0]["image"]
        for found in rendered.by_kind("StatefulSet").values()
    }
    assert {image.partition("/")[2] for image in images} == {"posthorn/standins:1"}
    own = {
        image
        for deployment in rendered.by_kind("Deployment").values()
        for image in re.findall(r"posthorn/posthorn-([\w-]+)", json.dumps(deployment))
    }
    assert own == set(SERVICES)
    assert render(layers[0], kube=kube).by_kind("StatefulSet").keys() == {
        f"posthorn-{each}" for each in ("postgresql", "nats", "s3")
    }


def test_the_suite_does_what_operators_do() -> None:
    names = " ".join(PHASES)
    for deed in (
        "scale", "rollout restart", "helm upgrade", "helm rollback", "drain", "force-delete", "certificate", "uninstall",
        "kubectl", "autoscaling",
    ):  # fmt: skip
        assert deed in names, deed
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert "make cluster" in page
    settings = (CLUSTER / "settings.py").read_text()
    for name in set(re.findall(r'text\("([A-Z_]+)"', settings)):
        assert f"POSTHORN_CLUSTER_{name}" in page, name


def test_the_workflow_runs_it_on_the_oldest_and_the_newest_kubernetes() -> None:
    document = yaml.safe_load(WORKFLOW.read_text())
    # YAML 1.1 takes "on" for a truth
    assert {"pull_request", "schedule", "workflow_dispatch"} == document[True].keys()
    (job,) = document["jobs"].values()
    versions = {
        re.findall(r"node:v(\d+\.\d+)", each["node"])[0]
        for each in job["strategy"]["matrix"]["include"]
    }
    assert versions == {OLDEST, NEWEST}
    assert all("@sha256:" in each["node"] for each in job["strategy"]["matrix"]["include"])
    assert {each["helm"][:2] for each in job["strategy"]["matrix"]["include"]} == {"v3", "v4"}
    assert "make cluster" in [step.get("run") for step in job["steps"]]
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
    kind = yaml.safe_load(
        (
            ROOT
            / next(
                step["with"]["config"] for step in job["steps"] if "kind" in step.get("uses", "")
            )
        ).read_text()
    )
    assert [node["role"] for node in kind["nodes"]].count("worker") == 2
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"].startswith(
        f">={OLDEST}"
    )


def test_make_test_leaves_it_out() -> None:
    makefile = (ROOT / "Makefile").read_text()
    test = re.search(r"^test: .*\n(.*)$", makefile, re.MULTILINE)
    assert test
    assert "not cluster" in test[1]
    assert "make cluster" not in (ROOT / ".ci" / "run").read_text()
