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
    GATEWAY_TIME,
    HOST,
    IMAGE_PATH,
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
    WORD,
    choice,
    closed,
    door,
    list_of,
    or_empty,
    or_null,
    whole,
)
from deploy.helm.kubernetes import TYPES, definitions, reference
from deploy.helm.observation import observation
from deploy.helm.settings import CLASSES, Schema, variables
from deploy.helm.stores import stores

_PARENT = closed(
    {
        "group": OBJECT_OR_NONE,
        "kind": NAME,
        "namespace": NAME_PART,
        "name": OBJECT_NAME,
        "sectionName": OBJECT_NAME,
        "port": PORT,
    },
    "name",
)


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
                    httpRoute=closed(
                        {
                            "enabled": BOOL,
                            "parentRefs": list_of(_PARENT),
                            "host": OBJECT_OR_NONE,
                            "annotations": NOTES,
                            "requestTimeout": GATEWAY_TIME,
                            "pageHosts": list_of(OBJECT_NAME) | {"uniqueItems": True},
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
                **stores(),
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
                **observation(),
                "test": closed({"domain": HOST, "timeoutSeconds": whole(1)}),
                "extraObjects": list_of({"type": ["object", "string"]}),
            }
        ),
    }
