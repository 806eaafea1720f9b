"""A message in, a message read: through the processes that ``make run`` starts, with the clients
of Python's library."""

from __future__ import annotations

import email.message
import poplib
import smtplib
from collections.abc import Callable

import aiosmtplib
import pytest

from tests.e2e.trace import split_trace
from tests.support.maildrop import Maildrop, RefusedError
from tests.support.system import System, await_that

MESSAGE = b"From: sender@example.org\r\nTo: reader@example.test\r\nSubject: A message\r\n\r\nDear reader,\r\n.\r\nyours\r\n"

type NewAccount = Callable[[], Maildrop]


def make_message(subject: str) -> bytes:
    return MESSAGE.replace(b"A message", subject.encode())


def test_a_message_sent_by_smtplib_is_read_by_poplib(system: System, drop: Maildrop) -> None:
    message = email.message.EmailMessage()
    message["From"] = "sender@example.org"
    message["To"] = drop.address
    message["Subject"] = "By the library"
    message.set_content("First line\n.\n..\nLast line\n")
    with system.smtp() as client:
        client.send_message(message)
    drop.await_mail(1)

    pop = poplib.POP3("127.0.0.1", system.ports["POP3"], timeout=30)
    pop.user(drop.address)
    pop.pass_(drop.password)
    assert pop.stat()[0] == 1
    _, lines, octets = pop.retr(1)
    assert octets == pop.stat()[1] == sum(len(line) + 2 for line in lines)
    assert len(pop.uidl()[1]) == 1
    assert b"Subject: By the library" in lines
    assert lines[lines.index(b"") + 1 :] == [b"First line", b".", b"..", b"Last line"]
    assert pop.top(1, 0)[1] == lines[: lines.index(b"") + 1]
    pop.quit()


async def test_a_message_sent_by_aiosmtplib_arrives_whole(system: System, drop: Maildrop) -> None:
    await aiosmtplib.send(
        MESSAGE,
        sender="a@example.org",
        recipients=[drop.address],
        hostname="localhost",
        port=system.ports["SMTP"],
        tls_context=system.trusting(),  # it takes STARTTLS wherever it is offered
    )
    (stored,) = drop.await_mail(1)
    reverse_path, received, message = split_trace(stored)
    assert message == MESSAGE
    assert reverse_path == "a@example.org"
    assert " with ESMTPS" in received


def test_the_seeded_accounts_read_mail_with_the_passwords_in_the_file(system: System) -> None:
    assert list(system.passwords) == ["alice@example.test", "bob@example.test"]
    for address in system.passwords:
        system.send(make_message(f"to {address}"), address)
        system.maildrop(address).await_mail(1)
        system.maildrop(address).empty()


def test_a_new_account_takes_mail_from_the_moment_it_is_made(
    system: System, new_account: NewAccount
) -> None:
    for _ in range(5):
        system.send(MESSAGE, new_account().address)


def test_a_tag_after_plus_leads_to_the_account(system: System, drop: Maildrop) -> None:
    local, domain = drop.address.split("@")
    system.send(MESSAGE, f"{local}+news@{domain}")
    system.send(MESSAGE, f"{local.upper()}@{domain.upper()}")
    drop.await_mail(2)


def test_an_alias_leads_to_each_of_its_targets_once(
    system: System, new_account: NewAccount
) -> None:
    first, second = new_account(), new_account()
    alias = f"both-{first.address}"
    answer = system.api.post(
        "/v1/aliases", json={"address": alias, "targets": [first.address, second.address]}
    )
    assert answer.status_code == 201, answer.text
    system.send(MESSAGE, alias, first.address)
    first.await_mail(1)
    second.await_mail(1)


def test_a_catch_all_takes_what_no_address_takes(system: System, drop: Maildrop) -> None:
    answer = system.api.post(
        "/v1/domains", json={"name": "everything.test", "catch_all": drop.address}
    )
    assert answer.status_code == 201, answer.text
    system.make_account("someone@everything.test")
    system.send(MESSAGE, "whoever@everything.test")
    drop.await_mail(1)
    system.send(MESSAGE, "someone@everything.test")
    system.maildrop("someone@everything.test", "a password for tests").await_mail(1)
    assert drop.count() == 1


