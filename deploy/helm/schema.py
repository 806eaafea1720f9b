"""The chart's values.schema.json: written here as Python, with the services' own settings filled in
from their classes.

Rules:

- Every object is closed, so that a misspelt key is refused with its path. Those that go to
  Kubernetes as they are (resources, probes, volumes and the like) have the types of its own API
  (``kubernetes.py``).
- Whatever the API server would refuse is refused here or in ``templates/_guard*.tpl``, before any
  object of a release is changed.
- What a service reads may be set by the variable's name under ``settings``, with the type and the
  limits of the class. What the chart sets itself may not: two places for one fact would contradict
  one another some day.
"""

from __future__ import annotations

from typing import Any

from deploy.helm import patterns
from deploy.helm.fields import (
    ADDRESS_OR_NONE,
    BOOL,
    CIDR,
    DATA_KEY,
    DATA_KEY_OR_NONE,
    DIGEST,
    DURATION,
    FILES,
    HOST,
    IMAGE_PATH,
    INTERVAL,
    KEDA,
    KIND,
    LABELS,
    NAME,
    NAME_PART,
    NETWORK,
    NOTES,
    OBJECT,
    OBJECT_NAME,
    OBJECT_OR_NONE,
    OWN_DEFINITIONS,
    PARAMETERS,
    PEERS,
    PLACEMENT,
    PORT,
    PROBE,
    QUANTITY,
    RECORD_NAME,
    REGISTRY,
    RESOURCES,
    SCALING,
    SHARE,
    STORAGE,
    TAG,
    TEXT,
    TEXTS,
    WEB_LINK,
    WORD,
    bundled,
    choice,
    closed,
    door,
    list_of,
    or_empty,
    or_null,
    secrets_of,
    whole,
)
from deploy.helm.kubernetes import TYPES, definitions, reference

from posthorn.model.streams import MOST_PARTITIONS
from posthorn.runtime.settings import PREFIX, EnvSettings
from posthorn_api.settings import ApiSettings
from posthorn_delivery.settings import DeliverySettings
from posthorn_imap.settings import ImapSettings
from posthorn_pop3.settings import Pop3Settings
from posthorn_relay.settings import RelaySettings
from posthorn_scan.settings import ScanSettings
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings

type Schema = dict[str, Any]

CLASSES: dict[str, type[EnvSettings]] = {
    "smtpIn": SmtpInSettings,
    "submission": SubmissionInSettings,
    "delivery": DeliverySettings,
    "scan": ScanSettings,
    "relay": RelaySettings,
    "pop3": Pop3Settings,
    "imap": ImapSettings,
    "api": ApiSettings,
}
"""The settings class of each service, by the key of its values."""

_DECIDED_BY_VALUES = """
    API_ADMIN_KEY API_ADMIN_KEY_FILE API_PORT BLOBS DATABASE_POOL DATABASE_PREPARED DATABASE_URL DATABASE_WAIT_SECONDS
    DEAD_MAX_BYTES EVENTS_MAX_AGE_SECONDS EVENTS_MAX_BYTES GRACE_SECONDS HEALTH_PORT INGEST_MAX_BYTES
    INGEST_PARTITIONS LOG_LEVEL
    IMAPS_PORT IMAPS_PROXY_PORT IMAP_PORT IMAP_PROXY_PORT PUBLIC_IMAP PUBLIC_IMAPS_PORT PUBLIC_IMAP_PORT NATS_CREDS_FILE
    NATS_REPLICAS NATS_URL OIDC_CLIENT_SECRET OUTBOUND_ADDRESSES POP3S_PORT POP3_PORT POP3_PROXY_PORT POP3S_PROXY_PORT
    PROXY_NETWORKS PUBLIC_MTA_STS PUBLIC_MX PUBLIC_POP3 PUBLIC_POP3S_PORT PUBLIC_POP3_PORT PUBLIC_REPORTS
    PUBLIC_SPF_INCLUDE PUBLIC_SUBMISSION PUBLIC_SUBMISSIONS_PORT PUBLIC_SUBMISSION_PORT PUBLIC_WEB RELAY_HOSTNAME
    RELAY_PROXY RUNBOOK_BASE_URL S3_ACCESS_KEY S3_ENDPOINT S3_REGION S3_SECRET_KEY
    SCAN_CLAMAV_ADDRESS SCAN_DNS_SERVERS SCAN_RSPAMD_URL
    SECRET_KEY SMTP_HOSTNAME SRS_KEY SMTP_PORT SMTP_PROCESSES SMTP_PROXY_PORT SMTP_ROLE SMTP_SCAN SMTP_SPOOL_DIR
    SUBMISSIONS_PORT SUBMISSIONS_PROXY_PORT SUBMISSION_MESSAGES_PER_HOUR SUBMISSION_PORT SUBMISSION_PROXY_PORT
    SUBMISSION_RECIPIENTS_PER_HOUR TLS_DIR
"""
MANAGED = frozenset(PREFIX + name for name in _DECIDED_BY_VALUES.split())
"""Variables that values of the chart decide; a secret is one by ``extraEnv`` and no setting."""


