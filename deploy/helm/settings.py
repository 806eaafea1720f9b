"""The services' settings as the chart's values have them: schemas by variable, from the services'
own classes."""

from __future__ import annotations

from typing import Any

from deploy.helm import patterns
from deploy.helm.fields import NETWORK

from posthorn.runtime.env_settings import PREFIX, EnvSettings
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
    API_ADMIN_KEY API_ADMIN_KEY_FILE API_PORT BLOBS DATABASE_POOL DATABASE_PREPARED DATABASE_URL
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
