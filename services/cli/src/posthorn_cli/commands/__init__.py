"""The commands, a module for each part of the system."""
