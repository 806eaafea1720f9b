"""Filter policies of the system, of tenants, domains and accounts."""
