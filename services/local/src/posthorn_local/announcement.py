"""Texts that local mode prints for the person who started it."""

from __future__ import annotations

import shlex
from pathlib import Path

from posthorn_local.addresses import HOST, Ports
from posthorn_local.seed import ADDRESSES, DOMAIN

HELP = """\
Run the whole of Posthorn on this machine, in the foreground: SMTP, submission, delivery, relay, IMAP, POP3 and the REST API,
with PostgreSQL and NATS of its own. Everything listens on 127.0.0.1. Ctrl-C or SIGTERM stops it; what was stored stays.
"""

SETTINGS = """\
settings, all from the environment; a port of 0 takes any free one:
  POSTHORN_HOME         where the state lives; made when missing (default .posthorn)
  POSTHORN_SMTP_PORT    SMTP with STARTTLS (default 2525)
  POSTHORN_SUBMISSION_PORT   submission with STARTTLS (default 2587)
  POSTHORN_SUBMISSIONS_PORT  submission over TLS (default 2465)
  POSTHORN_IMAP_PORT    IMAP with STARTTLS (default 2143)
  POSTHORN_IMAPS_PORT   IMAP over TLS (default 2993)
  POSTHORN_POP3_PORT    POP3 with STLS (default 2110)
  POSTHORN_POP3S_PORT   POP3 over TLS (default 2995)
  POSTHORN_API_PORT     the REST API (default 8080)
  POSTHORN_HEALTH_PORT  the first of eight ports for /healthz, /readyz and /metrics: smtp-in,
                        delivery, pop3, api, submission, relay, scan, imap (default 9101)
  POSTHORN_RELAY_DIRECT true sends mail for other domains to their MX, on the internet
                        (default false: without a route it waits in the queue)
  POSTHORN_BLOBS        s3://key:secret@host:port/bucket[?tls=no] keeps bodies in S3
                        (default: the directory blobs in the home)
  Every setting of a service works too, such as POSTHORN_LOG_LEVEL=debug.

files in the home:
  admin.key      key of the REST API          accounts.txt  the first two accounts' passwords
  secret.key     encrypts secrets in the database: keep it with a backup of the home
  tls/tls.crt    certificate to trust         logs/         one log per service
"""


def announcement(ports: Ports, home: Path, sign_in: str) -> str:
    """Return the line that announces readiness, and how to send and read a first message.
    ``sign_in``: path and fragment of the console that signs in once."""
    here = _shown(home)
    key, accounts, cert = (
        shlex.quote(f"{here}/{name}") for name in ("admin.key", "accounts.txt", "tls/tls.crt")
    )
    sender, reader = "someone@example.org", ADDRESSES[0]
    return f"""\
Posthorn is ready: SMTP {HOST}:{ports.smtp}, SUBMISSION {HOST}:{ports.submission}, SUBMISSIONS {HOST}:{ports.submissions}, \
IMAP {HOST}:{ports.imap}, IMAPS {HOST}:{ports.imaps}, POP3 {HOST}:{ports.pop3}, POP3S {HOST}:{ports.pop3s}, API http://{HOST}:{ports.api}

Console: http://{HOST}:{ports.api}/ (this link signs you in once, within 10 minutes)
http://{HOST}:{ports.api}{sign_in}

Send a message to {reader}:
  printf 'From: {sender}\\nTo: {reader}\\nSubject: Hello\\n\\nA first message.\\n' |
    curl -sS --crlf smtp://{HOST}:{ports.smtp} --mail-from {sender} --mail-rcpt {reader} -T -
Read it:
  curl -sS -u "$(sed -n 's/^{reader} /{reader}:/p' {accounts})" 'imap://{HOST}:{ports.imap}/INBOX;MAILINDEX=1'
  curl -sS -u "$(sed -n 's/^{reader} /{reader}:/p' {accounts})" pop3://{HOST}:{ports.pop3}/1
Send as {reader} to another server, by a route to its host (without one such mail waits in the queue):
  curl -sS http://{HOST}:{ports.api}/v1/routes -H "Authorization: Bearer $(cat {key})" \\
    -H 'Content-Type: application/json' -d '{{"domain": "sink.test", "host": "{HOST}", "port": 2526, "tls": "none"}}'
  printf 'From: {reader}\\nTo: someone@sink.test\\nSubject: Out\\n\\nA first message out.\\n' |
    curl -sS --crlf --cacert {cert} smtps://localhost:{ports.submissions} --mail-from {reader} --mail-rcpt someone@sink.test \\
    -u "$(sed -n 's/^{reader} /{reader}:/p' {accounts})" -T -
Create an account:
  curl -sS http://{HOST}:{ports.api}/v1/accounts -H "Authorization: Bearer $(cat {key})" \\
    -H 'Content-Type: application/json' -d '{{"address": "carol@{DOMAIN}", "password": "choose-a-long-one"}}'

Passwords of alice and bob: {here}/accounts.txt    API key: {here}/admin.key    API guide: http://{HOST}:{ports.api}/docs
Certificate to trust: {here}/tls/tls.crt    Logs: {here}/logs    Ctrl-C stops everything; mail stays in {here}
"""


def _shown(home: Path) -> str:
    try:
        return str(home.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(home)