def variables(part: str) -> dict[str, Schema]:
    """Return the schemas of a service's ``settings``, by variable name."""
    document = CLASSES[part].model_json_schema()
    shared = document.get("$defs", {})
    found = {
        PREFIX + name.upper(): _plain(schema, shared)
        for name, schema in document["properties"].items()
    }
    return {name: _strict(name, found[name]) for name in sorted(found) if name not in MANAGED}


def _strict(name: str, schema: Schema) -> Schema:
    """Return a schema with the pattern of what the settings class checks in code."""
    pattern = patterns.OF_SETTINGS.get(name)
    if pattern is None:
        return schema
    text = NETWORK if pattern == patterns.NETWORK else {"type": "string", "pattern": pattern}
    return {**schema, "items": text} if schema["type"] == "array" else text


def _plain(schema: Any, shared: Schema) -> Any:
    """Return a schema without pydantic's titles, references and null; a value that may be absent
    is left out."""
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


_PARTS = ("smtp-in", "submission", "delivery", "scan", "relay", "pop3", "imap", "api")


def _part(key: str, *ports: str, **more: Schema) -> Schema:
    properties: Schema = {
        "replicas": whole(0),
        "image": closed({"repository": IMAGE_PATH, "tag": TAG, "digest": DIGEST}),
        "settings": closed(variables(key)),
        "extraEnv": list_of(reference("EnvVar")),
        "extraEnvFrom": list_of(reference("EnvFromSource")),
        "extraVolumes": list_of(reference("Volume")),
        "extraVolumeMounts": list_of(reference("VolumeMount")),
        "extraContainers": list_of(reference("Container")),
        "initContainers": list_of(reference("Container")),
        "podLabels": LABELS,
        "podAnnotations": NOTES,
        "annotations": NOTES,
        "resources": RESOURCES,
        "preStopSeconds": whole(0),
        "graceSeconds": {"type": "number", "exclusiveMinimum": 0},
        "terminationGracePeriodSeconds": or_null(whole(1)),
        "tmpSize": QUANTITY,
        "podDisruptionBudget": closed(
            {"enabled": BOOL, "maxUnavailable": SHARE, "minAvailable": SHARE}
        ),
        "topologySpreadConstraints": or_null(list_of(reference("TopologySpreadConstraint"))),
        "priorityClassName": OBJECT_OR_NONE,
        "startupProbe": PROBE,
        "livenessProbe": PROBE,
        "readinessProbe": PROBE,
        **PLACEMENT,
        **more,
    }
    if ports:
        properties["autoscaling"] = SCALING
        properties["service"] = closed(
            {
                "type": KIND,
                "loadBalancerIP": ADDRESS_OR_NONE,
                "loadBalancerSourceRanges": list_of(CIDR),
                "annotations": NOTES,
                "nodePorts": closed(dict.fromkeys(ports, whole(0, 65535))),
            }
        )
    return closed(properties)


