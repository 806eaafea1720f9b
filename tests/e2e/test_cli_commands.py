"""Every command of `posthorn` against the whole system, and what a newcomer does first."""

from __future__ import annotations

import imaplib
import json
import re
import smtplib
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from posthorn.wire.reports.dmarc import DmarcRecord
from tests.e2e.command_line import CommandLine, Ran, beside, leaves
from tests.e2e.trace import split_trace
from tests.support.polling import BUSY_SECONDS
from tests.support.reports import complaint_body, dmarc_body, tls_body
from tests.support.scripted_imap import Held, ScriptedImap, serving
from tests.support.system import System, await_that


@pytest.fixture
def shell(system: System, tmp_path: Path) -> CommandLine:
    return beside(system, tmp_path)


@pytest.fixture(scope="module")
def used() -> set[str]:
    """The commands that the tests of this module have run."""
    return set()


@pytest.fixture(autouse=True)
def _noted(shell: CommandLine, used: set[str]) -> None:
    shell.used = used


@pytest.fixture
def domain(shell: CommandLine) -> str:
    name = f"d{uuid4().hex[:8]}.example"
    shell.run(f"domain create {name}")
    return name


@pytest.fixture
def address(shell: CommandLine, domain: str) -> str:
    shell.run(f"account create carol@{domain} --password-file -", "correct horse battery\n")
    return f"carol@{domain}"


def test_a_newcomer_sets_up_a_tenant_with_a_domain_and_ten_accounts_and_traces_a_message(
    shell: CommandLine, system: System
) -> None:
    name = f"n{uuid4().hex[:8]}"
    shell.run(f"tenant create {name} --max-accounts 20 --no-verify-domains")
    shell.run(f"domain create {name}.example --tenant {name}")
    people = [f"person{number}@{name}.example" for number in range(10)]
    passwords = {
        each: shell.run(f"account create {each} --generate-password --json").document["password"]
        for each in people
    }
    assert [row[0] for row in shell.run(f"account list --domain {name}.example").rows] == people
    records = shell.run(f"domain dns {name}.example").rows
    assert {row[2] for row in records} >= {"MX", "TXT"}
    sent = shell.run(
        f"send-test --from {people[0]} --to {people[1]} --subject 'For a test'"
    ).out.strip()
    traced = shell.run(f"trace {sent} --follow --wait 60s")
    assert sorted(row[1] for row in traced.rows) == ["accepted", "delivered"]
    (message,) = system.maildrop(people[1], passwords[people[1]]).read()
    assert b"Subject: For a test" in message
    shown = shell.run(f"tenant show {name} --json").document
    assert (shown["domains"], shown["accounts"]) == (1, 10)


def test_help_names_every_command_with_an_example(shell: CommandLine) -> None:
    for command in sorted(leaves()):
        said = shell.run(f"{command} --help").out
        assert "Example" in said, command
        assert f"posthorn {command.split()[0]}" in re.sub(r"\s+", " ", said), command


def test_tenants(shell: CommandLine) -> None:
    name = f"t{uuid4().hex[:8]}"
    shell.run(f"tenant create {name} --quota 5GiB --max-messages-per-hour 100 --no-verify-domains")
    changed = shell.run(
        f"tenant set {name} --state suspended --quota none --max-domains 3 --json"
    ).document
    assert (changed["state"], changed["quota_bytes"], changed["max_domains"]) == (
        "suspended",
        None,
        3,
    )
    assert changed["max_messages_per_hour"] == 100
    assert name in [row[0] for row in shell.run("tenant list --all").rows]
    assert shell.attempt(f"tenant delete {name}").status == 2  # nobody can be asked
    shell.run(f"tenant delete {name} --yes")
    assert shell.attempt(f"tenant show {name}").status == 3


def test_domains(shell: CommandLine, domain: str, address: str) -> None:
    changed = shell.run(
        f"domain set {domain} --catch-all {address} --no-plus-addressing --max-accounts 9 --retention-days 30 --json"
    ).document
    assert (changed["catch_all"], changed["plus_addressing"], changed["max_accounts"]) == (
        address,
        False,
        9,
    )
    assert shell.run(f"domain set {domain} --catch-all none --json").document["catch_all"] is None
    shown = dict(shell.run(f"domain show {domain}").rows)
    assert (shown["name"], shown["postmaster"]) == (domain, "alice@example.test"), (
        "local mode's setting"
    )
    assert domain in [row[0] for row in shell.run("domain list --all").rows]
    held = shell.attempt(f"domain delete {domain} --yes")
    assert (held.status, held.out) == (6, "")
    assert shell.attempt(f"domain create {domain}").status == 6
    shell.run(f"account delete {address} --yes")
    shell.run(f"domain delete {domain} --yes")


def test_a_new_domain_comes_with_keys_and_the_records_to_publish(shell: CommandLine) -> None:
    name = f"k{uuid4().hex[:8]}.example"
    made = shell.run(f"domain create {name}")
    assert ["name", name] in made.rows
    assert "DNS records to publish" in made.err
    keys = {(row[4], row[5]) for row in shell.run(f"dkim list {name}").rows}
    assert len(keys) == 2
    assert {(row[0], row[3]) for row in made.rows if "_domainkey" in row[0]} == keys
    assert any(row[0] == name and row[2] == "MX" for row in made.rows if len(row) > 2)
    shown = shell.run(f"domain create other-{name} --no-dkim --json").document
    assert "dkim" not in {each["purpose"] for each in shown["dns_records"]}
    assert shell.run(f"dkim list other-{name}").rows == []


def test_dns(shell: CommandLine, domain: str) -> None:
    zone = shell.run(f"domain dns {domain} --zone").out
    assert re.search(rf"^{domain}\. \d+ IN MX ", zone, re.MULTILINE)
    assert shell.run(f"domain dns {domain} --json").document["domain"] == domain
    servers = shell.run(f"domain clients {domain} --json").document
    assert "imap" in {each["protocol"] for each in servers}
    assert shell.run("domain dns-check-all --json").document["due"] >= 0
    checked = shell.attempt(f"domain dns-check {domain} --json")
    assert checked.status == 1
    assert {record["verdict"] for record in checked.document["records"]} <= {
        "missing",
        "unknown",
        "wrong",
        "right",
    }
    assert shell.attempt(f"domain verify {domain}").status in (0, 6)


def test_dkim(shell: CommandLine, domain: str) -> None:
    made = shell.run(
        f"dkim rotate {domain} --algorithm ed25519 --selector tt --delay 1d --json"
    ).document
    assert [key["algorithm"] for key in made["keys"]] == ["ed25519"]
    row = next(row for row in shell.run(f"dkim list {domain}").rows if row[0].startswith("tt"))
    assert row[4].endswith(f"._domainkey.{domain}")
    assert row[5].startswith("v=DKIM1")


