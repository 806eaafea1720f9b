"""Names on NATS that services meet by. A change here is a change of protocol between releases."""

from __future__ import annotations

INGEST = "INGEST"
"""Work-queue stream of accepted messages."""
INGEST_SUBJECT = "ingest.0"
"""Subject of partition 0; the stream takes ``ingest.*``."""
INGEST_CONSUMER = "delivery"
"""The durable pull consumer that all delivery processes share."""
DEAD = "DEAD"
"""Stream of messages that delivery could not place."""
DEAD_SUBJECT = "dead.0"
DIRECTORY = "directory"
"""Key-value bucket: whose is an address."""
