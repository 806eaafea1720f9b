"""The command `posthorn`: the REST API of a Posthorn system from a terminal or a script."""