def test_accounts(shell: CommandLine, system: System, address: str) -> None:
    changed = shell.run(f"account set {address} --quota 2GiB --state receive-only --json").document
    assert (changed["quota_bytes"], changed["state"]) == (2 * 2**30, "receive-only")
    assert dict(shell.run(f"account show {address}").rows)["quota_bytes"] == str(2 * 2**30)
    changed = shell.run(
        f"account set {address} --save-sent --hide-imap-capabilities qresync,IDLE --json"
    ).document
    assert (changed["save_sent"], changed["hidden_imap_capabilities"]) == (
        True,
        ["QRESYNC", "IDLE"],
    )
    changed = shell.run(f"account set {address} --hide-imap-capabilities none --json").document
    assert (changed["save_sent"], changed["hidden_imap_capabilities"]) == (True, [])
    password = shell.run(f"account password {address} --generate-password").out.strip()
    assert system.maildrop(address, password).read() == []
    warned = shell.run(f"account password {address} --password 'yet another good one'")
    assert "warning" in warned.err
    assert shell.attempt(f"account delete {address}").status == 2
    shell.run(f"account delete {address} --yes")
    assert shell.attempt(f"account show {address}").status == 3


def test_app_passwords(shell: CommandLine, system: System, address: str) -> None:
    password = shell.run(f"app-password create {address} phone --scope pop3").out.strip()
    assert system.maildrop(address, password).read() == []
    ((number, name, scopes, *_),) = shell.run(f"app-password list {address}").rows
    assert (name, scopes) == ("phone", "pop3")
    shell.run(f"app-password delete {address} {number} --yes")
    assert shell.run(f"app-password list {address}").out == ""


def test_aliases(shell: CommandLine, domain: str, address: str) -> None:
    alias = f"team@{domain}"
    shell.run(f"alias create {alias} {address}")
    shell.run(f"alias add {alias} one@example.org two@example.org")
    shell.run(f"alias remove {alias} one@example.org")
    assert shell.run(f"alias show {alias} --json").document["targets"] == [
        address,
        "two@example.org",
    ]
    shell.run(f"alias set {alias} {address}")
    assert shell.run(f"alias list --domain {domain}").rows[0][:2] == [alias, address]
    assert shell.run(f"alias list --target {address}").rows[0][:2] == [alias, address]
    assert shell.attempt(f"alias remove {alias} {address}").status == 2
    assert shell.attempt(f"alias remove {alias} nobody@example.org").status == 1
    shell.run(f"alias delete {alias} --yes")
    refused = shell.attempt("alias confirm 0198c1d2c3b47a519e2f8d7c6b5a4938.bm90aGluZw")
    assert (refused.status, "the token is not valid" in refused.err) == (1, True)


def test_messages(
    shell: CommandLine, system: System, domain: str, address: str, tmp_path: Path
) -> None:
    system.send(b"From: a@example.org\r\nSubject: \x1b]0;evil\r\n\r\nhello\r\n", address)
    (row,) = await_that("the message", lambda: shell.run(f"message list {address}").rows)
    assert row[2] == "a@example.org"
    assert "\x1b" not in "".join(row)
    assert shell.run(f"message show {address} {row[0]} --json").document["mailbox"] == "INBOX"
    target = tmp_path / "message.eml"
    shell.run(f"message raw {address} {row[0]} -o {target}")
    assert target.read_bytes().endswith(b"\r\n\r\nhello\r\n")
    assert shell.run(f"message raw {address} {row[0]}").out.encode() == target.read_bytes()
    assert shell.attempt(f"message raw {address} {row[0]} -o {target}").status == 1
    assert (
        shell.run(
            f"message list {address} --from A@EXAMPLE --since 1h --unseen --smaller 1MB"
        ).rows[0][0]
        == row[0]
    )
    assert shell.run(f"message list {address} --subject nothing --larger 1MB").rows == []
    assert shell.run(f"message list {address} --text A@EXAMPLE --body HELLO").rows[0][0] == row[0]
    assert shell.run(f"message list {address} --body A@EXAMPLE").rows == []
    ((part, media_type, *_),) = shell.run(f"message structure {address} {row[0]}").rows
    assert (part, media_type) == ("1", "text/plain")
    assert shell.run(f"message part {address} {row[0]} 1").out.splitlines() == ["hello"]
    read = [each[2] for each in shell.run(f"audit content {address} --limit 2").rows]
    assert read == ["content.read", "content.show"]

    shell.run(f"mailbox create {address} Work/2026")
    shell.run(f"message move {address} {row[0]} Work/2026")
    counted = {each[0]: each[2] for each in shell.run(f"mailbox list {address}").rows}
    assert (counted["INBOX"], counted["Work/2026"]) == ("0", "1")
    assert shell.attempt(f"mailbox delete {address} Work/2026 --yes").status == 6

    flagged = shell.run(
        f"message flag {address} {row[0]} --flags seen,flagged --keywords $Later --json"
    ).document
    assert (sorted(flagged["flags"]), flagged["keywords"]) == (["flagged", "seen"], ["$Later"])
    shell.run(f"mailbox set {address} Work/2026 --rename Work/2027 --not-subscribed")
    assert shell.run(f"message show {address} {row[0]} --json").document["mailbox"] == "Work/2027"
    shell.run(f"mailbox set {address} Work/2027 --rename Work/2026")

    said = shell.run(f"message classify {address} {row[0]} spam --keep --json").document
    assert (said["classification"], said["mailbox"]) == ("spam", "Work/2026")
    shell.run(f"message classify {address} {row[0]} none")

    shell.run(f"domain set {domain} --undelete-days 3")
    shell.run(f"message delete {address} {row[0]} --yes")
    assert shell.attempt(f"message show {address} {row[0]}").status == 3
    assert [each[0] for each in shell.run(f"message deleted {address}").rows] == [row[0]]
    shell.run(f"message undelete {address} {row[0]}")
    assert shell.run(f"message show {address} {row[0]} --json").document["mailbox"] == "Work/2026"
    shell.run(f"message move {address} {row[0]} INBOX")
    shell.run(f"mailbox delete {address} Work/2026 --yes")


def test_a_structure_that_is_cut_short_says_so(
    shell: CommandLine, system: System, address: str
) -> None:
    parts = b"--b\r\n\r\nx\r\n" * 1200
    system.send(
        b"From: a@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        + parts
        + b"--b--\r\n",
        address,
    )
    (row,) = await_that("the message", lambda: shell.run(f"message list {address}").rows)
    cut = shell.run(f"message structure {address} {row[0]}")
    assert "warning: the message has more parts" in cut.err
    assert 900 < len(cut.rows) <= 1000


