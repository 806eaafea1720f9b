"""Webhooks: subscriptions, matching, signing and delivery."""