def _everywhere() -> Schema:
    """Return the schema of the global ``settings``: all variables that any service reads."""
    merged: Schema = {}
    for key in CLASSES:
        merged |= variables(key)
    return closed({name: merged[name] for name in sorted(merged)})


def _engines() -> Schema:
    """Return the schemas of the engines of the scanning tier, by key."""
    image = closed({"registry": REGISTRY, "repository": IMAGE_PATH, "tag": TAG, "digest": DIGEST})
    server = {
        "enabled": BOOL,
        "replicas": whole(1),
        "image": image,
        "storage": STORAGE,
        "resources": RESOURCES,
        **PLACEMENT,
    }
    return {
        "rspamd": closed(
            {
                **server,
                "url": {"type": "string", "pattern": patterns.ENGINE_URL},
                "workers": whole(1, 64),
                "overrides": FILES,
            }
        ),
        "clamav": closed(
            {
                **server,
                "address": {"type": "string", "pattern": patterns.ENGINE_ADDRESS},
                "threads": whole(1, 255),
                "checksPerDay": whole(1, 50),
                "mirror": {"type": "string", "pattern": r"^(https?://[^\s]+)?$"},
            }
        ),
        "resolver": closed(
            {
                "enabled": BOOL,
                "addresses": list_of({"type": "string", "pattern": patterns.NAME_SERVER}),
                "image": image,
                "resources": RESOURCES,
            }
        ),
    }


