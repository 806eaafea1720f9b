"""The chart's values.schema.json: written here as Python, with the services' own settings filled in from their classes.

Rules:

- Every object that the chart knows is closed, so that a misspelt key is refused with its path. Open are only those that go to
  Kubernetes as they are: labels, annotations, resources, probes, volumes.
- What a service reads may be set by the variable's name under ``settings``, with the type and the limits of the class. What the
  chart sets itself may not: two places for one fact would contradict one another some day.
"""

from __future__ import annotations

from typing import Any

from deploy.helm import patterns

from posthorn.runtime.settings import PREFIX, EnvSettings
from posthorn_api.settings import ApiSettings
from posthorn_delivery.settings import DeliverySettings
from posthorn_pop3.settings import Pop3Settings
from posthorn_relay.settings import RelaySettings
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings

type Schema = dict[str, Any]

CLASSES: dict[str, type[EnvSettings]] = {
    "smtpIn": SmtpInSettings,
    "submission": SubmissionInSettings,
    "delivery": DeliverySettings,
    "relay": RelaySettings,
    "pop3": Pop3Settings,
    "api": ApiSettings,
}
"""The parts by the keys of their values, and what each reads."""

_DECIDED_BY_VALUES = """
    API_ADMIN_KEY API_ADMIN_KEY_FILE API_PORT BLOBS DATABASE_POOL DATABASE_PREPARED DATABASE_URL DATABASE_WAIT_SECONDS
    DEAD_MAX_BYTES EVENTS_MAX_AGE_SECONDS EVENTS_MAX_BYTES GRACE_SECONDS HEALTH_PORT INGEST_MAX_BYTES LOG_LEVEL
    NATS_CREDS_FILE NATS_REPLICAS NATS_URL OUTBOUND_ADDRESSES POP3S_PORT POP3_PORT POP3_PROXY_PORT POP3S_PROXY_PORT
    PROXY_NETWORKS PUBLIC_MTA_STS PUBLIC_MX PUBLIC_POP3 PUBLIC_POP3S_PORT PUBLIC_POP3_PORT PUBLIC_REPORTS
    PUBLIC_SPF_INCLUDE PUBLIC_SUBMISSION PUBLIC_SUBMISSIONS_PORT PUBLIC_SUBMISSION_PORT PUBLIC_WEB RELAY_HOSTNAME
    RELAY_PROXY S3_ACCESS_KEY S3_ENDPOINT S3_REGION S3_SECRET_KEY SECRET_KEY SMTP_HOSTNAME SMTP_PORT SMTP_PROXY_PORT
    SMTP_ROLE SMTP_SPOOL_DIR SUBMISSIONS_PORT SUBMISSIONS_PROXY_PORT SUBMISSION_MESSAGES_PER_HOUR SUBMISSION_PORT
    SUBMISSION_PROXY_PORT SUBMISSION_RECIPIENTS_PER_HOUR TLS_DIR
"""
MANAGED = frozenset(PREFIX + name for name in _DECIDED_BY_VALUES.split())
"""Variables that values of the chart decide."""


def variables(part: str) -> dict[str, Schema]:
    """What may stand under ``settings`` of a part: schemas by the variables' names."""
    document = CLASSES[part].model_json_schema()
    shared = document.get("$defs", {})
    found = {PREFIX + name.upper(): _plain(schema, shared) for name, schema in document["properties"].items()}
    return {name: _strict(name, found[name]) for name in sorted(found) if name not in MANAGED}


def _strict(name: str, schema: Schema) -> Schema:
    """A schema with the pattern of what the class checks by code of its own."""
    pattern = patterns.OF_SETTINGS.get(name)
    if pattern is None:
        return schema
    text = _SOURCE if pattern == patterns.SOURCE else {"type": "string", "pattern": pattern}
    return {**schema, "items": text} if schema["type"] == "array" else text


