"""Posthorn on one machine with one command: real servers from wheels, each service a process of
its own."""
