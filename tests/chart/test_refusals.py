"""Wrong values are refused, and the message names the value."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.chart.refusing import Faults, said_by_the_guard
from tests.chart.rendering import at, merged, render

TYPOS: list[tuple[str, Any]] = [
    ("hostnme", "mail.example.org"),
    ("smtpIn.replica", 3),
    ("smtpIn.autoscaling.maxReplica", 3),
    ("smtpIn.service.loadBalancerIp", "192.0.2.1"),
    ("smtpIn.service.nodePorts.smtps", 30465),
    ("relay.service", {"type": "ClusterIP"}),
    ("postgres.bundled.enabled", False),
    ("postgresql.external.host", "db"),
    ("nats.bundled.persistence.size", "20Gi"),
    ("tls.secretName", "mail-tls"),
    ("tls.certManager.issuer", "letsencrypt"),
    ("proxyProtocol.trusted", ["10.0.0.0/8"]),
    ("monitoring.prometheusRules.enabled", True),
    ("settings.POSTHORN_SMTP_MAXSIZE", 1000),
    ("pop3.settings.POSTHORN_SMTP_MESSAGE_MAX_BYTES", 1000),
    ("public.mtasts", "enforce"),
    ("accountLimits.perHour", 10),
]
"""Keys that there are not, and settings of another part."""

WRONG: list[tuple[str, Any]] = [
    ("hostname", "mail example.org"),
    ("logLevel", "verbose"),
    ("image.pullPolicy", "Sometimes"),
    ("service.type", "LoadBalanced"),
    ("service.externalTrafficPolicy", "local"),
    ("smtpIn.replicas", "three"),
    ("smtpIn.replicas", -1),
    ("smtpIn.image.digest", "latest"),
    ("smtpIn.tmpSize", "lots"),
    ("smtpIn.graceSeconds", 0),
    ("smtpIn.podDisruptionBudget.maxUnavailable", "one"),
    ("smtpIn.service.loadBalancerSourceRanges", ["10.0.0.0"]),
    ("submission.service.nodePorts.submission", 70000),
    ("proxyProtocol.networks", ["load-balancers"]),
    ("nats.bundled.replicas", 2),
    ("nats.streamReplicas", 7),
    ("nats.url", "http://nats:4222"),
    ("postgresql.url", "mysql://db/mail"),
    ("postgresql.pool", 0),
    ("s3.bucket", "UPPER"),
    ("s3.endpoint", "s3.example.org"),
    ("networkPolicy.relayPorts", [0]),
    ("relay.extraEnv", [{"value": "nameless"}]),
    ("smtpIn.settings.POSTHORN_SMTP_MAX_RECIPIENTS", 0),
    ("smtpIn.settings.POSTHORN_SMTP_INLINE_BYTES", 10**9),
    ("settings.POSTHORN_DELIVERY_COMPRESSION", "gzip"),
    ("settings.POSTHORN_RELAY_DIRECT", "perhaps"),
    ("public.mx", ["mail example.org"]),
    ("public.mtaSts", "on"),
    ("public.pop3Port", 70000),
    ("public.reports", "reports"),
    ("outboundAddresses", ["out.example.org"]),
    ("accountLimits.messagesPerHour", -1),
    ("outboundAddresses", ["192.0.2.300"]),
    ("outboundAddresses", ["192.0.2.0/33"]),
    ("outboundAddresses", ["192.0.2.1/24"]),
    ("outboundAddresses", ["2001:db8:::1"]),
    ("outboundAddresses", ["2001:db8::1/64"]),
    ("proxyProtocol.networks", ["10.0.0.999/8"]),
    ("proxyProtocol.networks", ["10.0.0.1/8"]),
    ("public.mx", ["a..b"]),
    ("public.reports", "a@b@c.example"),
    ("public.reports", "a b@c.example"),
    ("public.spfInclude", "-spf.example.org"),
    ("s3.bucket", "mail.example.org"),
    ("s3.bucket", "ma--il"),
    ("s3.endpoint", "https://s3..example.org"),
    ("s3.endpoint", "https://s3.example.org:70000"),
    ("s3.region", "eu west"),
    ("tls.certManager.duration", "90d"),
    ("monitoring.serviceMonitor.interval", "30 s"),
    ("settings.POSTHORN_RELAY_DNS_SERVERS", ["ns.example.org"]),
    ("relay.settings.POSTHORN_RELAY_BIND_IPV4", "192.0.2"),
    ("relay.settings.POSTHORN_RELAY_PRIVATE_NETWORKS", ["10.0.0.1/8"]),
    ("relay.settings.POSTHORN_RELAY_OWN_NAMES", ["mail_1.example.org"]),
    ("smtpIn.settings.POSTHORN_SMTP_POSTMASTER", "postmaster"),
    ("api.settings.POSTHORN_WEBHOOK_PRIVATE_NETWORKS", ["10.0.0.0/40"]),
    ("api.settings.POSTHORN_API_PROXY_NETWORKS", ["ingress-nginx"]),
    ("api.settings.POSTHORN_OIDC_ISSUER", "http://id.example.org"),
    ("api.settings.POSTHORN_API_PUBLIC_URL", "http://mail.example.org"),
    ("settings.POSTHORN_HEALTH_HOST", "0.0.0.0.:80"),
]
"""Values of the wrong kind or out of bounds."""

MANAGED = [
    "POSTHORN_DATABASE_URL",
    "POSTHORN_SECRET_KEY",
    "POSTHORN_NATS_URL",
    "POSTHORN_SMTP_PORT",
    "POSTHORN_TLS_DIR",
    "POSTHORN_PROXY_NETWORKS",
    "POSTHORN_RELAY_HOSTNAME",
    "POSTHORN_SUBMISSION_MESSAGES_PER_HOUR",
    "POSTHORN_PUBLIC_MX",
]
"""Settings that other values decide."""

OUTSIDE: dict[str, Any] = {"bundled": {"enabled": False}}

CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"proxyProtocol": {"enabled": True}}, "proxyProtocol.networks: list the networks"),
    (
        {"proxyProtocol": {"enabled": True, "networks": ["0.0.0.0/0"]}},
        "0.0.0.0/0 contains every address",
    ),
    ({"proxyProtocol": {"enabled": True, "networks": ["::/0"]}}, "::/0 contains every address"),
    (
        {
            "tls": {
                "existingSecret": "a",
                "certManager": {"enabled": True, "issuerRef": {"name": "b"}},
            }
        },
        "tls.existingSecret and",
    ),
    ({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name"),
    ({"postgresql": OUTSIDE}, "postgresql.existingSecret: name a Secret"),
    ({"nats": OUTSIDE}, "nats.existingSecret: name a Secret"),
    ({"postgresql": {"existingSecret": "db"}}, "postgresql.bundled.enabled: must be false"),
    (
        {"postgresql": OUTSIDE | {"existingSecret": "db", "url": "postgresql://db/mail"}},
        "postgresql.existingSecret and postgresql.url",
    ),
    ({"nats": {"url": "nats://nats:4222"}}, "nats.bundled.enabled: must be false"),
    ({"s3": {"endpoint": "https://s3.example.org"}}, "s3.bundled.enabled: must be false"),
    ({"s3": {"bucket": "mail/prefix"}}, "s3.bucket: the bundled server"),
    ({"nats": {"streamReplicas": 3}}, "nats.streamReplicas: 3 replicas need as many servers"),
    ({"nats": {"bundled": {"storage": {"size": "4Gi"}}}}, "nats.bundled.storage.size: 4Gi is less"),
    (
        {"smtpIn": {"podDisruptionBudget": {"minAvailable": 1}}},
        "smtpIn.podDisruptionBudget: give minAvailable or maxUnavailable",
    ),
    ({"pop3": {"podDisruptionBudget": {"maxUnavailable": None}}}, "pop3.podDisruptionBudget: give"),
    (
        {
            "imap": {
                "replicas": 2,
                "podDisruptionBudget": {"minAvailable": 2, "maxUnavailable": None},
            }
        },
        "imap.podDisruptionBudget.minAvailable: must be less than the replicas (2)",
    ),
    (
        {"scan": {"enabled": True, "podDisruptionBudget": {"maxUnavailable": 0}}},
        "scan.podDisruptionBudget.maxUnavailable: must be above 0",
    ),
    (
        {"smtpIn": {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}},
        "smtpIn.autoscaling: minReplicas is more",
    ),
    (
        {"smtpIn": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}},
        "smtpIn.autoscaling: nothing to scale by",
    ),
    (
        {"smtpIn": {"terminationGracePeriodSeconds": 30}},
        "smtpIn.terminationGracePeriodSeconds: must be at least",
    ),
    (
        {"relay": {"terminationGracePeriodSeconds": 60}},
        "relay.terminationGracePeriodSeconds: must be at least",
    ),
    (
        {"smtpIn": {"tmpSize": "1Gi"}},
        "smtpIn.tmpSize: 1Gi is not more than POSTHORN_SMTP_SPOOL_BYTES",
    ),
    ({"settings": {"POSTHORN_SMTP_SPOOL_BYTES": 4 * 2**30}}, "submission.tmpSize: 3Gi is not more"),
    ({"api": {"ingress": {"enabled": True}}}, "api.ingress.host"),
    ({"api": {"httpRoute": {"enabled": True}}}, "api.httpRoute.host: the route needs a host"),
    (
        {"api": {"httpRoute": {"enabled": True, "host": "api.example"}}},
        "api.httpRoute.parentRefs: name the Gateway",
    ),
    (
        {"nats": OUTSIDE | {"existingSecret": "nats"}, "delivery": {"keda": {"enabled": True}}},
        "delivery.keda.natsMonitoringEndpoint",
    ),
]
"""Values that are well formed and cannot be meant together."""


@pytest.fixture(scope="module")
def faults() -> Faults:
    return Faults(TYPOS + WRONG)


@pytest.fixture(scope="module")
def guarded() -> list[str]:
    return said_by_the_guard([values for values, _ in CONTRADICTIONS], depth=1)


@pytest.mark.parametrize(("path", "value"), TYPOS + WRONG, ids=lambda part: str(part)[:60])
def test_the_schema_refuses_and_names_it(faults: Faults, path: str, value: Any) -> None:
    assert faults.of(path, value)


@pytest.mark.parametrize(("path", "value"), [TYPOS[4], WRONG[0]], ids=lambda part: str(part)[:60])
def test_nothing_is_made_of_what_the_schema_refuses(path: str, value: Any) -> None:
    with pytest.raises(
        helm_python.HelmValuesError, match=r"specifications of the schema"
    ) as refusal:
        render(at(path, value))
    assert path.rpartition(".")[2] in str(refusal.value)


def test_what_other_values_decide_is_no_setting() -> None:
    faults = Faults([(f"settings.{name}", "x") for name in MANAGED])
    assert [name for name in MANAGED if not faults.of(f"settings.{name}", "x")] == []


@pytest.mark.parametrize(
    ("number", "message"),
    [(number, message) for number, (_, message) in enumerate(CONTRADICTIONS)],
    ids=lambda part: part[:50] if isinstance(part, str) else "",
)
def test_contradictions_are_refused_with_what_to_do(
    guarded: list[str], number: int, message: str
) -> None:
    assert message in guarded[number]


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(helm_python.HelmError) as refusal:
        render(merged(*(values for values, _ in CONTRADICTIONS[5:7])))
    assert "postgresql.existingSecret" in str(refusal.value)
    assert "nats.existingSecret" in str(refusal.value)
