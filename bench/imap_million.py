"""A mailbox of 1,000,000 messages over a real IMAP process: `python -m bench.imap_million [COUNT]`.

Prints the time of each command and the memory (PSS) that it leaves in the process, then how long
deliveries to the account take while 100,000 messages get a flag. The mailbox is filled by SQL; the
messages have no bodies.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
import tempfile
import threading
import time
from pathlib import Path

import asyncpg

from bench.imap_client import BenchImap
from bench.system import System, cost

USER, PASSWORD = "million@example.test", "a password for the bench"
_SUBJECT = b"Subject: while flags are stored\r\n\r\ntext\r\n"
_FILL = (
    """
    CREATE TEMPORARY TABLE filled AS
    SELECT n AS uid, gen_random_uuid() AS id FROM generate_series(1, $1::bigint) AS n
    """,
    """
    INSERT INTO messages (id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
                          return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)
    SELECT id, 0, 1000, 'none', 1000, false, '', 0, 1, now(), '', 'message ' || uid, '', '', '' FROM filled
    """,
    """
    INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, internal_date)
    SELECT a.id, 1, f.uid, f.id, 1000, CASE WHEN f.uid % 50 = 0 THEN 0 ELSE 1 END, now()
      FROM filled f, accounts a WHERE a.address = $1
    """,
    """
    UPDATE mailboxes b SET uidnext = n.messages + 1, counted_modseq = b.modseq, messages = n.messages,
                           unseen = n.unseen, octets = n.octets
      FROM (SELECT account_id, count(*) AS messages, count(*) FILTER (WHERE flags & 1 = 0) AS unseen,
                   sum(size_crlf) AS octets FROM mailbox_entries GROUP BY account_id) AS n
     WHERE b.account_id = n.account_id AND b.mailbox_id = 1
    """,
    """
    UPDATE accounts a SET used_messages = b.messages, used_bytes = b.octets
      FROM mailboxes b WHERE b.account_id = a.id AND b.mailbox_id = 1 AND a.address = $1
    """,
    "ANALYZE messages, mailbox_entries",
)


async def _fill(home: Path, count: int) -> None:
    port = (home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[3]
    secret = (home / "postgres" / "password").read_text().strip()
    database = await asyncpg.connect(f"postgresql://posthorn:{secret}@127.0.0.1:{port}/posthorn")
    for statement in _FILL:
        values: list[object] = [count] if "$1::bigint" in statement else []
        values += [USER] if "a.address = $1" in statement else []
        await database.execute(statement, *values, timeout=600)
    await database.close()


class _Deliveries:
    """Sends messages to the account until ended."""

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []
        self._port = port
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(60)

    def _run(self) -> None:
        with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client:
            while not self._ending.wait(0.1):
                began = time.monotonic()
                client.sendmail("sender@example.org", [USER], _SUBJECT)
                self.seconds.append(time.monotonic() - began)


class _Memory:
    """The most that the process holds while something is done, looked at 20 times a second."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid = pid
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Return the most, in bytes."""
        self._ending.set()
        self._thread.join(10)
        return self.most

    def _run(self) -> None:
        while True:
            self.most = max(self.most, cost(self._pid).resident)
            if self._ending.wait(0.05):
                return


def main() -> None:
    """Fill, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="posthorn-million-") as made:
        system = System(Path(made) / "home")
        system.start()
        try:
            system.make_account(USER, PASSWORD)
            BenchImap(system.imap, USER, PASSWORD).close()  # the account is prepared
            began = time.monotonic()
            asyncio.run(_fill(system.home, count))
            print(f"{count} messages, filled in {time.monotonic() - began:.0f} s", flush=True)
            _measure(system, count)
        finally:
            system.stop()


def _measure(system: System, count: int) -> None:
    pid = system.parts()["imap"]
    BenchImap(system.imap, USER, PASSWORD).close()
    client = BenchImap(system.imap, USER, PASSWORD)

    def timed(command: str) -> bytes:
        before, memory = cost(pid).resident, _Memory(pid)
        began = time.monotonic()
        replies = client.ask(command)
        seconds = time.monotonic() - began
        most, after = memory.end(), cost(pid).resident
        print(
            f"{command:<44} {seconds:8.3f} s {len(replies) / 1e6:7.1f} MB of replies,"
            f" {(after - before) / 1e6:6.1f} MB more, at most {(most - before) / 1e6:6.1f} MB",
            flush=True,
        )
        return replies

    timed("SELECT INBOX")
    timed("SELECT INBOX")
    assert timed("UID FETCH 1:* (FLAGS)").count(b" FETCH ") == count
    timed("UID SEARCH UNSEEN")
    timed("UID SEARCH RETURN (COUNT) UNSEEN")
    deliveries, delivered = _Deliveries(system.smtp), system.delivered()
    deliveries.start()
    some = min(count, 100_000)
    timed(rf"UID STORE 1:{some} +FLAGS.SILENT (\Flagged)")
    deliveries.end()
    meanwhile = system.delivered() - delivered
    while system.delivered() - delivered < len(deliveries.seconds):
        time.sleep(0.05)
    print(
        f"meanwhile {len(deliveries.seconds)} messages came, each accepted within"
        f" {max(deliveries.seconds, default=0):.3f} s; {meanwhile} were in the mailbox at its end"
    )
    other = BenchImap(system.imap, USER, PASSWORD)
    before = cost(pid).resident
    other.ask("SELECT INBOX")
    print(f"a second connection that selects it adds {(cost(pid).resident - before) / 1e6:.1f} MB")
    for each in (client, other):
        each.close()


if __name__ == "__main__":
    main()
