"""What aliases, rewritten reverse-paths and reports may not be used for, on the running system
and against a server elsewhere."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.maildrop import Maildrop
from tests.support.sink import Sink
from tests.support.system import System, await_that

_numbers = itertools.count(1)


class Forwarder(Sink):
    """Sends what it gets back to where it is told, as a forwarding service elsewhere does."""

    back = ""
    system: System | None = None

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keep the message, and send it back for each recipient that forwards."""
        answer = await super().handle_DATA(server, session, envelope)
        if self.back:
            copies = sum(name.startswith("turn-") for name in envelope.rcpt_tos)
            arguments = (bytes(envelope.original_content), envelope.mail_from or "", copies)
            threading.Thread(target=self._return, args=arguments, daemon=True).start()
        return answer

    def _return(self, content: bytes, sender: str, copies: int) -> None:
        assert self.system is not None
        for _ in range(copies):
            with self.system.smtp() as session:
                session.ehlo()
                session.mail(sender)
                if session.rcpt(self.back)[0] == 250:
                    session.data(b"Received: from a by forwarder.test; today\r\n" + content)


@pytest.fixture(scope="module")
def elsewhere(system: System) -> Iterator[Forwarder]:
    """A server elsewhere, and the route of elsewhere.test to it."""
    server = Forwarder({"nobody": "550 5.1.1 no such user here"})
    server.system = system
    server.start()
    route = {"domain": "elsewhere.test", "host": "127.0.0.1", "port": server.port, "tls": "none"}
    answer = system.api.post("/v1/routes", json=route)
    assert answer.status_code == 201, answer.text
    yield server
    server.stop()
    assert system.api.delete("/v1/routes/elsewhere.test").status_code == 204


@pytest.fixture
def domain(system: System) -> str:
    """A domain of a tenant of its own, both of one name but for ``.test``."""
    tenant = f"forwards-{next(_numbers)}"
    assert (
        system.api.post("/v1/tenants", json={"name": tenant, "verify_domains": False}).status_code
        == 201
    )
    answer = system.api.post("/v1/domains", json={"name": f"{tenant}.test", "tenant": tenant})
    assert answer.status_code == 201, answer.text
    return f"{tenant}.test"


def alias(system: System, address: str, *targets: str) -> None:
    answer = system.api.post("/v1/aliases", json={"address": address, "targets": list(targets)})
    assert answer.status_code == 201, answer.text


def change(system: System, domain: str, **values: object) -> None:
    answer = system.api.patch(f"/v1/tenants/{domain.removesuffix('.test')}", json=values)
    assert answer.status_code == 200, answer.text


