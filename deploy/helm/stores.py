"""The schemas of the stores: PostgreSQL, NATS and S3, bundled or the installation's own."""

from __future__ import annotations

from deploy.helm import patterns
from deploy.helm.fields import (
    BOOL,
    DATA_KEY,
    OBJECT_OR_NONE,
    PARAMETERS,
    bundled,
    closed,
    or_null,
    secrets_of,
    whole,
)
from deploy.helm.settings import Schema

from posthorn.model.streams import MOST_PARTITIONS

_PARTS = ("smtp-in", "submission", "delivery", "scan", "relay", "pop3", "imap", "api")


def stores() -> Schema:
    """Return the schemas of the stores, by key."""
    octets = whole(1_048_576, 2**62)
    return {
        "postgresql": closed(
            {
                "existingSecret": OBJECT_OR_NONE,
                "urlKey": DATA_KEY,
                "partSecrets": secrets_of("submission", "delivery", "relay", "pop3", "imap", "api"),
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
    }
