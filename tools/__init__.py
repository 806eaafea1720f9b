"""Programs of the developers: what makes code from other code."""
