"""Blob stores: files, S3-compatible object storage, and segments of many messages in one object."""
