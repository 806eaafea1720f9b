"""The schemas of what observes the system: monitoring and the canary."""

from __future__ import annotations

from deploy.helm import patterns
from deploy.helm.fields import (
    BOOL,
    DATA_KEY,
    INTERVAL,
    LABELS,
    NAME,
    NOTES,
    OBJECT_OR_NONE,
    PLACEMENT,
    RESOURCES,
    TEXTS,
    WEB_LINK,
    closed,
    list_of,
    whole,
)
from deploy.helm.settings import Schema


def observation() -> Schema:
    """Return the schemas of monitoring and the canary, by key."""
    return {
        "monitoring": closed(
            {
                "serviceMonitor": closed({"enabled": BOOL, "labels": LABELS, "interval": INTERVAL}),
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
                        "links": closed(dict.fromkeys(("console", "logs", "traces"), WEB_LINK)),
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
    }
