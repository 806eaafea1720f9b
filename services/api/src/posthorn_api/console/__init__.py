"""The console: a page and its assets, which use this API and nothing else (ADR 46)."""
