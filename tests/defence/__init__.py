"""Tests against the real servers of the defence: unbound, rbldnsd, rspamd and clamd."""
