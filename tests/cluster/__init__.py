"""A release on a cluster under load, hurt in every way that an operator knows (make cluster)."""
