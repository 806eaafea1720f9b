"""Engines beside the built-in one, and what happens when one is away."""
