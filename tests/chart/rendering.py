"""The chart, rendered: what tests look at."""

from __future__ import annotations

import copy
import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "posthorn"
CASES = sorted(
    path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml")
)
OLDEST, NEWEST = "1.25", "1.37"
NAME, NAMESPACE = "posthorn", "mail"

type Object = dict[str, Any]


@functools.cache
def chart() -> helm_python.Chart:
    """The chart, loaded once."""
    return helm_python.Chart.load(CHART)


def chart_for(values: dict[str, Any]) -> helm_python.Chart:
    """The chart to render values with: the chart itself when its schema refuses them, else one
    without a schema. Helm reads the schema anew for each rendering, and takes longer over it than
    over the templates."""
    defaults, schema, unchecked = _chart_without_schema()
    return unchecked if schema.is_valid(merged(defaults, values)) else chart()


@functools.cache
def _chart_without_schema() -> tuple[dict[str, Any], jsonschema.Draft7Validator, helm_python.Chart]:
    schema = "values.schema.json"
    with tempfile.TemporaryDirectory() as directory:
        copied = Path(directory) / CHART.name
        shutil.copytree(CHART, copied, ignore=shutil.ignore_patterns(schema))
        unchecked = helm_python.Chart.load(copied)
    validator = jsonschema.Draft7Validator(json.loads((CHART / schema).read_text()))
    return yaml.safe_load((CHART / "values.yaml").read_text()), validator, unchecked


def values_of(case: str) -> dict[str, Any]:
    """The values file of a case."""
    loaded: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{case}-values.yaml").read_text())
    return loaded


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Values put over one another, as several --values are."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            result[key] = (
                merged(below, value)
                if isinstance(below, dict) and isinstance(value, dict)
                else copy.deepcopy(value)
            )
    return result


def at(path: str, value: Any) -> dict[str, Any]:
    """A value under a path with dots."""
    for key in reversed(path.split(".")):
        value = {key: value}
    result: dict[str, Any] = value
    return result


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of a release, and what it says."""

    objects: list[Object]
    notes: str

    def by_kind(self, kind: str) -> dict[str, Object]:
        """The objects of a kind, by name."""
        return {found["metadata"]["name"]: found for found in self.objects if found["kind"] == kind}

    def pods(self) -> Iterator[tuple[str, Object, Object]]:
        """Every pod there will be: whose it is, its metadata, its spec."""
        for found in self.objects:
            name = f"{found['kind']}/{found['metadata']['name']}"
            if found["kind"] == "Pod":
                yield name, found["metadata"], found["spec"]
            elif "template" in found.get("spec", {}) and found["kind"] in (
                "Deployment",
                "StatefulSet",
                "Job",
                "DaemonSet",
            ):
                template = found["spec"]["template"]
                yield name, template["metadata"], template["spec"]


def render(
    values: dict[str, Any] | None = None,
    *,
    kube: str = NEWEST,
    revision: int = 1,
    upgrade: bool = False,
) -> Rendered:
    """Render the chart for a version of Kubernetes."""
    wanted = merged(
        at("capabilities.kubeVersion", kube), at("secrets.generate", "always"), values or {}
    )
    files = chart_for(wanted).render(
        wanted,
        name=NAME,
        namespace=NAMESPACE,
        revision=revision,
        is_install=not upgrade,
        is_upgrade=upgrade,
    )
    return read(files)


def read(files: dict[str, str]) -> Rendered:
    """Take rendered files apart."""
    objects: list[Object] = []
    notes = ""
    for path, text in files.items():
        if path.endswith("NOTES.txt"):
            notes = text
        else:
            objects += [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]
    return Rendered(objects, notes)


@functools.cache
def case(name: str, kube: str = NEWEST) -> Rendered:
    """A values file, rendered once. Do not change what it gives."""
    return render(values_of(name), kube=kube)