def test_an_import_says_what_became_text_and_what_was_left_out(
    shell: CommandLine, address: str, tmp_path: Path
) -> None:
    date = "Sat Nov  7 09:10:11 2026"
    file = tmp_path / "mail.mbox"
    file.write_text(
        f"From MAILER-DAEMON {date}\nFrom: Mail System Internal Data <MAILER-DAEMON@host>\n"
        "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1700000000 0000000001\n\ndata\n\n"
        f"From a@example.org {date}\nFrom: a@example.org\nSubject: one\n\ntext\n\nFrom here on it is text\n\n"
        f"From a@example.org {date}\nX-Mozilla-Status: 0009\nFrom: a@example.org\nSubject: two\n\nexpunged\n"
    )
    ran = shell.run(f"import mail {address} {file}")
    assert ran.out == "1 imported, 0 there already, 0 failed, 2 left out\n"
    assert ran.err.count("left out: ") == 2
    assert "1 lines that begin with From were taken for text of a message" in ran.err


def test_filter_policies(shell: CommandLine, domain: str, address: str) -> None:
    name = f"t{uuid4().hex[:8]}"
    shell.run(f"tenant create {name}")
    for whose in (f"--tenant {name}", f"--domain {domain}", f"--account {address}"):
        line = f"filter set {whose} --junk-score 4 --spam-action mark --greylist on --json"
        changed = shell.run(line).document
        assert (changed["junk_score"], changed["spam_action"], changed["greylist"]) == (
            4.0,
            "mark",
            True,
        )
        assert shell.run(f"filter show {whose} --json").document == changed
    shell.run(f"filter set --domain {domain} --greylist none --digest off")
    shell.run(f"filter unset junk-score --account {address}")
    shell.run(f"filter allow Dave@Example.NET 192.0.2.1 --account {address}")
    allowed = shell.run(f"filter allow friend.example --account {address} --json").document
    assert allowed == {"allow": ["dave@example.net", "192.0.2.1/32", "friend.example"]}
    left = shell.run(f"filter allow dave@EXAMPLE.net 192.0.2.1 --account {address} --remove")
    assert left.rows == [["allow", "friend.example"]]
    shell.run(f"filter block spam.example --domain {domain}")
    shell.run(f"filter forwarder old.example --account {address}")
    gone = shell.attempt(f"filter block other.example --domain {domain} --remove")
    assert (gone.status, "other.example is not on the list" in gone.err) == (1, True)
    holds = shell.run(f"filter effective --account {address}").rows
    assert ["junk_score", "4.0", "domain"] in holds
    assert ["block", "spam.example", "domain"] in holds
    assert ["allow", "friend.example", "account"] in holds
    assert ["digest", "no", "domain"] in holds
    assert ["clamav", "yes", "default"] in holds
    assert ["allow", "-", "default"] in shell.run(f"filter effective --domain {domain}").rows
    wrong = shell.attempt(f"filter block nonsense --domain {domain}")
    assert (wrong.status, "block[1]: must be" in wrong.err) == (1, True)
    for typed in (
        "filter show",
        f"filter show --domain {domain} --system",
        f"filter set --domain {domain}",
        f"filter set --domain {domain} --greylist perhaps",
        f"filter set --domain {domain} --junk-score high",
        f"filter unset colour --domain {domain}",
        "filter effective",
        f"filter unset --domain {domain}",
    ):
        assert shell.attempt(typed).status == 2, typed
    shell.run(f"filter unset --domain {domain} --yes")
    assert set(shell.run(f"filter show --domain {domain} --json").document.values()) == {None}
    shown = shell.run("filter show --system")
    assert ["junk_score", "-"] in shown.rows


def test_keys_do_what_their_role_says(shell: CommandLine, system: System, domain: str) -> None:
    key = shell.run("key create 'reads only' --role read-only --expires 90d").out.strip()
    number = next(row[0] for row in shell.run("key list --all").rows if row[1] == "reads only")
    assert shell.run(f"key show {number} --json").document["role"] == "read-only"
    url = f"http://127.0.0.1:{system.ports['API']}"
    reader = CommandLine(
        {**shell.environment, "POSTHORN_URL": url, "POSTHORN_API_KEY": key}, shell.used
    )
    assert reader.run(f"domain show {domain}")
    refused = reader.attempt(f"domain delete {domain} --yes")
    assert (refused.status, refused.out) == (4, "")
    assert refused.err.startswith("posthorn: ")
    shell.run(f"key delete {number} --yes")
    await_that("the key is refused", lambda: reader.attempt("domain list").status == 4)


def test_the_holder_of_an_account(shell: CommandLine, system: System, address: str) -> None:
    domain = address.partition("@")[2]
    shell.run(f"domain set {domain} --undelete-days 7")
    url = f"http://127.0.0.1:{system.ports['API']}"
    holder = CommandLine(
        {**shell.environment, "HOME": f"{shell.environment['HOME']}/holder"}, shell.used
    )
    first, second = "correct horse battery\n", "another horse battery\n"
    assert holder.attempt(f"login {address} --url {url} --password-file -", "wrong\n").status == 4
    holder.run(f"login {address} --url {url} --password-file -", first)
    mine = "--context me"
    assert holder.run(f"me show {mine} --json").document["account"]["address"] == address
    made = holder.run(f"me create-app-password tablet --scope pop3 --expires 9d {mine}").out.strip()
    message = shell.run(f"send-test --from {address} --to {address} --subject Mine").out.strip()
    await_that("the message is there", lambda: len(system.maildrop(address, made).read()) == 1)
    with imaplib.IMAP4("127.0.0.1", system.ports["IMAP"], timeout=BUSY_SECONDS) as reader:
        reader.login(address, first.strip())
    with smtplib.SMTP("127.0.0.1", system.ports["SUBMISSION"], timeout=BUSY_SECONDS) as sender:
        sender.starttls()
        sender.login(address, first.strip())
    box = Path(shell.environment["HOME"]) / "mine.mbox"
    holder.run(f"me export --output {box} {mine}")
    assert "Subject: Mine" in box.read_text()
    seen = {("pop3", "tablet"), ("imap", "-"), ("smtp", "-"), ("api", "-")}
    await_that(
        "its sign-ins are shown",
        lambda: seen <= {(row[1], row[3]) for row in holder.run(f"me sign-ins {mine}").rows},
    )
    assert any(row[1] == "pop3" for row in shell.run(f"account sign-ins {address}").rows)
    ((number, *_),) = holder.run(f"me app-passwords {mine}").rows
    holder.run(f"me delete-app-password {number} --yes {mine}")
    protocols = [row[0] for row in holder.run(f"me client-settings {mine}").rows]
    assert protocols[0] == "imap"
    assert "EmailTypeIMAP" in holder.run(f"me client-settings --apple {mine}").out
    assert json.loads(holder.run(f"me qr-code --display-name Carol {mine}").out)[:2] == [1, [1, 1]]
    assert "INBOX" in [row[0] for row in holder.run(f"me mailboxes {mine}").rows]
    shell.run(f"message delete {address} {message} --yes")
    ((deleted, *_),) = holder.run(f"me deleted {mine}").rows
    assert deleted == message
    holder.run(f"me undelete {message} {mine}")
    assert "content.list" not in holder.run(f"me reads {mine}").out
    shell.run(f"message list {address}")
    assert "content.list" in holder.run(f"me reads {mine}").out
    assert holder.run(f"me quarantine {mine}").rows == []
    assert holder.attempt(f"me release {message} {mine}").status == 3
    holder.run(
        f"me set-vacation --subject Away --text-file - --until 14d {mine}", "Back on Monday.\n"
    )
    shell.run(f"account create dave@{domain} --password-file -", second)

    def replied() -> bool:
        shell.run(f"send-test --from dave@{domain} --to {address} --subject 'Are you there'")
        time.sleep(2)  # several messages get one reply; delivery reads every 10 s who is away
        return any(
            b"Subject: Away" in each
            for each in system.maildrop(f"dave@{domain}", "another horse battery").read()
        )

    await_that("she is said to be away", replied, timeout=60)
    assert holder.run(f"me set-vacation --off {mine} --json").document["subject"] == "Away"
    assert holder.run(f"me vacation {mine} --json").document["enabled"] is False
    refused = holder.attempt(f"me set-forwards a@far.example {mine}")
    assert (refused.status, "does not let" in refused.err) == (6, True)
    shell.run(f"domain set {address.rpartition('@')[2]} --account-forwards 1")
    assert (
        holder.run(f"me set-forwards a@far.example --no-copy {mine}").rows[0][0] == "a@far.example"
    )
    forwards = holder.run(f"me forwards {mine} --json").document
    assert (forwards["keep_copy"], forwards["permitted"]) == (False, 1)
    holder.run(f"me delete-forwards {mine}")
    assert holder.run(f"me forwards {mine}").rows == []
    holder.run("logout")
    assert holder.attempt(f"me show {mine}").status == 2
    holder.run(f"login {address} --url {url} --password-file - --no-use", first)
    (file := Path(shell.environment["HOME"]) / "first").write_text(first)
    holder.run(f"me password --current-file {file} --password-file - {mine}", second)
    await_that("the session ends", lambda: holder.attempt(f"me show {mine}").status == 4)
    link = shell.run("key login-link").out.strip()
    assert link.startswith(f"{url}/console/#link=")
    assert shell.run("key end-sessions nobody --json").document == {"ended": 0}


