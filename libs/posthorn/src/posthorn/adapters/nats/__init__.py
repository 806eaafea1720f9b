"""JetStream: the ingest stream, the parked messages, the directory bucket."""