def _plain(schema: Any, shared: Schema) -> Any:
    """A schema without pydantic's titles and references; a value that may be absent is left out here instead."""
    if isinstance(schema, list):
        return [_plain(item, shared) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(shared[schema["$ref"].rpartition("/")[2]], shared)
    choices = [item for item in schema.get("anyOf", []) if item.get("type") != "null"]
    if len(choices) == 1:
        return _plain(choices[0], shared)
    unwanted = {"title", "default", "format", "writeOnly", "description"}
    return {key: _plain(value, shared) for key, value in schema.items() if key not in unwanted}


def _closed(properties: Schema, *required: str) -> Schema:
    closed: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    if required:
        closed["required"] = list(required)
    return closed


def _choice(*values: str) -> Schema:
    return {"enum": list(values)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _whole(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


def _or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "minLength": 1}
_BOOL: Schema = {"type": "boolean"}
_OPEN: Schema = {"type": "object"}
_OPEN_LIST = _list(_OPEN)
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"}
_DIGEST: Schema = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
_HOST: Schema = {"type": "string", "pattern": patterns.HOST, "maxLength": 253}
_RECORD_NAME: Schema = {"type": "string", "pattern": patterns.RECORD_NAME, "maxLength": 253}
_CIDR: Schema = {"$ref": "#/definitions/network"}
_SOURCE: Schema = {"$ref": "#/definitions/source"}
_DEFINITIONS: Schema = {
    "network": {"type": "string", "pattern": patterns.NETWORK},
    "source": {"type": "string", "pattern": patterns.SOURCE},
}
_DURATION: Schema = {"type": "string", "pattern": patterns.GO_DURATION}
_INTERVAL: Schema = {"type": "string", "minLength": 1, "pattern": patterns.PROMETHEUS_DURATION}
_SHARE: Schema = {"oneOf": [_whole(0), {"type": "string", "pattern": "^[0-9]+%$"}, {"type": "null"}]}
_KIND = _choice("", "LoadBalancer", "NodePort", "ClusterIP")
_PORT = _whole(1, 65535)

_PLACEMENT = {"nodeSelector": _TEXTS, "tolerations": _OPEN_LIST, "affinity": _OPEN}
_SCALING = _closed(
    {
        "enabled": _BOOL,
        "minReplicas": _whole(1),
        "maxReplicas": _whole(1),
        "targetCPUUtilizationPercentage": _or_null(_whole(1)),
        "targetSessions": _or_null(_whole(1)),
        "behavior": _OPEN,
    }
)
_KEDA = {
    "enabled": _BOOL,
    "minReplicas": _whole(0),
    "maxReplicas": _whole(1),
    "pollingInterval": _whole(1),
    "cooldownPeriod": _whole(0),
}


def _foreign(**more: Schema) -> Schema:
    return _closed(
        {
            "enabled": _BOOL,
            "image": _closed({"registry": _NAME, "repository": _NAME, "tag": _TEXT, "digest": _DIGEST}),
            "existingSecret": _TEXT,
            "storage": _closed({"size": _QUANTITY, "className": _TEXT}),
            "resources": _OPEN,
            **_PLACEMENT,
            **more,
        }
    )


def _part(key: str, *ports: str, **more: Schema) -> Schema:
    properties: Schema = {
        "replicas": _whole(0),
        "image": _closed({"repository": _NAME, "tag": _TEXT, "digest": _DIGEST}),
        "settings": _closed(variables(key)),
        "extraEnv": _list({"type": "object", "required": ["name"], "properties": {"name": _NAME}}),
        "extraEnvFrom": _OPEN_LIST,
        "extraVolumes": _OPEN_LIST,
        "extraVolumeMounts": _OPEN_LIST,
        "extraContainers": _OPEN_LIST,
        "initContainers": _OPEN_LIST,
        "podLabels": _TEXTS,
        "podAnnotations": _TEXTS,
        "annotations": _TEXTS,
        "resources": _OPEN,
        "preStopSeconds": _whole(0),
        "graceSeconds": {"type": "number", "exclusiveMinimum": 0},
        "terminationGracePeriodSeconds": _or_null(_whole(1)),
        "tmpSize": _QUANTITY,
        "podDisruptionBudget": _closed({"enabled": _BOOL, "maxUnavailable": _SHARE, "minAvailable": _SHARE}),
        "topologySpreadConstraints": _or_null(_OPEN_LIST),
        "priorityClassName": _TEXT,
        "startupProbe": _OPEN,
        "livenessProbe": _OPEN,
        "readinessProbe": _OPEN,
        **_PLACEMENT,
        **more,
    }
    if ports:
        properties["autoscaling"] = _SCALING
        properties["service"] = _closed(
            {
                "type": _KIND,
                "loadBalancerIP": _TEXT,
                "loadBalancerSourceRanges": _list(_CIDR),
                "annotations": _TEXTS,
                "nodePorts": _closed(dict.fromkeys(ports, _whole(0, 65535))),
            }
        )
    return _closed(properties)


def _door() -> Schema:
    return _closed({"ports": _list(_PORT), "to": _OPEN_LIST})


def _everywhere() -> Schema:
    """What may stand under the values' own ``settings``: all that any part reads."""
    merged: Schema = {}
    for key in CLASSES:
        merged |= variables(key)
    return _closed({name: merged[name] for name in sorted(merged)})


def schema() -> Schema:
    """The whole schema."""
    octets = _whole(1_048_576)
    offered = _or_null(_whole(0, 65535))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart posthorn",
        "definitions": _DEFINITIONS,
        **_closed(
            {
                "global": _OPEN,
                "hostname": _HOST,
                "nameOverride": _TEXT,
                "fullnameOverride": _TEXT,
                "commonLabels": _TEXTS,
                "commonAnnotations": _TEXTS,
                "image": _closed(
                    {
                        "registry": _NAME,
                        "tag": _TEXT,
                        "pullPolicy": _choice("Always", "IfNotPresent", "Never"),
                        "pullSecrets": _list(_NAME),
                    }
                ),
                "logLevel": _choice("debug", "info", "warning", "error"),
                "settings": _everywhere(),
                "capabilities": _closed(
                    {
                        "kubeVersion": {"type": "string", "pattern": r"^(v?[0-9]+\.[0-9]+(\.[0-9]+)?.*)?$"},
                        "apiVersions": _list(_NAME),
                    }
                ),
                "serviceAccount": _closed({"create": _BOOL, "name": _TEXT, "annotations": _TEXTS}),
                "secretKey": _closed({"existingSecret": _TEXT, "key": _NAME}),
                "accountLimits": _closed({"messagesPerHour": _whole(0), "recipientsPerHour": _whole(0)}),
                "public": _closed(
                    {
                        "mx": _list(_HOST),
                        "submission": _or_empty(_HOST),
                        "submissionPort": offered,
                        "submissionsPort": offered,
                        "pop3": _or_empty(_HOST),
                        "pop3Port": offered,
                        "pop3sPort": offered,
                        "web": _or_empty(_HOST),
                        "mtaSts": _choice("testing", "enforce", "none"),
                        "spfInclude": _or_empty(_RECORD_NAME),
                        "reports": {"type": "string", "pattern": patterns.MAIL_ADDRESS, "maxLength": 254},
                    }
                ),
                "outboundAddresses": _list(_SOURCE),
                "tls": _closed(
                    {
                        "existingSecret": _TEXT,
                        "selfSigned": _BOOL,
                        "certManager": _closed(
                            {
                                "enabled": _BOOL,
                                "issuerRef": _closed({"name": _TEXT, "kind": _NAME, "group": _NAME}),
                                "dnsNames": _list(_NAME),
                                "duration": _DURATION,
                                "renewBefore": _DURATION,
                                "privateKey": _closed(
                                    {"algorithm": _choice("RSA", "ECDSA", "Ed25519"), "size": _whole(0)}
                                ),
                            }
                        ),
                    }
                ),
                "service": _closed(
                    {
                        "type": _choice("LoadBalancer", "NodePort", "ClusterIP"),
                        "externalTrafficPolicy": _choice("Local", "Cluster"),
                        "loadBalancerClass": _TEXT,
                        "annotations": _TEXTS,
                        "ipFamilyPolicy": _choice("", "SingleStack", "PreferDualStack", "RequireDualStack"),
                        "ipFamilies": _list(_choice("IPv4", "IPv6")),
                    }
                ),
                "proxyProtocol": _closed({"enabled": _BOOL, "networks": _list(_CIDR)}),
                "smtpIn": _part("smtpIn", "smtp", enabled=_BOOL),
                "submission": _part("submission", "submission", "submissions", enabled=_BOOL),
                "delivery": _part(
                    "delivery",
                    keda=_closed(
                        {**_KEDA, "lagThreshold": _whole(1), "natsMonitoringEndpoint": _TEXT, "natsAccount": _NAME}
                    ),
                ),
                "relay": _part(
                    "relay",
                    enabled=_BOOL,
                    hostname=_or_empty(_HOST),
                    proxy=_closed({"existingSecret": _TEXT, "key": _NAME}),
                    hostNetwork=_BOOL,
                    keda=_closed({**_KEDA, "queueThreshold": _whole(1), "prometheusAddress": _TEXT}),
                ),
                "pop3": _part("pop3", "pop3", "pop3s", enabled=_BOOL),
                "api": _part(
                    "api",
                    "http",
                    adminKey=_closed({"existingSecret": _TEXT, "key": _NAME}),
                    ingress=_closed(
                        {
                            "enabled": _BOOL,
                            "className": _TEXT,
                            "host": _TEXT,
                            "tlsSecret": _TEXT,
                            "annotations": _TEXTS,
                            "pageHosts": _list(_HOST),
                            "pageTlsSecret": _TEXT,
                        }
                    ),
                ),
                "migrations": _closed(
                    {
                        "enabled": _BOOL,
                        "waitSeconds": _whole(1),
                        "ttlSecondsAfterFinished": _whole(0),
                        "annotations": _TEXTS,
                        "resources": _OPEN,
                    }
                ),
                "postgresql": _closed(
                    {
                        "existingSecret": _TEXT,
                        "urlKey": _NAME,
                        "url": {"type": "string", "pattern": "^(postgres(ql)?://.+)?$"},
                        "pool": _whole(1, 100),
                        "preparedStatements": _BOOL,
                        "bundled": _foreign(
                            parameters={
                                "type": "object",
                                "additionalProperties": {"type": ["string", "number", "boolean"]},
                            }
                        ),
                    }
                ),
                "nats": _closed(
                    {
                        "existingSecret": _TEXT,
                        "urlKey": _NAME,
                        "url": {"type": "string", "pattern": "^((nats|tls)://.+)?$"},
                        "credsSecret": _TEXT,
                        "credsKey": _NAME,
                        "streamReplicas": _or_null(_whole(1, 5)),
                        "ingestMaxBytes": octets,
                        "deadMaxBytes": octets,
                        "eventsMaxBytes": octets,
                        "eventsMaxAgeSeconds": _whole(300),
                        "bundled": _foreign(replicas={"enum": [1, 3, 5]}),
                    }
                ),
                "s3": _closed(
                    {
                        "bucket": {
                            "type": "string",
                            "allOf": [{"pattern": patterns.BUCKET}, {"pattern": patterns.BUCKET_LENGTH}],
                        },
                        "endpoint": {"type": "string", "pattern": patterns.ENDPOINT},
                        "region": {"type": "string", "pattern": patterns.REGION},
                        "existingSecret": _TEXT,
                        "accessKeyKey": _NAME,
                        "secretKeyKey": _NAME,
                        "bundled": _foreign(),
                    }
                ),
                "networkPolicy": _closed(
                    {
                        "enabled": _BOOL,
                        "apiFrom": _OPEN_LIST,
                        "metricsFrom": _OPEN_LIST,
                        "kedaFrom": _OPEN_LIST,
                        "relayPorts": _list(_PORT),
                        "webhookPorts": _list(_PORT),
                        "postgresql": _door(),
                        "nats": _door(),
                        "s3": _door(),
                        "dnsTo": _OPEN_LIST,
                        "extraEgress": _OPEN_LIST,
                    }
                ),
                "monitoring": _closed(
                    {
                        "serviceMonitor": _closed({"enabled": _BOOL, "labels": _TEXTS, "interval": _INTERVAL}),
                        "prometheusRule": _closed(
                            {
                                "enabled": _BOOL,
                                "labels": _TEXTS,
                                "alertLabels": _TEXTS,
                                "disabled": _list(_NAME),
                                "runbookBaseUrl": _NAME,
                            }
                        ),
                        "dashboard": _closed({"enabled": _BOOL, "labels": _TEXTS, "annotations": _TEXTS}),
                    }
                ),
                "test": _closed({"domain": _HOST, "timeoutSeconds": _whole(1)}),
                "extraObjects": _list({"type": ["object", "string"]}),
            }
        ),
    }


def _or_empty(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"const": ""}]}