def schema() -> Schema:
    """Return the complete schema."""
    octets = whole(1_048_576, 2**62)
    offered = or_null(whole(0, 65535))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart posthorn",
        "definitions": definitions(*TYPES) | OWN_DEFINITIONS,
        **closed(
            {
                "global": {"type": "object"},
                "hostname": HOST,
                "nameOverride": NAME_PART,
                "fullnameOverride": NAME_PART,
                "commonLabels": LABELS,
                "commonAnnotations": NOTES,
                "image": closed(
                    {
                        "registry": REGISTRY,
                        "tag": TAG,
                        "pullPolicy": choice("Always", "IfNotPresent", "Never"),
                        "pullSecrets": list_of(OBJECT_NAME),
                    }
                ),
                "logLevel": choice("debug", "info", "warning", "error"),
                "settings": _everywhere(),
                "capabilities": closed(
                    {
                        "kubeVersion": {
                            "type": "string",
                            "pattern": r"^(v?[0-9]+\.[0-9]+(\.[0-9]+)?.*)?$",
                        },
                        "apiVersions": list_of(NAME),
                    }
                ),
                "serviceAccount": closed(
                    {"create": BOOL, "name": OBJECT_OR_NONE, "annotations": NOTES}
                ),
                "secrets": closed({"generate": {"enum": ["auto", "always", "never"]}}),
                "secretKey": closed(
                    {"existingSecret": OBJECT_OR_NONE, "key": DATA_KEY, "srsKey": DATA_KEY_OR_NONE}
                ),
                "accountLimits": closed(
                    {"messagesPerHour": whole(0), "recipientsPerHour": whole(0)}
                ),
                "public": closed(
                    {
                        "mx": list_of(HOST),
                        "submission": or_empty(HOST),
                        "submissionPort": offered,
                        "submissionsPort": offered,
                        "imap": or_empty(HOST),
                        "imapPort": offered,
                        "imapsPort": offered,
                        "pop3": or_empty(HOST),
                        "pop3Port": offered,
                        "pop3sPort": offered,
                        "web": or_empty(HOST),
                        "mtaSts": choice("testing", "enforce", "none"),
                        "spfInclude": or_empty(RECORD_NAME),
                        "reports": {
                            "type": "string",
                            "pattern": patterns.MAIL_ADDRESS,
                            "maxLength": 254,
                        },
                    }
                ),
                "outboundAddresses": list_of(NETWORK),
                "tls": closed(
                    {
                        "existingSecret": OBJECT_OR_NONE,
                        "selfSigned": BOOL,
                        "certManager": closed(
                            {
                                "enabled": BOOL,
                                "issuerRef": closed(
                                    {"name": OBJECT_OR_NONE, "kind": NAME, "group": NAME}
                                ),
                                "dnsNames": list_of(NAME),
                                "duration": DURATION,
                                "renewBefore": DURATION,
                                "privateKey": closed(
                                    {
                                        "algorithm": choice("RSA", "ECDSA", "Ed25519"),
                                        "size": whole(0),
                                    }
                                ),
                            }
                        ),
                    }
                ),
                "service": closed(
                    {
                        "type": choice("LoadBalancer", "NodePort", "ClusterIP"),
                        "externalTrafficPolicy": choice("Local", "Cluster"),
                        "loadBalancerClass": {
                            "type": "string",
                            "pattern": f"^(({OBJECT}/)?{WORD})?$",
                        },
                        "annotations": NOTES,
                        "ipFamilyPolicy": choice(
                            "", "SingleStack", "PreferDualStack", "RequireDualStack"
                        ),
                        "ipFamilies": list_of(choice("IPv4", "IPv6"))
                        | {"maxItems": 2, "uniqueItems": True},
                    }
                ),
                "proxyProtocol": closed({"enabled": BOOL, "networks": list_of(NETWORK)}),
                "smtpIn": _part("smtpIn", "smtp", enabled=BOOL, processes=whole(1, 64)),
                "submission": _part(
                    "submission", "submission", "submissions", enabled=BOOL, processes=whole(1, 64)
                ),
                "delivery": _part(
                    "delivery",
                    keda=closed(
                        {
                            **KEDA,
                            "lagThreshold": whole(1),
                            "natsMonitoringEndpoint": TEXT,
                            "natsAccount": NAME,
                            "prometheusAddress": TEXT,
                        }
                    ),
                ),
                "scan": _part("scan", enabled=BOOL, autoscaling=SCALING),
                **_engines(),
                "relay": _part(
                    "relay",
                    enabled=BOOL,
                    hostname=or_empty(HOST),
                    proxy=closed({"existingSecret": OBJECT_OR_NONE, "key": DATA_KEY}),
                    hostNetwork=BOOL,
                    keda=closed({**KEDA, "queueThreshold": whole(1), "prometheusAddress": TEXT}),
                ),
                "pop3": _part("pop3", "pop3", "pop3s", enabled=BOOL),
                "imap": _part("imap", "imap", "imaps", enabled=BOOL),
                "api": _part(
                    "api",
                    "http",
                    adminKey=closed({"existingSecret": OBJECT_OR_NONE, "key": DATA_KEY}),
                    ingress=closed(
                        {
                            "enabled": BOOL,
                            "className": OBJECT_OR_NONE,
                            "host": OBJECT_OR_NONE,
                            "tlsSecret": OBJECT_OR_NONE,
                            "annotations": NOTES,
                            "pageHosts": list_of(OBJECT_NAME) | {"uniqueItems": True},
                            "pageTlsSecret": OBJECT_OR_NONE,
                        }
                    ),
                ),
                "migrations": closed(
                    {
                        "enabled": BOOL,
                        "waitSeconds": whole(1),
                        "ttlSecondsAfterFinished": whole(0),
                        "annotations": NOTES,
                        "resources": RESOURCES,
                    }
                ),
                "postgresql": closed(
                    {
                        "existingSecret": OBJECT_OR_NONE,
                        "urlKey": DATA_KEY,
                        "partSecrets": secrets_of(
                            "submission", "delivery", "relay", "pop3", "imap", "api"
                        ),
                        "rolePrefix": {"type": "string", "pattern": "^[a-z_][a-z0-9_]{0,40}$"},
                        "url": {"type": "string", "pattern": "^(postgres(ql)?://.+)?$"},
                        "pool": whole(1, 100),
                        "preparedStatements": BOOL,
                        "bundled": bundled(parameters=PARAMETERS),
                    }
                ),
                "nats": closed(
                    {
                        "existingSecret": OBJECT_OR_NONE,
                        "urlKey": DATA_KEY,
                        "partSecrets": secrets_of(*_PARTS),
                        "url": {"type": "string", "pattern": "^((nats|tls)://.+)?$"},
                        "credsSecret": OBJECT_OR_NONE,
                        "credsKey": DATA_KEY,
                        "partCredsSecrets": secrets_of(*_PARTS),
                        "streamReplicas": or_null(whole(1, 5)),
                        "ingestMaxBytes": octets,
                        "ingestPartitions": whole(1, MOST_PARTITIONS),
                        "deadMaxBytes": octets,
                        "eventsMaxBytes": octets,
                        "eventsMaxAgeSeconds": whole(300),
                        "bundled": bundled(replicas={"enum": [1, 3, 5]}),
                    }
                ),
                "s3": closed(
                    {
                        "bucket": {
                            "type": "string",
                            "allOf": [
                                {"pattern": patterns.BUCKET},
                                {"pattern": patterns.BUCKET_LENGTH},
                            ],
                        },
                        "endpoint": {"type": "string", "pattern": patterns.ENDPOINT},
                        "region": {"type": "string", "pattern": patterns.REGION},
                        "existingSecret": OBJECT_OR_NONE,
                        "accessKeyKey": DATA_KEY,
                        "secretKeyKey": DATA_KEY,
                        "partSecrets": secrets_of(*_PARTS),
                        "bundled": bundled(),
                    }
                ),
                "networkPolicy": closed(
                    {
                        "enabled": BOOL,
                        "apiFrom": PEERS,
                        "metricsFrom": PEERS,
                        "kedaFrom": PEERS,
                        "relayPorts": list_of(PORT),
                        "webhookPorts": list_of(PORT),
                        "postgresql": door(),
                        "nats": door(),
                        "s3": door(),
                        "rspamd": door(),
                        "clamav": door(),
                        "dnsTo": PEERS,
                        "extraEgress": list_of(reference("NetworkPolicyEgressRule")),
                    }
                ),
                "monitoring": closed(
                    {
                        "serviceMonitor": closed(
                            {"enabled": BOOL, "labels": LABELS, "interval": INTERVAL}
                        ),
                        "prometheusRule": closed(
                            {
                                "enabled": BOOL,
                                "labels": LABELS,
                                "alertLabels": TEXTS,
                                "disabled": list_of(NAME),
                                "runbookBaseUrl": {**WEB_LINK, "minLength": 1},
                            }
                        ),
                        "dashboard": closed(
                            {
                                "enabled": BOOL,
                                "labels": LABELS,
                                "annotations": NOTES,
                                "links": closed(
                                    dict.fromkeys(("console", "logs", "traces"), WEB_LINK)
                                ),
                            }
                        ),
                    }
                ),
                "canary": closed(
                    {
                        "enabled": BOOL,
                        "address": {
                            "type": "string",
                            "pattern": patterns.MAIL_ADDRESS,
                            "maxLength": 254,
                        },
                        "existingSecret": OBJECT_OR_NONE,
                        "key": DATA_KEY,
                        "sender": {
                            "type": "string",
                            "pattern": patterns.MAIL_ADDRESS,
                            "maxLength": 254,
                        },
                        "intervalSeconds": whole(10, 3600),
                        "lostSeconds": whole(60, 86_400),
                        "resources": RESOURCES,
                        **PLACEMENT,
                    }
                ),
                "test": closed({"domain": HOST, "timeoutSeconds": whole(1)}),
                "extraObjects": list_of({"type": ["object", "string"]}),
            }
        ),
    }
