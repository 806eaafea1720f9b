"""Schemas of what values hand to Kubernetes as it is: containers, volumes, probes, resources,
affinities and the like.

They come from the API's own description (the newest in the package kubernetes-validate), closed, so
that a misspelt field is refused with its path before anything is sent. What the API server checks
beyond that description is added in ``_STRICTER``.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate

type Schema = dict[str, Any]

TYPES = (
    "Affinity",
    "Container",
    "EnvFromSource",
    "EnvVar",
    "HorizontalPodAutoscalerBehavior",
    "NetworkPolicyEgressRule",
    "NetworkPolicyPeer",
    "Probe",
    "ResourceRequirements",
    "Toleration",
    "TopologySpreadConstraint",
    "Volume",
    "VolumeMount",
)
"""The types that values hand over."""

_GROUPS = ("io.k8s.api.core.v1", "io.k8s.api.networking.v1", "io.k8s.api.autoscaling.v2")
_REFERENCE = re.compile(r'"\$ref": "[^"]*/([^"/]+)"')
_UNWANTED = {"description", "format"}

LABEL_NAME: Schema = {
    "type": "string",
    "maxLength": 63,
    "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
}
"""A DNS label (RFC 1123), as containers and volumes are named by."""
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]*)?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$"
_QUANTITY: Schema = {
    "anyOf": [
        {"type": "string", "pattern": QUANTITY_PATTERN},
        {"type": "number", "minimum": 0},
        {"type": "null"},
    ]
}


def _one_of(*words: str) -> Schema:
    return {"enum": [*words, None]}


def _from(least: int, most: int = 2**31 - 1) -> Schema:
    return {"type": ["integer", "null"], "minimum": least, "maximum": most}


_OPERATORS = _one_of("In", "NotIn", "Exists", "DoesNotExist")
_STRICTER: dict[str, Schema] = {
    "Container": {
        "name": LABEL_NAME,
        "image": {"type": "string", "pattern": r"^\S+$"},
        "imagePullPolicy": _one_of("Always", "IfNotPresent", "Never"),
    },
    "ContainerPort": {"containerPort": _from(1, 65535), "protocol": _one_of("TCP", "UDP", "SCTP")},
    "EnvVar": {"name": {"type": "string", "pattern": r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"}},
    "HPAScalingPolicy": {
        "type": _one_of("Pods", "Percent"),
        "value": _from(1),
        "periodSeconds": _from(1, 1800),
    },
    "HPAScalingRules": {
        "selectPolicy": _one_of("Max", "Min", "Disabled"),
        "stabilizationWindowSeconds": _from(0, 3600),
    },
    "HTTPGetAction": {"scheme": _one_of("HTTP", "HTTPS")},
    "LabelSelectorRequirement": {"operator": _OPERATORS},
    "NetworkPolicyPort": {"protocol": _one_of("TCP", "UDP", "SCTP")},
    "NodeSelectorRequirement": {
        "operator": _one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
    },
    "PreferredSchedulingTerm": {"weight": _from(1, 100)},
    "Probe": {
        "initialDelaySeconds": _from(0),
        "periodSeconds": _from(1),
        "timeoutSeconds": _from(1),
        "failureThreshold": _from(1),
        "successThreshold": _from(1),
        "terminationGracePeriodSeconds": _from(1),
    },
    "Toleration": {
        "operator": _one_of("Exists", "Equal", "Lt", "Gt"),
        "effect": _one_of("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
    },
    "TopologySpreadConstraint": {
        "maxSkew": _from(1),
        "minDomains": _from(1),
        "whenUnsatisfiable": {"enum": ["DoNotSchedule", "ScheduleAnyway"]},
        "nodeAffinityPolicy": _one_of("Honor", "Ignore"),
        "nodeTaintsPolicy": _one_of("Honor", "Ignore"),
    },
    "Volume": {"name": LABEL_NAME},
    "VolumeMount": {
        "mountPath": {"type": "string", "pattern": "^[^:]+$"},
        "mountPropagation": _one_of("None", "HostToContainer", "Bidirectional"),
    },
    "WeightedPodAffinityTerm": {"weight": _from(1, 100)},
}
"""What the API server refuses although its description allows it."""


def reference(name: str) -> Schema:
    """Return the schema that stands for a type of Kubernetes, such as ``Container``."""
    return {"$ref": f"#/definitions/{name}"}


def definitions(*names: str) -> Schema:
    """Return the schemas of these types and of all that they are made of, by name."""
    found: Schema = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        whole = _described()[name]
        wanted += [inner.rpartition(".")[2] for inner in _REFERENCE.findall(json.dumps(whole))]
        found[name] = _plain(whole)
        if name in _STRICTER:
            assert _STRICTER[name].keys() <= found[name]["properties"].keys(), name
            found[name]["properties"] |= _STRICTER[name]
    found["Quantity"] = _QUANTITY
    return {name: found[name] for name in sorted(found)}


@functools.cache
def _described() -> Schema:
    """Return the API's own description, by the types' short names."""
    newest = f"v{kubernetes_validate.latest_version()}-local-strict"
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / newest
    everything: Schema = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return {
        name.rpartition(".")[2]: schema
        for name, schema in everything.items()
        if name.rpartition(".")[0] in _GROUPS or ".apimachinery." in name
    }


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return reference(schema["$ref"].rpartition(".")[2])
    plain = {}
    for key, value in schema.items():
        if key == "properties":
            plain[key] = {name: _plain(inner) for name, inner in value.items()}
        elif key not in _UNWANTED and not key.startswith("x-"):
            plain[key] = _plain(value)
    return plain
