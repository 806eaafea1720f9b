"""Building blocks of the chart's schema: names, addresses, quantities, and values passed to
Kubernetes unchanged."""

from __future__ import annotations

from typing import Any

from deploy.helm import patterns
from deploy.helm.kubernetes import QUANTITY_PATTERN, reference

type Schema = dict[str, Any]


def closed(properties: Schema, *required: str) -> Schema:
    """Return the schema of an object that has no other keys."""
    closed: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    if required:
        closed["required"] = list(required)
    return closed


def choice(*values: str) -> Schema:
    """Return the schema of an enumeration."""
    return {"enum": list(values)}


def list_of(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def whole(least: int, most: int = 2**31 - 1) -> Schema:
    """Return the schema of an integer; Kubernetes accepts 32 bits."""
    return {"type": "integer", "minimum": least, "maximum": most}


def or_empty(schema: Schema) -> Schema:
    """Return a schema that also accepts the empty string."""
    return {"anyOf": [schema, {"const": ""}]}


def or_null(schema: Schema) -> Schema:
    """Return a schema that also accepts null."""
    return {"oneOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
WEB_LINK: Schema = {"type": "string", "pattern": patterns.WEB_LINK}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
BOOL: Schema = {"type": "boolean"}
OBJECT = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
OBJECT_NAME: Schema = {"type": "string", "pattern": f"^{OBJECT}$", "maxLength": 253}
"""The name of an object: a DNS subdomain (RFC 1123)."""
OBJECT_OR_NONE: Schema = {"type": "string", "pattern": f"^({OBJECT})?$", "maxLength": 253}
NAME_PART: Schema = {
    "type": "string",
    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
    "maxLength": 63,
}
DATA_KEY: Schema = {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$", "maxLength": 253}
"""A key in a Secret."""
DATA_KEY_OR_NONE: Schema = {"type": "string", "pattern": "^[-._a-zA-Z0-9]*$", "maxLength": 253}
WORD = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
QUALIFIED = f"^({OBJECT}/)?{WORD}$"
"""A key of a label or an annotation."""
LABELS: Schema = {
    "type": "object",
    "patternProperties": {QUALIFIED: {"type": "string", "pattern": f"^({WORD})?$"}},
    "additionalProperties": False,
}
NOTES: Schema = {
    "type": "object",
    "patternProperties": {QUALIFIED: TEXT},
    "additionalProperties": False,
}
"""Annotations."""
TAG: Schema = {"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"}
IMAGE_PATH: Schema = {"type": "string", "pattern": "^[a-z0-9]+([._/-]+[a-z0-9]+)*$"}
REGISTRY: Schema = {
    "type": "string",
    "pattern": r"^([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(:[0-9]+)?(/[a-z0-9._/-]+)?$",
}
DURATION: Schema = {"type": "string", "pattern": r"^(([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)?$"}
GATEWAY_TIME: Schema = {"type": "string", "pattern": "^(([0-9]{1,5}(h|m|s|ms)){1,4})?$"}
"""A duration of the Gateway API (GEP-2257), or none."""
INTERVAL: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
ACCESS_MODES: Schema = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1,
    "items": {"enum": ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]},
}
QUANTITY: Schema = {"type": "string", "pattern": QUANTITY_PATTERN}
STORAGE = closed({"size": QUANTITY, "className": OBJECT_OR_NONE, "accessModes": ACCESS_MODES})
FILES: Schema = {
    "type": "object",
    "patternProperties": {"^[-._a-zA-Z0-9]+$": TEXT},
    "additionalProperties": False,
}
"""Texts of files by name."""
RESOURCES = reference("ResourceRequirements")
PROBE = reference("Probe")
PEERS = list_of(reference("NetworkPolicyPeer"))
DIGEST: Schema = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
HOST: Schema = {"type": "string", "pattern": patterns.HOST, "maxLength": 253}
RECORD_NAME: Schema = {"type": "string", "pattern": patterns.RECORD_NAME, "maxLength": 253}
IPV4 = (
    r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
)
IPV6 = patterns.IPV6
_BITS4, _BITS6 = "/(3[0-2]|[12]?[0-9])", "/(12[0-8]|1[01][0-9]|[1-9]?[0-9])"
CIDR: Schema = {"type": "string", "pattern": f"^({IPV4}{_BITS4}|{IPV6}{_BITS6})$"}
NETWORK = reference("network")
"""A network or an address, as the services read them: without bits beyond the prefix."""
OWN_DEFINITIONS: Schema = {"network": {"type": "string", "pattern": patterns.NETWORK}}
ADDRESS_OR_NONE: Schema = {"type": "string", "pattern": f"^({IPV4}|{IPV6})?$"}
SHARE: Schema = {
    "oneOf": [whole(0), {"type": "string", "pattern": "^(100|[1-9]?[0-9])%$"}, {"type": "null"}]
}
KIND = choice("", "LoadBalancer", "NodePort", "ClusterIP")
PORT = whole(1, 65535)

NUMBER: Schema = {"anyOf": [whole(0), {"type": "string", "pattern": "^[0-9]+$"}]}
MEMORY: Schema = {
    "anyOf": [whole(-1), {"type": "string", "pattern": "^(-1|[0-9]+(B|kB|MB|GB|TB)?)$"}]
}
"""Settings of Postgres that it would not start with in another form."""

_NUMBERS = (
    "max_connections",
    "superuser_reserved_connections",
    "max_worker_processes",
    "max_wal_senders",
)
_MEMORIES = (
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "effective_cache_size",
    "max_wal_size",
    "wal_buffers",
)
PARAMETERS: Schema = {
    "type": "object",
    "patternProperties": {
        r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$": {"type": ["string", "number", "boolean"]},
        f"^({'|'.join(_NUMBERS)})$": NUMBER,
        f"^({'|'.join(_MEMORIES)})$": MEMORY,
    },
    "additionalProperties": False,
}
"""Settings of Postgres; those that it would not start with in another form are checked."""

PLACEMENT = {
    "nodeSelector": LABELS,
    "tolerations": list_of(reference("Toleration")),
    "affinity": reference("Affinity"),
}
SCALING = closed(
    {
        "enabled": BOOL,
        "minReplicas": whole(1),
        "maxReplicas": whole(1),
        "targetCPUUtilizationPercentage": or_null(whole(1)),
        "targetSessions": or_null(whole(1)),
        "behavior": reference("HorizontalPodAutoscalerBehavior"),
    }
)
KEDA = {
    "enabled": BOOL,
    "minReplicas": whole(0),
    "maxReplicas": whole(1),
    "pollingInterval": whole(1),
    "cooldownPeriod": whole(0),
}


def secrets_of(*parts: str) -> Schema:
    """Return the schema of names of Secrets by service."""
    return closed(dict.fromkeys(parts, OBJECT_OR_NONE))


def bundled(**more: Schema) -> Schema:
    """Return the schema of a bundled server."""
    return closed(
        {
            "enabled": BOOL,
            "image": closed(
                {"registry": REGISTRY, "repository": IMAGE_PATH, "tag": TAG, "digest": DIGEST}
            ),
            "existingSecret": OBJECT_OR_NONE,
            "storage": STORAGE,
            "resources": RESOURCES,
            **PLACEMENT,
            **more,
        }
    )


def door() -> Schema:
    """Return the schema of the ports and peers of an external server."""
    return closed({"ports": list_of(PORT), "to": PEERS})