def test_audit(shell: CommandLine, domain: str) -> None:
    shell.run(f"domain set {domain} --max-accounts 5")
    lines = shell.run(f"audit list --action domain --object {domain} --since 1h").rows
    assert [line[2] for line in lines] == ["domain.change", "domain.create"]
    assert "max_accounts" in lines[0][5], "what was before"


def test_queue_routes_and_suppressions(shell: CommandLine, address: str) -> None:
    target = f"{uuid4().hex[:8]}.test"
    shell.run(
        f"route set {target} --host 127.0.0.1 --port 9 --tls none --username us --password-file -",
        "secret\n",
    )
    assert shell.run(f"route show {target} --json").document["password_set"] is True
    (listed,) = [row for row in shell.run("route list --all").rows if row[0] == target]
    assert listed[-4:] == ["0", "0", "0", "-"], "the attempts of the last hour, and the manager"
    probed = shell.attempt(f"route probe {target} --recipient someone@{target}")
    assert probed.status == 1 and "Connection refused" in probed.out, probed.err
    assert shell.attempt(f"route probe {target} --json").document["outcome"] == "deferred"

    sent = shell.run(
        f"send-test --from {address} --to someone@{target} --to other@{target} --json"
    ).document["id"]
    first, second = await_that("both in the queue", lambda: both(shell, sent))
    assert shell.run(f"queue show {first[0]} --json").document["message"] == sent
    await_that("it is held", lambda: shell.attempt(f"queue hold {first[0]}").status == 0)
    assert shell.run(f"queue list --message {sent} --state held").rows[0][0] == first[0]
    assert shell.attempt(f"queue hold {first[0]}").status == 6
    (waiting,) = [row for row in shell.run("queue summary").rows if row[1] == "held"]
    assert waiting[3] == "1"
    shell.run(f"queue release --message {sent}")
    await_that("it is tried", lambda: shell.attempt(f"queue retry {second[0]}").status == 0)
    assert shell.attempt("queue retry").status == 2
    assert shell.attempt(f"queue retry {first[0]} --all").status == 2
    assert shell.attempt(f"queue cancel --message {sent}").status == 2
    await_that(
        "both are cancelled",
        lambda: (
            shell.run(f"queue cancel --message {sent} --yes --json") and cancelled(shell, sent) == 2
        ),
    )
    followed = shell.attempt(f"trace {sent} --follow --wait 60s")
    assert followed.status == 1
    assert "will not get it" in followed.err
    assert "cancelled" in shell.run(f"trace {sent}").out

    shell.run(f"suppression create someone@{target} --reason 'asked by phone'")
    assert shell.run(f"suppression list --domain {target}").rows[0][0] == f"someone@{target}"
    shell.run(f"suppression delete someone@{target}")
    shell.run(f"route delete {target} --yes")
    assert shell.attempt(f"route show {target}").status == 3


def both(shell: CommandLine, message: str) -> list[list[str]] | None:
    found = shell.run(f"queue list --message {message}").rows
    return found if len(found) == 2 else None


def cancelled(shell: CommandLine, message: str) -> int:
    return len(shell.run(f"queue list --message {message} --state cancelled").rows)


def test_dead_letters_that_are_not_there(shell: CommandLine) -> None:
    assert shell.run("dead-letter list --json").document == []
    assert shell.attempt("dead-letter retry 999999").status == 3
    assert shell.attempt("dead-letter delete 999999 --yes").status == 3


def test_import_and_export_are_each_others_opposite(
    shell: CommandLine, domain: str, tmp_path: Path
) -> None:
    people = "".join(
        f'{{"address": "p{n:03d}@{domain}", "password": "correct horse {n}"}}\n' for n in range(3)
    )
    planned = shell.run("import accounts - --plan --json", people)
    assert [answer["status"] for answer in planned.documents] == ["created"] * 3
    assert "nothing is created" in planned.err
    answers = shell.run("import accounts - --json", people + "\n").documents
    assert [answer["status"] for answer in answers] == ["created"] * 3
    exported = [
        json.loads(line)
        for line in shell.run(f"export accounts --domain {domain}").out.splitlines()
    ]
    assert [each["address"] for each in exported] == [f"p{n:03d}@{domain}" for n in range(3)]

    file = tmp_path / "aliases.ndjson"
    file.write_text(f'\n{{"address": "all@{domain}", "targets": ["p000@{domain}"]}}\nrubbish\n')
    mixed = shell.attempt(f"import aliases {file}")
    assert mixed.status == 1
    assert [(row[0], row[2]) for row in mixed.rows] == [("2", "created"), ("3", "failed")]
    assert "1 created, 0 unchanged, 1 failed" in mixed.err
    assert shell.attempt(f"import aliases {file} --plan --failed-only").status == 1
    aliases = shell.run(f"export aliases --domain {domain}").out
    assert [
        answer["status"] for answer in shell.run("import aliases - --json", aliases).documents
    ] == ["unchanged"]
    assert [row[0] for row in shell.attempt(f"import aliases {file} --failed-only").rows] == ["3"]


