"""NATS JetStream: the ingest stream, parked messages, events, the directory bucket."""
