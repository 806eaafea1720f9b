"""Mailboxes, messages, their structure and parts."""