def test_an_import_longer_than_a_request_keeps_the_numbers_of_lines(
    shell: CommandLine, domain: str, address: str
) -> None:
    lines = "".join(
        f'{{"address": "a{n:04d}@{domain}", "targets": ["{address}"]}}\n' for n in range(450)
    )
    answers = shell.run("import aliases -", lines).rows
    assert [row[0] for row in answers] == [str(number) for number in range(1, 451)]
    assert shell.run(f"alias list --domain {domain} --all").out.count("\n") == 450
    limited = shell.run(f"alias list --domain {domain} --limit 7")
    assert len(limited.rows) == 7
    assert "--all" in limited.err
    last = shell.run(f"alias list --domain {domain} --sort -address --match A04 --limit 1 --total")
    assert last.rows[0][0] == f"a0449@{domain}"
    assert last.err.splitlines()[0] == "50 in total"


def test_every_list_can_be_sorted_and_counted(shell: CommandLine, domain: str) -> None:
    for noun, order in (
        ("tenant", "name"),
        ("domain", "created"),
        ("account", "used"),
        ("alias", "created"),
        ("key", "used"),
        ("webhook", "url"),
        ("route", "domain"),
        ("audit", "at"),
        ("queue", "due"),
        ("suppression", "created"),
    ):
        for sort in (order, f"-{order}"):
            ran = shell.run(f"{noun} list --sort {sort} --total --limit 1")
            assert re.match(r"\d+ in total\n", ran.err), noun
    for line in ("quarantine list --sort -score", "report complaints --sort created"):
        assert shell.run(f"{line} --total --match nobody --tenant default").err == "0 in total\n"
    assert shell.run("messages find nobody@no.test --sort received --total").err == "0 in total\n"
    found = shell.run(f"domain list --match {domain} --state verified --tenant default --total")
    assert ([row[0] for row in found.rows], found.err) == ([domain], "1 in total\n")
    assert shell.attempt("account list --state odd").status == 1
    assert shell.attempt("audit list --tenant nobody").status == 1


def test_events_are_followed_and_resumed(shell: CommandLine, address: str) -> None:
    program = [str(Path(sys.executable).with_name("posthorn")), "events", "follow", "--json"]
    with subprocess.Popen(
        [*program, "--limit", "1", "--type", "accepted", "--tenant", "default"],
        env=dict(shell.environment),
        stdout=subprocess.PIPE,
    ) as process:
        sent: list[str] = []

        def is_told() -> bool:
            sent.append(shell.run(f"send-test --from {address} --to {address}").out)
            return process.poll() is not None

        await_that("an event", is_told)
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
    assert told["type"] == "accepted"
    assert any(told["data"]["message"] in each for each in sent)
    following = shell.run(f"events follow --after {told['id']} --limit 2 --type delivered").rows
    assert [row[1] for row in following] == ["delivered", "delivered"]
    assert following[0][3] == address
    message = told["data"]["message"]
    own = shell.run(f"events follow --after {told['id']} --limit 1 --message {message}").rows
    assert own[0][2] == message
    refused = shell.attempt("events follow --after odd")
    assert (refused.status, "not the id of an event" in refused.err) == (1, True)


def test_a_tenant_in_a_file_is_applied_once(shell: CommandLine, tmp_path: Path) -> None:
    name = f"c{uuid4().hex[:8]}"
    shell.run(f"tenant create {name}")
    file = tmp_path / "wanted.yaml"
    file.write_text(
        f"domains:\n- name: {name}.example\naccounts:\n- {{address: a@{name}.example, quota_bytes: 1048576}}\n"
        f"aliases:\n- address: all@{name}.example\n  targets: [a@{name}.example]\n"
    )
    planned = shell.run(f"apply -f {file} --tenant {name} --plan")
    assert [row[:4] for row in planned.rows] == [
        ["create", "domain", f"{name}.example", "planned"],
        ["create", "account", f"a@{name}.example", "planned"],
        ["create", "alias", f"all@{name}.example", "planned"],
    ]
    assert shell.attempt(f"domain show {name}.example").status == 3
    assert {row[3] for row in shell.run(f"apply -f {file} --tenant {name}").rows} == {"done"}
    assert shell.run(f"apply -f {file} --tenant {name} --json").document["changes"] == []

    exported = shell.run(f"export config --tenant {name}").out
    assert shell.run(f"apply -f - --tenant {name} --json", exported).document["changes"] == []
    assert (
        shell.run(f"export config --tenant {name} --json").document["domains"][0]["name"]
        == f"{name}.example"
    )

    marked = shell.run(f"apply -f {file} --tenant {name} --manager argo-cd --take-over")
    assert (
        f"newly managed by argo-cd: domain {name}.example, account a@{name}.example" in marked.err
    )
    (row,) = shell.run(f"manager list --tenant {name}").rows
    assert row[:-1] == ["argo-cd", "1", "1", "1", "0", "0"]
    assert shell.run(f"manager list --tenant {name} --json").document[0]["name"] == "argo-cd"
    for noun in ("account", "alias"):
        assert shell.run(f"{noun} list --domain {name}.example").rows[0][-1] == "argo-cd"
    other = f'{{"address": "all@{name}.example", "targets": ["b@{name}.example"]}}\n'
    imported = shell.attempt("import aliases -", other)
    assert imported.rows[0][2:] == [
        "failed",
        f"targets: all@{name}.example has other targets; managed by argo-cd",
    ]
    assert "1 of the aliases that are different are managed by argo-cd" in imported.err
    edited = shell.run(f"alias set all@{name}.example x@elsewhere.test")
    assert "managed by argo-cd: its next apply undoes" in edited.err
    planned = shell.run(f"apply -f {file} --tenant {name} --plan")
    assert f"alias all@{name}.example is managed by argo-cd: its next apply undoes" in planned.err
    assert shell.attempt(f"manager release argo-cd --tenant {name}").status == 2
    shell.run(f"manager release argo-cd --tenant {name} --yes")
    assert "managed" not in shell.run(f"apply -f {file} --tenant {name}").err

    file.write_text("aliases: []\n")
    kept = shell.run(f"apply -f {file} --tenant {name}")
    assert f"alias all@{name}.example" in kept.err
    assert shell.attempt(f"apply -f {file} --tenant {name} --prune").status == 2
    shell.run(f"apply -f {file} --tenant {name} --prune --yes")
    assert shell.run(f"alias list --domain {name}.example").out == ""
    file.write_text("domains: [")
    assert shell.attempt(f"apply -f {file}").status == 1
    file.write_text("domains: 2030-01-01")
    assert "quotation marks" in shell.attempt(f"apply -f {file}").err


