"""Dovecot from Debian's packages dovecot-imapd and dovecot-pop3d: another server, to move mail from
and to synchronise with. It runs from a private directory, as root, on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import await_port, need

from posthorn_local.certificate import ensure_certificate
from posthorn_local.embedded import free_port
from tests.support.polling import BUSY_SECONDS

MASTER, MASTER_PASSWORD = "mover", "the mover's password"


@dataclass(frozen=True, slots=True)
class Dovecot:
    """A running Dovecot."""

    imap: int
    imaps: int
    pop3: int
    pop3s: int
    certificate: Path
    root: Path
    pid: int

    def trusting(self) -> ssl.SSLContext:
        """A context that trusts its certificate."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def maildir(self, user: str) -> Path:
        """The Maildir of a user."""
        return self.root / "mail" / user / "Maildir"


@contextmanager
def dovecot(
    users: Mapping[str, str], *, prefix: str = "INBOX.", separator: str = "."
) -> Iterator[Dovecot]:
    """Run Dovecot with these users and their passwords, and the master user ``MASTER``; ``prefix``
    is that of the namespace."""
    need("dovecot", "dovecot-imapd dovecot-pop3d")
    owner = pwd.getpwnam("nobody")
    root = Path(tempfile.mkdtemp(prefix="posthorn-dovecot-"))
    try:
        root.chmod(0o755)
        ensure_certificate(root)
        for user in users:
            home = root / "mail" / user
            home.mkdir(parents=True)
            os.chown(home, owner.pw_uid, owner.pw_gid)
        (root / "users").write_text(
            "".join(
                f"{user}:{{PLAIN}}{password}:{owner.pw_uid}:{owner.pw_gid}::{root}/mail/{user}::\n"
                for user, password in users.items()
            )
        )
        (root / "masters").write_text(f"{MASTER}:{{PLAIN}}{MASTER_PASSWORD}::::::\n")
        ports = free_port(), free_port(), free_port(), free_port()
        (root / "dovecot.conf").write_text(_config(root, ports, prefix, separator))
        process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(root / "dovecot.conf")], stdin=subprocess.DEVNULL
        )
        try:
            await_port(ports[0], "dovecot")
            yield Dovecot(*ports, root / "tls.crt", root, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(BUSY_SECONDS)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _config(root: Path, ports: tuple[int, int, int, int], prefix: str, separator: str) -> str:
    imap, imaps, pop3, pop3s = ports
    return f"""protocols = imap pop3
base_dir = {root}/run
state_dir = {root}/run
instance_name = {root.name}
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root}/tls.crt
ssl_key = <{root}/tls.key
disable_plaintext_auth = no
log_path = {root}/dovecot.log
mail_location = maildir:~/Maildir
first_valid_uid = 1
mail_max_userip_connections = 1000
auth_master_user_separator = *
auth_failure_delay = 0
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = passwd-file
  args = {root}/masters
  master = yes
}}
passdb {{
  driver = passwd-file
  args = {root}/users
}}
userdb {{
  driver = passwd-file
  args = {root}/users
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
  mailbox Drafts {{
    auto = create
    special_use = \\Drafts
  }}
  mailbox "Sent Items" {{
    auto = create
    special_use = \\Sent
  }}
  mailbox Trash {{
    special_use = \\Trash
  }}
}}
service imap-login {{
  service_count = 0
  process_limit = 2
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
service imap {{
  service_count = 1000
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
  }}
}}
service auth {{
  client_limit = 4000
}}
service anvil {{
  client_limit = 4000
}}
"""