def queue(system: System, **filters: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = system.api.get(
        "/v1/queue", params={"limit": "100", **filters}
    ).json()["items"]
    return items


MESSAGE = b'From: "Your Bank" <ceo@bank.example>\r\nSubject: your account\r\n\r\nplease confirm\r\n'


def test_an_alias_is_no_relay_without_limits_and_stops_with_its_tenant(
    system: System, elsewhere: Forwarder, domain: str
) -> None:
    tenant = domain.removesuffix(".test")
    change(system, domain, max_messages_per_hour=1, max_recipients_per_hour=2)
    address = f"all@{domain}"
    alias(system, address, *(f"{tenant}-{number}@elsewhere.test" for number in range(20)))

    def served() -> int:
        return sum(
            name.startswith(f"{tenant}-")
            for one in list(elsewhere.taken)
            for name in one.recipients
        )

    system.send(MESSAGE, address, sender="ceo@bank.example")
    await_that("what the limit lets go is forwarded", lambda: served() == 2)
    late = await_that(
        "the rest waits",
        lambda: [
            item for item in queue(system, state="deferred") if item["forwarded_for"] == address
        ],
    )
    assert len(late) == 18
    assert {(item["last_status"], item["attempts"]) for item in late} == {("4.7.1", 0)}
    assert all(item["next_attempt_at"] > item["created_at"] for item in late)

    def refused() -> bool:
        with system.smtp() as session:
            session.ehlo()
            session.mail("ceo@bank.example")
            return session.rcpt(address)[0] == 450

    await_that("the alias takes no more for now", refused)
    change(system, domain, state="suspended", max_recipients_per_hour=None)
    for item in late:
        assert system.api.post(f"/v1/queue/{item['id']}/retry").status_code == 200
    await_that(
        "held",
        lambda: (
            len([item for item in queue(system, state="held") if item["forwarded_for"] == address])
            == 18
        ),
    )
    await_that("suspended", refused)
    assert served() == 2
    change(system, domain, state="active")
    await_that("goes on", lambda: served() == 20, 30)


def test_a_loop_through_an_alias_ends_at_its_first_turn(
    system: System, elsewhere: Forwarder, domain: str
) -> None:
    address, names = f"loop@{domain}", ("turn-one@elsewhere.test", "turn-two@elsewhere.test")
    alias(system, address, *names)
    elsewhere.back = address
    try:
        system.send(MESSAGE, address, sender="victim@elsewhere.test")
        returned = await_that(
            "told of the loop", lambda: elsewhere.taken_by("victim@elsewhere.test")
        )
        await_that("both copies", lambda: all(elsewhere.taken_by(name) for name in names))
        time.sleep(3)
    finally:
        elsewhere.back = ""
    assert sum(len(elsewhere.taken_by(name)) for name in names) == 2
    assert len(elsewhere.taken_by("victim@elsewhere.test")) <= 2
    assert b"5.4.6" in returned[0].content
    copy = elsewhere.taken_by(names[0])[0].content
    assert copy.startswith(b"Delivered-To: %s\r\nX-Posthorn-Passed: " % address.encode())


def test_a_rewritten_reverse_path_is_no_anonymous_relay(
    system: System, elsewhere: Forwarder, domain: str
) -> None:
    alias(system, f"out@{domain}", "mine@elsewhere.test")
    system.send(MESSAGE, f"out@{domain}", sender="Prey@elsewhere.test")
    (copy,) = await_that("forwarded", lambda: elsewhere.taken_by("mine@elsewhere.test"))
    automatic = b"Auto-Submitted: auto-generated\r\n" + MESSAGE
    with system.smtp() as session:
        session.ehlo()
        for content, code in ((MESSAGE, 550), *((automatic, 250) for _ in range(20))):
            session.mail("")
            assert session.rcpt(copy.reverse_path)[0] == 250
            assert session.data(content)[0] == code
    await_that("few come through", lambda: len(elsewhere.taken_by("Prey@elsewhere.test")) == 5)
    late = await_that(
        "the rest waits",
        lambda: len(queue(system, recipient="Prey@elsewhere.test", state="deferred")) == 15,
    )
    assert late and len(elsewhere.taken_by("Prey@elsewhere.test")) == 5


VERP = "bounces+0102018f3c5a7d11-9b1e2c44-77aa-4c0e-8d1f-3c5a7d11AbC"


def test_a_bounce_of_a_forward_comes_back_to_a_long_sender_once(
    system: System, elsewhere: Forwarder, domain: str
) -> None:
    sender = f"{VERP}@elsewhere.test"
    alias(system, f"list@{domain}", "friend-of-long@elsewhere.test")
    for _ in range(2):
        system.send(MESSAGE, f"list@{domain}", sender=sender)
    friend = "friend-of-long@elsewhere.test"
    await_that("both are forwarded", lambda: len(elsewhere.taken_by(friend)) == 2)
    one, other = elsewhere.taken_by(friend)
    assert one.reverse_path != other.reverse_path and one.reverse_path.endswith(f"@{domain}")
    report = (
        b"Content-Type: multipart/report; boundary=x\r\nSubject: bounce\r\n\r\nno such friend\r\n"
    )
    with system.smtp() as session:
        session.ehlo()
        session.mail("")
        assert session.rcpt(one.reverse_path.lower())[0] == 250
        assert session.data(report)[0] == 250
    (returned,) = await_that("returned", lambda: elsewhere.taken_by(sender))
    assert returned.reverse_path in ("", "<>")
    await_that("nothing waits", lambda: not queue(system, recipient=sender, state="queued"))
    assert len(elsewhere.taken_by(sender)) == 1


def test_strangers_have_nothing_reported_to_whom_they_name(
    system: System, elsewhere: Forwarder, domain: str, new_account: Callable[[], Maildrop]
) -> None:
    alice, sender = new_account(), "forged@elsewhere.test"
    alias(system, f"dead@{domain}", "nobody@elsewhere.test")
    with system.smtp() as session:
        session.ehlo()
        assert not session.has_extn("dsn")
        for _ in range(21):
            session.mail(sender, ["RET=FULL"])
            assert session.rcpt(alice.address, ["NOTIFY=SUCCESS,FAILURE"])[0] == 250
            assert session.data(MESSAGE)[0] == 250
    assert len(alice.await_mail(21, 30)) == 21
    body = b"this text goes to nobody"
    for _ in range(3):
        with system.smtp() as session:
            session.ehlo()
            session.mail(sender, ["RET=FULL"])
            assert session.rcpt(f"dead@{domain}")[0] == 250
            assert session.data(MESSAGE + body + b"\r\n")[0] == 250
        await_that(
            "ended",
            lambda: (
                not any(
                    item["forwarded_for"] == f"dead@{domain}"
                    for item in queue(system, state="queued")
                )
            ),
        )
        await_that("told once", lambda: elsewhere.taken_by(sender))
    time.sleep(2)
    (notice,) = elsewhere.taken_by(sender)  # of the first; from then on the target is suppressed
    assert b"5.1.1" in notice.content and body not in notice.content
    ended = [
        item for item in queue(system, state="bounced") if item["forwarded_for"] == f"dead@{domain}"
    ]
    assert sorted(item["last_status"] for item in ended) == ["5.1.1", "5.7.1", "5.7.1"]