@pytest.mark.parametrize("form", ["mbox", "maildir", "eml"])
def test_mail_goes_out_into_a_file_and_in_again(
    shell: CommandLine, system: System, domain: str, address: str, tmp_path: Path, form: str
) -> None:
    messages = [
        b"From: a@example.org\r\nSubject: %d\r\n\r\nFrom here\r\n.\r\n" % number
        for number in range(3)
    ]
    for message in messages:
        system.send(message, address)
    await_that("all are there", lambda: len(shell.run(f"message list {address}").rows) == 3)
    file = tmp_path / "mail"
    shell.run(f"export mail {address} --format {form} -o {file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shell.run(f"account create other@{domain} --password-file -", "correct horse battery\n")
    first = shell.run(f"import mail other@{domain} {file} --format {form}").out
    assert first == "3 imported, 0 there already, 0 failed\n"
    again = shell.run(f"import mail other@{domain} {file} --format {form} --json").document
    assert (again["imported"], again["duplicates"]) == (0, 3)
    drop = system.maildrop(f"other@{domain}", "correct horse battery")
    assert sorted(split_trace(raw)[2] for raw in drop.read()) == messages
    piped = subprocess.run(
        [
            str(Path(sys.executable).with_name("posthorn")),
            "export",
            "mail",
            address,
            "--format",
            "mbox",
        ],
        env=dict(shell.environment),
        capture_output=True,
        check=True,
    )
    assert piped.stdout.count(b">From here") == 3
    assert shell.attempt(f"export mail nobody@{domain} -o {file}").status == 3
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []


def test_mail_comes_over_from_an_imap_server(
    shell: CommandLine, address: str, tmp_path: Path
) -> None:
    held = [
        Held(uid, b"Subject: %d\r\n\r\n%d\r\n" % (uid, uid), flags)
        for uid, flags in ((7, r"\Seen $Label1"), (9, ""))
    ]
    folders = {"INBOX": held, "Entw&APw-rfe": []}
    with serving(ScriptedImap(folders, {"INBOX": r"\HasNoChildren"})) as script:
        line = f"import-from imap {address} --host 127.0.0.1:{script.port} --security none --password-file -"
        planned = shell.run(f"{line} --dry-run", "secret\n")
        assert planned.rows == [
            [address, "INBOX", "INBOX", "2", "-", ""],
            [address, "Entwürfe", "Drafts", "0", "-", ""],
        ]
        script.fault = lambda command: "NO gone" if "UID FETCH 9 " in command else ""
        script.folders["INBOX"].insert(1, Held(8, b""))
        broken = shell.attempt(line, "secret\n")
        assert broken.status == 1
        assert [row[3:9] for row in broken.rows] == [["3", "2", "0", "0", "0", "1"]]
        assert "INBOX, UID 8: the source: the source sent nothing of it" in broken.err
        assert shell.attempt(f"{line} --rate 1", "secret\n").status == 1
        script.folders["INBOX"].pop(1)
        whole = shell.run(line, "secret\n")
        assert [row[3:11] for row in whole.rows] == [["2", "0", "0", "0", "2", "0", "0", "ok"]]
        assert "secret" not in whole.out + whole.err + broken.out + broken.err
    assert len(shell.run(f"message list {address}").rows) == 2
    records = list((tmp_path / ".config" / "posthorn" / "moves").iterdir())
    assert [stat.S_IMODE(each.stat().st_mode) for each in records] == [0o600]

    for wrong, said in (
        ("import-from imap", "name one account, or many"),
        (f"import-from imap {address} --host x", "there is no terminal to ask for the password"),
        (f"import-from imap {address} --password-file -", "--host"),
        (f"import-from imap --accounts {tmp_path}/none.csv", "cannot read"),
        (f"import-from imap --accounts {tmp_path}/none.csv --user x", "--user is for one account"),
        ("import-from imap --accounts - --password-file -", "stdin cannot hold both"),
        (f"import-from imap {address} --source-ca {tmp_path}/none --host x --password-file -", "cannot read certificates"),
    ):  # fmt: skip
        refused = shell.attempt(wrong, "secret\n")
        assert refused.status in (1, 2)
        assert said in refused.err, wrong


def test_people_of_another_server_keep_their_passwords_in_every_protocol(
    shell: CommandLine, system: System, tmp_path: Path
) -> None:
    name = f"m{uuid4().hex[:8]}.example"
    old = "{SSHA}zkw8BXTwcSwL+6Rym/M5XRXJJef+DfTz"  # correct horse
    people = [f"{person}@{name}" for person in ("imap", "pop3", "smtp", "api")]
    (tmp_path / "users").write_text("".join(f"{each}:{old}:::::\n" for each in people))
    (tmp_path / "virtual").write_text(f"info@{name} {people[0]}\n@{name} info@{name}\n")
    line = f"import-from postfix --passwd {tmp_path}/users --virtual {tmp_path}/virtual --output {tmp_path}/plan.json"
    assert ["accounts with ssha", "4"] in shell.run(line).rows
    assert shell.attempt(f"domain show {name}").status == 3, "nothing was created"
    shell.run(f"{line} --apply")
    assert shell.run(f"domain show {name} --json").document["catch_all"] == f"info@{name}"

    with imaplib.IMAP4("127.0.0.1", system.ports["IMAP"], timeout=BUSY_SECONDS) as reader:
        reader.login(people[0], "correct horse")
    assert system.maildrop(people[1], "correct horse").read() == []
    with smtplib.SMTP("127.0.0.1", system.ports["SUBMISSION"], timeout=BUSY_SECONDS) as sender:
        sender.starttls()
        sender.login(people[2], "correct horse")
    assert system.api.get("/v1/me", auth=(people[3], "correct horse")).status_code == 200

    metric = "posthorn_foreign_passwords_rehashed_total 1.0"

    def replaced(service: str) -> bool:
        return metric in system.page(service, "/metrics").text

    for service in ("imap", "pop3", "submission", "api"):
        await_that(f"{service} has replaced it", partial(replaced, service))
    shell.run(f"apply -f {tmp_path}/plan.json")
    assert shell.run(f"apply -f {tmp_path}/plan.json --plan --json").document["changes"] == []

    config = tmp_path / "config"
    config.mkdir()
    (config / "postfix-accounts.cf").write_text(f"dms@{name}|{old}\n")
    (tmp_path / "mailu.yaml").write_text(f"user: [{{email: mailu@{name}, password: '{old}'}}]")
    insert = "INSERT INTO mailbox (username, password, quota, active) VALUES"
    (tmp_path / "dump.sql").write_text(f"{insert} ('sql@{name}', '{old}', 0, 1);")
    for source, file in (
        ("docker-mailserver", "config"),
        ("mailu", "mailu.yaml"),
        ("postfixadmin", "dump.sql"),
        ("mailcow", "dump.sql"),
    ):
        shell.run(f"import-from {source} {tmp_path}/{file} --apply")
    there = [row[0] for row in shell.run(f"account list --domain {name} --all").rows]
    assert there == sorted([*people, f"dms@{name}", f"mailu@{name}", f"sql@{name}"])


def test_webhooks(shell: CommandLine, domain: str) -> None:
    secret = shell.run(
        f"webhook create https://hooks.example.org/{domain} --event delivered --domain {domain}"
    ).out.strip()
    assert secret.startswith("whsec_")
    number = next(row[0] for row in shell.run("webhook list --all").rows if row[2].endswith(domain))
    changed = shell.run(
        f"webhook set {number} --event bounced --event deferred --domain none --json"
    ).document
    assert (sorted(changed["events"]), changed["domain"]) == (["bounced", "deferred"], None)
    assert shell.run(f"webhook rotate {number}").out.strip() not in ("", secret)
    tested = shell.run(f"webhook test {number} --json").document["id"]
    assert shell.run(f"webhook deliveries {number}").rows[0][0] == tested
    assert shell.run(f"webhook delivery {number} {tested} --json").document["event_type"] == "test"
    shell.run(f"webhook replay {number} {tested}")
    replayed = shell.run(f"webhook replay-failed {number} --json").document
    assert replayed == {"replayed": 0, "left": 0}
    shell.run(f"webhook set {number} --state paused")
    assert shell.run(f"webhook show {number} --json").document["state"] == "paused"
    shell.run(f"webhook delete {number} --yes")
    assert shell.attempt(f"webhook show {number}").status == 3


def test_what_is_filtered_is_found_and_released(
    shell: CommandLine, system: System, address: str, tmp_path: Path
) -> None:
    spam = (
        b"From: Eve <eve@example.org>\r\nSubject: Offer\r\n\r\n"
        b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
    )
    system.send(spam, address)
    (junk,) = await_that("Junk", lambda: shell.run(f"message list {address} --mailbox Junk").rows)
    shown = shell.run(f"message show {address} {junk[0]} --json").document
    assert next(each["name"] for each in shown["verdict"]["rules"]) == "GTUBE"
    assert (shown["filed"]["action"], shown["filed"]["reason"]) == ("junk", "score")
    shell.run(f"filter set --account {address} --spam-action quarantine")
    for _ in range(2):
        system.send(spam, address)
    listing = f"quarantine list --account {address} --reason score --since 1d"
    rows = await_that(
        "the copies", lambda: found if len(found := shell.run(listing).rows) == 2 else None
    )
    (first, second), message = (row[0] for row in rows), rows[0][7]
    assert "GTUBE" in shell.run(f"quarantine show {first}").out
    file = tmp_path / "spam.eml"
    shell.run(f"quarantine raw {first} -o {file}")
    assert file.read_bytes().endswith(spam)
    assert shell.attempt("quarantine release").status == 2
    released = shell.run(f"quarantine release --message {message} --ham").rows
    assert [row[:3] for row in released] == [[first, address, "yes"]]
    assert shell.attempt(f"quarantine release {first}").status == 1
    assert shell.run(f"message list {address}").rows[0][0] == message
    whole = ["accepted", "scanned", "quarantined", "restored", "delivered"]
    await_that("the trace", lambda: [row[1] for row in shell.run(f"trace {message}").rows] == whole)
    shell.run(f"quarantine delete {second} --yes")
    assert shell.run(listing).rows == []
    command = f"messages find offer --to {address} --from eve@example.org"
    await_that(
        "all three",
        lambda: (
            sorted(row[1] for row in shell.run(command).rows)
            == ["delivered", "junk", "quarantined"]
        ),
    )
    (row,) = shell.run(f"{command} --outcome delivered").rows
    assert (row[5], row[-1]) == ("Offer", message)


def test_statistics_count_what_was_sent(shell: CommandLine, domain: str, address: str) -> None:
    shell.run(f"send-test --from {address} --to {address} --follow --wait 60s")
    command = f"stats list --domain {domain} --by day --since 2d"
    (row,) = await_that(
        "it is counted", lambda: shell.run(command).rows, timeout=2 * BUSY_SECONDS
    )  # who sent it is the key, not the domain
    assert row[1:4] == [domain, "delivered", "1"]
    series = shell.run(f"stats series --domain {domain}").rows
    assert ["-", "delivered", "-", "1"] in series


def test_reports_that_arrive_by_smtp_are_shown_as_figures(
    shell: CommandLine, system: System, domain: str, address: str
) -> None:
    record = DmarcRecord("192.0.2.7", 3, "none", "pass", "fail", header_from=domain)
    bodies = (
        dmarc_body(domain, [record]),
        tls_body(domain),
        complaint_body(None, recipient="x@y.example"),
    )
    with smtplib.SMTP("127.0.0.1", system.ports["SMTP"]) as client:
        for body in bodies:
            client.sendmail("reports@provider.test", [address], body)
    (row,) = await_that("it is read", lambda: shell.run(f"report dmarc {domain}").rows, timeout=60)
    assert row[:5] == ["3", "192.0.2.7", "Provider Inc.", "no", "none"]
    rows = await_that(
        "it is read", lambda: shell.run(f"report tls {domain} --since 2d").rows, timeout=60
    )
    assert [row[0] for row in rows] == ["2", "1", "7"]
    listed = await_that("it is read", lambda: shell.run("report complaints").rows, timeout=60)
    assert listed[0][1:3] == ["x@y.example", "abuse"]


def test_contexts(shell: CommandLine, system: System, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{system.ports['API']}"
    alone = CommandLine(
        {"HOME": str(tmp_path / "other"), "PATH": "/usr/bin", "POSTHORN_HOME": str(tmp_path)},
        shell.used,
    )
    assert alone.attempt("domain list").status == 2
    alone.run(f"context add work --url {url} --key-file -", system.key)
    alone.run(
        f"context add file --url {url} --key-file '{system.home}/admin.key' --keep-in-file --no-use"
    )
    config = tmp_path / "other/.config/posthorn/config.toml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert config.read_text().count(system.key) == 1
    assert "example.test" in [row[0] for row in alone.run("domain list --all").rows]
    alone.run("context use file")
    assert alone.run("domain list") and alone.run("domain list --context work")
    listed = {row[0]: row[2] for row in alone.run("context list").rows}
    assert listed == {"file": "yes", "work": "no", "local": "no"}
    config.chmod(0o644)
    assert alone.attempt("domain list").status == 4
    config.chmod(0o600)
    alone.run("context remove work")
    assert alone.attempt("domain list --context work").status == 2
    assert alone.attempt("context use nowhere").status == 2
    assert alone.attempt("context add bad --url ftp://x --key-file -", "k").status == 2


def test_the_doctor_finds_a_sound_system_sound(
    shell: CommandLine, system: System, address: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse battery\n")
    ports = system.ports
    shell.environment = {**shell.environment, "POSTHORN_CA_FILE": str(system.home / "tls/tls.crt")}
    ran = shell.run(
        f"doctor --no-dns --tls localhost:{ports['SUBMISSIONS']} --tls smtp://localhost:{ports['SMTP']}"
        f" --tls pop3://localhost:{ports['POP3']} --tls imap://localhost:{ports['IMAP']}"
        f" --message-to {address} --message-from someone@example.org"
        f" --smtp smtp://localhost:{ports['SMTP']} --pop3 tls://localhost:{ports['POP3S']}"
        f" --imap imap://localhost:{ports['IMAP']} --password-file {password} --json"
    )
    findings = {each["check"]: each["status"] for each in ran.document}
    assert findings[f"a message to {address}"] == "ok"
    assert findings[f"TLS at imap://localhost:{ports['IMAP']}"] == "ok"
    assert [findings[f"TLS at smtp://localhost:{ports['SMTP']}"]] == ["ok"]
    assert (
        findings["API"]
        == findings["API key"]
        == findings["what the API needs"]
        == findings["installation"]
        == "ok"
    )
    assert set(findings.values()) <= {"ok", "warn"}
    # the message is deleted again, also where IMAP alone reads it
    assert system.maildrop(address, "correct horse battery").read() == []
    ran = shell.run(
        f"doctor --no-dns --message-to {address} --message-from someone@example.org"
        f" --smtp smtp://localhost:{ports['SMTP']} --imap tls://localhost:{ports['IMAPS']} --password-file {password} --json"
    )
    (finding,) = [each for each in ran.document if each["check"] == f"a message to {address}"]
    assert (finding["status"], "out by IMAP in" in finding["detail"]) == ("ok", True)
    assert system.maildrop(address, "correct horse battery").read() == []


def test_the_doctor_sends_the_test_texts_of_filters(
    shell: CommandLine, system: System, address: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse battery\n")
    ports = system.ports
    ran = shell.attempt(
        f"doctor --no-dns --filters --message-to {address} --message-from someone@example.org"
        f" --smtp smtp://localhost:{ports['SMTP']} --pop3 pop3://localhost:{ports['POP3']}"
        f" --password-file {password} --wait 60s --json"
    )
    findings = {each["check"]: each for each in ran.document}
    assert findings["a message with GTUBE"]["status"] == "ok", findings
    assert findings["a message with EICAR"]["status"] == "warn"
    assert "ClamAV is not in use" in findings["a message with EICAR"]["detail"]
    # without POSTHORN_CA_FILE the certificate is a stranger's, and the finding says so
    assert "certificate" in findings[f"a message to {address}"]["detail"].lower()


def test_the_state_of_the_defence_is_shown(shell: CommandLine) -> None:
    states = {each["part"]: each["state"] for each in shell.run("defence --json").document}
    assert states.keys() == {"scan", "resolver", "unscanned"}
    assert (states["scan"], states["unscanned"]) == ("up", "0")
    assert shell.run("listings --json").document == []


def test_the_system_is_shown_with_every_process(shell: CommandLine) -> None:
    parts = {"smtp-in", "submission", "delivery", "relay", "pop3", "imap", "scan", "api"}
    deadline = time.monotonic() + BUSY_SECONDS  # the system has just started
    found = shell.attempt("system --json").document
    while not parts <= {each["part"] for each in found["instances"]}:
        assert time.monotonic() < deadline, found["instances"]
        time.sleep(0.5)
        found = shell.attempt("system --json").document
    assert {each["version"] for each in found["instances"]} == {found["version"]}
    assert found["ingest"] is not None
    assert found["dead"]["messages"] == sum(each["messages"] for each in found["dead"]["reasons"])


def test_domains_are_listed_by_the_verdict_on_their_dns(shell: CommandLine, domain: str) -> None:
    shell.attempt(f"domain dns-check {domain}")
    states = {each["name"]: each["dns_state"] for each in shell.run("domain list --json").document}
    assert states[domain] in ("wrong", "unknown")
    found = shell.run(f"domain list --dns {states[domain]} --json").document
    assert domain in [each["name"] for each in found]
    found = shell.run("domain list --dns right --json").document
    assert domain not in [each["name"] for each in found]


def test_the_doctor_says_what_is_wrong(shell: CommandLine, system: System, domain: str) -> None:
    ran = shell.attempt(
        f"doctor --domain {domain} --address 10.0.0.1 --blocklist list.invalid --tls 127.0.0.1:{system.ports['POP3S']} --json"
    )
    assert ran.status == 1
    findings = {each["check"]: each for each in ran.document}
    assert (
        "does not verify" in findings[f"TLS at tls://127.0.0.1:{system.ports['POP3S']}"]["detail"]
    )
    assert findings["10.0.0.1 on list.invalid"]["status"] == "unknown"
    assert any(check.startswith(f"DNS of {domain}: MX") for check in findings)
    assert not [
        check
        for check, each in findings.items()
        if check.startswith("DNS of ") and each["status"] == "fail"
    ]


def test_the_doctor_takes_reserved_domains_for_local(shell: CommandLine, domain: str) -> None:
    findings = {each["check"]: each for each in shell.run("doctor --json").document}
    for name in (domain, "example.test"):
        assert findings[f"DNS of {name}"]["status"] == "ok"
        assert "RFC 6761" in findings[f"DNS of {name}"]["detail"]
    assert "blocklists" not in findings


def test_as_a_program_of_its_own_it_leaves_a_pipe_that_closes(shell: CommandLine) -> None:
    program = [str(Path(sys.executable).with_name("posthorn"))]
    version = subprocess.run(
        [*program, "--version"],
        env=dict(shell.environment),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"posthorn \d+\.\d+\.\d+\n", version.stdout)
    with subprocess.Popen(
        [*program, "account", "list", "--all"],
        env=dict(shell.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(2 * BUSY_SECONDS) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_errors_are_one_line_and_a_list_of_fields(shell: CommandLine, domain: str) -> None:
    ran: Ran = shell.attempt("account create 'no address' --password-file -", "short\n")
    assert ran.status == 1
    first, *fields = ran.err.splitlines()
    assert first.startswith("posthorn: ")
    assert any(line.startswith("  password: ") for line in fields)
    assert shell.attempt("account list --limit none").status == 2
    assert shell.attempt("no-such-command").status == 2


def test_every_command_was_run(used: set[str]) -> None:
    assert leaves() - used == set()
