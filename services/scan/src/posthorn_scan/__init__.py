"""The scanning tier: says who a client is and what a message is (ADR 31)."""
