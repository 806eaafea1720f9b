"""Domains, accounts and aliases, and their projection into the directory bucket."""
