"""The canary: messages of its own through the running system, read and compared (``posthorn-canary``)."""
