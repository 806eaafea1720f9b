"""The IMAP service on a real database and blobs."""
