"""Tests of the Helm chart, rendered by Helm as a library."""
