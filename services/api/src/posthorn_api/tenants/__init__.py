"""Tenants, API keys and the audit log."""
