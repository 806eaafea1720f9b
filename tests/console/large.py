"""How long the console's lists take on a large system: ``python -m tests.console.large``.

50,000 accounts, as many aliases, suppressions and messages in quarantine, 100,000 recipients that
wait, and 100,000 messages in the index are made by SQL. The figures are of the machine that this runs on.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from tests.console.conftest import chromium, sign_in_by_key
from tests.console.watching import settle
from tests.support.system import System

ACCOUNTS, QUEUED = 50_000, 100_000
LOADS = 5
LISTS = (
    "/console/accounts",
    "/console/accounts?domain=example.test",
    "/console/aliases",
    "/console/suppressions",
    "/console/queue",
    "/console/queue?state=held",
    "/console/queue?domain=d7.example",
    "/console/find",
    "/console/find?q=word7&outcome=deferred",
    "/console/quarantine",
    "/console/audit",
    "/console/domains",
)
SEED = f"""
INSERT INTO accounts (domain_id, address, password_hash, used_bytes, used_messages)
  SELECT d.id, 'person' || n || '@example.test', '', n * 1000, n % 97
  FROM domains d, generate_series(1, {ACCOUNTS}) n WHERE d.name = 'example.test';
INSERT INTO aliases (domain_id, address, targets)
  SELECT d.id, 'list' || n || '@example.test', ARRAY['person' || n || '@example.test']
  FROM domains d, generate_series(1, {ACCOUNTS}) n WHERE d.name = 'example.test';
INSERT INTO suppressions (address, reason, source, tenant_id)
  SELECT 'gone' || n || '@d' || n % 500 || '.example', '550 5.1.1 unknown', 'bounce', d.tenant_id
  FROM domains d, generate_series(1, {ACCOUNTS}) n WHERE d.name = 'example.test';
CREATE TEMPORARY TABLE made AS
  SELECT n, ('01a22887-062c-7d98-94b6-' || lpad(to_hex(n), 12, '0'))::uuid AS id
  FROM generate_series(1, {QUEUED}) n;
INSERT INTO messages (id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
    return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)
  SELECT id, 0, 1000, 'none', 1000, false, '', 0, 1, now(), 'alice@example.test',
    'Subject ' || n, 'alice@example.test', '', '' FROM made;
INSERT INTO outbound_messages (message_id, tenant_id, submitter, smtputf8, ret, envid, signature, open)
  SELECT m.id, tenant_id, 'alice@example.test', false, '', '', '', 1
  FROM made m, domains d WHERE d.name = 'example.test';
INSERT INTO outbound_recipients (message_id, tenant_id, destination, recipient, address, sender,
    reverse_path, original, orcpt, notify, state, due_at, attempts, overdue_at, expires_at, last_reply)
  SELECT m.id, tenant_id, 'd' || n % 500 || '.example', 'p' || n || '@d' || n % 500 || '.example',
    'p' || n || '@d' || n % 500 || '.example', 'alice@example.test', 'alice@example.test', '', '', 0,
    CASE WHEN n % 10 = 0 THEN 'held' ELSE 'deferred' END, now() + interval '1 hour', 3,
    now() + interval '1 day', now() + interval '5 days', '451 4.7.1 try again later'
  FROM made m, domains d WHERE d.name = 'example.test';
INSERT INTO message_index (tenant_id, message_id, recipient, direction, reverse_path, author, subject,
    header_id, size_bytes, outcome, kind, changed_at, detail, targets, terms)
  SELECT tenant_id, m.id, 'p' || n || '@d' || n % 500 || '.example', 'outbound', 'alice@example.test',
    'alice@example.test', 'Subject word' || n % 100, '', 1000, 'deferred', 'deferred', now(), '{{}}',
    '{{}}', ARRAY['word' || n % 100, 'subject', 'alice@example.test']
  FROM made m, domains d WHERE d.name = 'example.test';
INSERT INTO quarantine (id, message_id, tenant_id, recipient, reason, detail, score, envelope, size_crlf, expires_at)
  SELECT m.id, m.id, tenant_id, 'list' || n || '@example.test', 'score', '12 points', 12, '', 1000,
    now() + interval '20 days'
  FROM made m, domains d WHERE d.name = 'example.test' AND n <= {ACCOUNTS};
ANALYZE;
"""


async def _seed(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(SEED)
    finally:
        await connection.close()


def database_url(posthorn: System) -> str:
    """Return the URL of the system's Postgres for its owner."""
    port = next(
        each.laddr.port
        for each in psutil.Process(posthorn.parts()["postgres"].pid).net_connections()
        if each.status == psutil.CONN_LISTEN
    )
    secret = (posthorn.home / "postgres" / "password").read_text().strip()
    return f"postgresql://posthorn:{secret}@127.0.0.1:{port}/posthorn"


def load(page: Page, path: str) -> dict[str, Any]:
    """Open a list; return milliseconds until its rows are there and of its requests, and its
    rows."""
    page.goto(path)
    page.locator("tr[data-row], .empty").first.wait_for()
    shown: float = page.evaluate("performance.now()")
    settle(page)
    asked: dict[str, float] = page.evaluate(
        """() => Object.fromEntries(performance.getEntriesByType('resource')
          .filter((each) => each.name.includes('/v1/'))
          .map((each) => [new URL(each.name).pathname, each.duration]))"""
    )
    return {"shown": shown, "asked": asked, "rows": page.locator("tr[data-row]").count()}


def main() -> int:
    """Fill a system, and print the figures of each list."""
    with tempfile.TemporaryDirectory() as folder:
        posthorn = System(Path(folder) / "home")
        try:
            posthorn.start()
            asyncio.run(_seed(database_url(posthorn)))
            with sync_playwright() as playwright:
                browser = chromium(playwright)
                try:
                    measure(browser, posthorn)
                finally:
                    browser.close()
        finally:
            posthorn.close()
    return 0


def measure(browser: Browser, posthorn: System) -> None:
    """Print the figures of each list."""
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{posthorn.ports['API']}",
        viewport={"width": 1440, "height": 900},
    )
    page = context.new_page()
    page.set_default_timeout(120_000)
    sign_in_by_key(page, posthorn.key)
    print("list | rows | ms to rows (median) | slowest request, ms (median)")
    for path in LISTS:
        loads = [load(page, path) for _ in range(LOADS)]
        slowest = max(
            loads[0]["asked"],
            key=lambda each: statistics.median(one["asked"].get(each, 0) for one in loads),
        )
        asked = statistics.median(one["asked"].get(slowest, 0) for one in loads)
        shown = statistics.median(one["shown"] for one in loads)
        print(f"{path} | {loads[-1]['rows']} | {shown:.0f} | {slowest} {asked:.0f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
