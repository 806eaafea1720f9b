"""What Posthorn's services share.

The rooms, from the inside out; each may import only those before it:

- ``wire``: protocols without I/O (SMTP, POP3, addresses, headers, the SMTP data form).
- ``model``: frozen dataclasses and pure policy (envelope, recipients, segment layout).
- ``ports``: what the services ask of the world, in the domain's words.
- ``runtime``: what every process does alike (settings, start, listen, drain, health, metrics, logs,
  TLS).
- ``adapters``: the ports on real parts (Postgres, NATS, S3, local files).
"""