@pytest.mark.parametrize(
    ("recipient", "status"),
    [
        ("nobody-of-that-name@example.test", b"5.1.1"),
        ("somebody@elsewhere.example", b"5.7.1"),
        ("postmaster@[192.0.2.9]", b"5.7.1"),
    ],
)
def test_unknown_and_foreign_recipients_are_refused_for_good(
    system: System, recipient: str, status: bytes
) -> None:
    with system.smtp() as client:
        client.ehlo()
        client.mail("sender@example.org")
        code, text = client.rcpt(recipient)
        assert (code, text[:5]) == (550, status)


def test_a_refused_recipient_does_not_hinder_the_others(system: System, drop: Maildrop) -> None:
    with system.smtp() as client:
        refused = client.sendmail(
            "s@example.org", ["nobody-there@example.test", drop.address], MESSAGE
        )
    assert list(refused) == ["nobody-there@example.test"]
    drop.await_mail(1)


def test_a_full_mailbox_is_a_matter_for_later(system: System, drop: Maildrop) -> None:
    answer = system.api.patch(f"/v1/accounts/{drop.address}", json={"quota_bytes": 300})
    assert answer.status_code == 200, answer.text
    system.send(MESSAGE + b"x" * 300 + b"\r\n", drop.address)
    drop.await_mail(1)

    def refused() -> bool:
        with system.smtp() as client:
            client.ehlo()
            client.mail("sender@example.org")
            code, text = client.rcpt(drop.address)
            assert (code, text[:5]) in ((250, b"2.1.5"), (452, b"4.2.2")), (code, text)
            return code == 452

    await_that("over quota is told at RCPT", refused)
    drop.empty()
    await_that("room again is told at RCPT", lambda: not refused())


