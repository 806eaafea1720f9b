"""The peers, from Debian's packages: Postfix delivering to a Maildir, Dovecot serving POP3 from
one.

Both run from a private configuration directory, on 127.0.0.1 and free ports, and are stopped by
process id.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from posthorn_local.embedded import free_port

ADDRESS = "alice@example.test"
PASSWORD = "bench-password"


class Missing(SystemExit):
    """A peer's package is not installed."""


def need(program: str, package: str) -> str:
    """Return the path of a program. Raises Missing with the package that holds it."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/lib/postfix/sbin")
    if not path:
        raise Missing(f"bench: {program} is missing; install Debian's package {package}")
    return path


def have(program: str) -> bool:
    """Return whether a program is installed."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


def await_port(port: int, what: str) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{what} did not start")


class Postfix:
    """SMTP on a free port; every message for ADDRESS is delivered by virtual(8) to one Maildir,
    synced as Postfix does."""

    def __init__(self, directory: Path) -> None:
        if os.geteuid() != 0:
            raise Missing("bench: Postfix starts as root only; run the benchmark as root")
        self.port = free_port()
        self._config = directory / "postfix"
        self.maildir = directory / "mail" / "alice"
        self._spool = directory / "spool"
        self._data = directory / "data"
        self._owner = pwd.getpwnam("postfix")
        self._user = pwd.getpwnam("nobody")

    def start(self) -> None:
        need("postfix", "postfix")
        daemons = Path(
            subprocess.run(
                ["postconf", "-dh", "daemon_directory"], capture_output=True, text=True
            ).stdout.strip()
        )
        for path in (self._config, self._spool, self._data, self.maildir.parent):
            path.mkdir(parents=True)
        os.chown(self._data, self._owner.pw_uid, self._owner.pw_gid)
        os.chown(self.maildir.parent, self._user.pw_uid, self._user.pw_gid)
        (self._config / "main.cf").write_text(
            f"""compatibility_level = 3.6
queue_directory = {self._spool}
data_directory = {self._data}
daemon_directory = {daemons}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.example.test
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
mydestination =
virtual_mailbox_domains = example.test
virtual_mailbox_maps = inline:{{{ADDRESS}=alice/}}
virtual_mailbox_base = {self.maildir.parent}
virtual_uid_maps = static:{self._user.pw_uid}
virtual_gid_maps = static:{self._user.pw_gid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
in_flow_delay = 0
alias_maps =
alias_database =
local_recipient_maps =
biff = no
maillog_file = {self._data.parent}/postfix.log
maillog_file_prefixes = {self._data.parent}
"""
        )
        services = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "verify unix - - n - 1 verify",
            "flush unix n - n 1000? 0 flush",
            "proxymap unix - - n - - proxymap",
            "virtual unix - n n - - virtual",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "anvil unix - - n - 1 anvil",
            "scache unix - - n - 1 scache",
            "showq unix n - n - - showq",
            "smtp unix - - n - - smtp",
            "postlog unix-dgram n - n - 1 postlogd",
        ]
        (self._config / "master.cf").write_text("\n".join(services) + "\n")
        self._config.parent.chmod(0o755)
        started = subprocess.run(
            ["postfix", "-c", str(self._config), "start"], capture_output=True, text=True
        )
        if started.returncode:
            raise RuntimeError(f"postfix did not start: {started.stderr[-800:]}")
        await_port(self.port, "postfix")

    @property
    def version(self) -> str:
        return (
            "Postfix "
            + subprocess.run(
                ["postconf", "-dh", "mail_version"], capture_output=True, text=True
            ).stdout.strip()
        )

    @property
    def root_pid(self) -> int:
        return int((self._spool / "pid" / "master.pid").read_text())

    def relay_to(self, ports: dict[str, int]) -> None:
        """Relay mail for these domains from this machine to a port of it."""
        transports = " ".join(
            f"{{{domain} = smtp:[127.0.0.1]:{port}}}" for domain, port in ports.items()
        )
        settings = [
            f"transport_maps = inline:{{{transports}}}",
            "smtpd_relay_restrictions = permit_mynetworks, reject",
            "smtpd_recipient_restrictions = permit_mynetworks, reject",
            "smtp_host_lookup = native",
        ]
        for setting in settings:
            subprocess.run(["postconf", "-c", str(self._config), "-e", setting], check=True)
        subprocess.run(
            ["postfix", "-c", str(self._config), "reload"], capture_output=True, check=True
        )
        time.sleep(1)

    def delivered(self) -> int:
        """Messages in the Maildir."""
        try:
            with os.scandir(self.maildir / "new") as entries:
                return sum(1 for _ in entries)
        except FileNotFoundError:
            return 0

    def empty(self) -> None:
        shutil.rmtree(self.maildir, ignore_errors=True)

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self._config), "stop"], capture_output=True)


class Dovecot:
    """POP3 on a free port over a given Maildir."""

    def __init__(self, directory: Path, maildir: Path) -> None:
        self.port = free_port()
        self._root = directory / "dovecot"
        self._maildir = maildir
        self._process: subprocess.Popen[bytes] | None = None
        self._user = pwd.getpwnam("nobody")

    def start(self) -> None:
        need("dovecot", "dovecot-pop3d")
        self._root.mkdir(parents=True)
        uid, gid = self._user.pw_uid, self._user.pw_gid
        (self._root / "users").write_text(
            f"{ADDRESS}:{{PLAIN}}{PASSWORD}:{uid}:{gid}::{self._maildir.parent}::\n"
        )
        config = self._root / "dovecot.conf"
        config.write_text(
            f"""protocols = pop3
base_dir = {self._root}/run
state_dir = {self._root}/run
instance_name = posthorn-bench
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
log_path = {self._root}/dovecot.log
mail_location = maildir:{self._maildir}
first_valid_uid = 1
mail_max_userip_connections = 1000
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = passwd-file
  args = {self._root}/users
}}
userdb {{
  driver = passwd-file
  args = {self._root}/users
}}
service pop3-login {{
  service_count = 0
  process_limit = 2
  inet_listener pop3 {{
    port = {self.port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service pop3 {{
  service_count = 1000
}}
"""
        )
        self._process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(config)], stdin=subprocess.DEVNULL
        )
        await_port(self.port, "dovecot")

    @property
    def version(self) -> str:
        text = subprocess.run(["dovecot", "--version"], capture_output=True, text=True).stdout
        return "Dovecot " + text.split()[0]

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
