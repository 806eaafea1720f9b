"""Tenants, domains, accounts, aliases and their credentials in Postgres."""