def test_a_declared_size_is_refused_at_rcpt_once_the_mailbox_has_come_to_a_lower_step_of_room(
    system: System, drop: Maildrop
) -> None:
    quota, size = 1_000_000, 400_000
    answer = system.api.patch(f"/v1/accounts/{drop.address}", json={"quota_bytes": quota})
    assert answer.status_code == 200, answer.text
    alias = f"alias.{drop.address}"
    answer = system.api.post("/v1/aliases", json={"address": alias, "targets": [drop.address]})
    assert answer.status_code == 201, answer.text
    addresses = (drop.address, drop.address.replace("@", "+tag@"), alias)

    def answers(declared: int) -> set[tuple[int, bytes]]:
        with system.smtp() as client:
            client.ehlo()
            client.mail("sender@example.org", [f"SIZE={declared}"])
            return {(code, text[:5]) for code, text in map(client.rcpt, addresses)}

    assert answers(size) == {(250, b"2.1.5")}
    line = b"x" * 78 + b"\r\n"
    for number in (1, 2):
        system.send(MESSAGE + line * (size // len(line)), drop.address)
        drop.await_mail(number)
    await_that("what cannot fit is told at RCPT", lambda: answers(size) == {(452, b"4.2.2")})
    assert answers(100_000) == {(250, b"2.1.5")}, "what fits is not"
    drop.empty()
    await_that("room again is told at RCPT", lambda: answers(size) == {(250, b"2.1.5")})


def test_one_message_to_many_recipients_is_kept_once_and_read_by_all(
    system: System, new_account: NewAccount
) -> None:
    drops = [new_account() for _ in range(5)]
    system.send(MESSAGE, *(drop.address for drop in drops), drops[0].address)
    (stored,) = {drop.await_mail(1)[0] for drop in drops}
    assert not any(drop.address.encode() in stored for drop in drops)  # nobody learns of the others


def test_many_messages_over_one_session_come_in_order(system: System, drop: Maildrop) -> None:
    sent = [make_message(f"number {number}") for number in range(60)]
    with system.smtp() as client:
        for octets in sent:
            client.sendmail("sender@example.org", [drop.address], octets)
    assert [split_trace(stored)[2] for stored in drop.await_mail(60)] == sent


def test_starttls_protects_the_message_and_says_so(system: System, drop: Maildrop) -> None:
    with smtplib.SMTP(
        "localhost", system.ports["SMTP"], local_hostname="c.example.org", timeout=30
    ) as client:
        client.starttls(context=system.trusting())
        client.sendmail("sender@example.org", [drop.address], MESSAGE)
    (stored,) = drop.await_mail(1)
    assert " with ESMTPS" in split_trace(stored)[1]


def test_stls_and_the_tls_port_serve_the_same_maildrop(system: System, drop: Maildrop) -> None:
    system.send(MESSAGE, drop.address)
    (stored,) = drop.await_mail(1)

    plain = poplib.POP3("localhost", system.ports["POP3"], timeout=30)
    plain.stls(context=system.trusting())
    secure = poplib.POP3_SSL(
        "localhost", system.ports["POP3S"], timeout=30, context=system.trusting()
    )
    for pop in (plain, secure):
        pop.user(drop.address)
        pop.pass_(drop.password)
        assert b"".join(line + b"\r\n" for line in pop.retr(1)[1]) == stored
        pop.quit()


def test_deleted_messages_go_at_quit_and_give_their_room_back(
    system: System, drop: Maildrop
) -> None:
    for number in range(3):
        system.send(make_message(str(number)), drop.address)
    kept = drop.await_mail(3)[1]
    with drop.session() as reader:
        before = reader.listing("UIDL")
        reader.line("DELE 1")
        reader.line("DELE 3")
        assert list(reader.sizes()) == [2]
    with drop.session() as reader:
        assert reader.listing("UIDL") == {1: before[2]}
        assert reader.message(1) == kept
    account = system.account(drop.address)
    assert account["used_bytes"] == len(kept)
    assert account["used_messages"] == 1


def test_a_second_session_is_told_that_the_maildrop_is_in_use(drop: Maildrop) -> None:
    with (
        drop.session(),
        pytest.raises(RefusedError, match=r"^-ERR \[IN-USE\]"),
        drop.session(patience=0),
    ):
        pass
    with drop.session(patience=0):
        pass


def test_a_wrong_password_opens_nothing(system: System, drop: Maildrop) -> None:
    for address, password in ((drop.address, "wrong"), ("nobody@example.test", drop.password)):
        with (
            pytest.raises(RefusedError, match=r"^-ERR \[AUTH\]"),
            system.maildrop(address, password).session(),
        ):
            pass


def test_the_api_lists_gives_and_deletes_messages(system: System, drop: Maildrop) -> None:
    for number in range(3):
        system.send(make_message(f"listed {number}"), drop.address)
    stored = drop.await_mail(3)
    path = f"/v1/accounts/{drop.address}/messages"
    first = system.api.get(path, params={"limit": 2}).json()
    rest = system.api.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    items = first["items"] + rest["items"]
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    raw = {system.api.get(f"{path}/{item['id']}/raw").content for item in items}
    assert raw == set(stored)
    for item in items:
        assert system.api.delete(f"{path}/{item['id']}").status_code == 204
    assert drop.count() == 0
    assert system.account(drop.address)["used_bytes"] == 0


def test_every_log_line_about_a_message_carries_its_id_and_never_its_text(
    system: System, drop: Maildrop
) -> None:
    secret = "the-text-of-the-message-7731"
    system.send(MESSAGE + secret.encode() + b"\r\n", drop.address)
    drop.await_mail(1)
    (item,) = system.api.get(f"/v1/accounts/{drop.address}/messages").json()["items"]
    await_that("smtp-in logs the id", lambda: str(item["id"]) in system.log("smtp-in"))
    await_that("delivery logs the id", lambda: str(item["id"]) in system.log("delivery"))
    for service in ("smtp-in", "delivery", "pop3", "api"):
        log = system.log(service)
        assert secret not in log
        assert drop.password not in log
        assert system.key not in log
