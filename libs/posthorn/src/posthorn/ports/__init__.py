"""Ports: the interfaces between services and adapters, in terms of mail. Each documents its
guarantees."""
