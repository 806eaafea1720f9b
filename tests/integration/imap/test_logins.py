"""Logins: mechanisms, refusals and their codes, app passwords, what a first login prepares."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import APP_PASSWORD_PREFIX
from tests.support.imap import ALICE, PASSWORD, Dialogue, ImapEnv


def plain(name: str, password: str, acts_as: str = "") -> str:
    return b64encode(f"{acts_as}\0{name}\0{password}".encode()).decode()


async def test_the_ways_to_log_in(imap: ImapEnv) -> None:
    """SASL-IR, with and without initial response; literals in LOGIN (jstedfast/MailKit#1130); a
    cancelled exchange and a malformed response may be followed by another try."""
    await imap.account()
    client = imap.dialogue()
    assert await client.ok("AUTHENTICATE PLAIN " + plain(ALICE, PASSWORD)) == []
    assert client.session.account is not None

    client = imap.dialogue()
    assert await client.feed(b"a AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
    assert (await client.feed(b"*\r\n")).startswith(b"a BAD ")
    assert await client.feed(b"b AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
    assert (await client.feed(b"bm90aGluZw==\r\n")).startswith(b"b BAD ")
    assert await client.feed(b"c AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
    response = plain(ALICE, PASSWORD, acts_as=ALICE.upper()).encode()
    assert (await client.feed(response + b"\r\n")).startswith(b"c OK [CAPABILITY ")

    client = imap.dialogue()
    assert await client.feed(b"a AUTHENTICATE LOGIN\r\n") == b"+ VXNlcm5hbWU6\r\n"
    assert await client.feed(b64encode(ALICE.encode()) + b"\r\n") == b"+ UGFzc3dvcmQ6\r\n"
    assert (await client.feed(b64encode(PASSWORD.encode()) + b"\r\n")).startswith(b"a OK ")

    client = imap.dialogue()
    assert await client.feed(b"a LOGIN {18}\r\n") == b"+ OK\r\n"
    reply = await client.feed(b"%s {13+}\r\n%s\r\n" % (ALICE.encode(), PASSWORD.encode()))
    assert reply.startswith(b"a OK ")
    assert (await client.no("LOGIN a b")).startswith(b"BAD ")


async def test_wrong_passwords_are_told_from_faults_and_end_the_connection(
    imap: ImapEnv,
) -> None:
    """MailCore/mailcore2#1642: phones ask for a new password at anything but [UNAVAILABLE]."""
    await imap.account()
    client = imap.dialogue()
    wrong = b"NO [AUTHENTICATIONFAILED] name or password is wrong"
    assert await client.no(f"LOGIN {ALICE} wrong") == wrong
    assert await client.no(f'LOGIN nobody@example.test "{PASSWORD}"') == wrong
    other = plain(ALICE, PASSWORD, acts_as="bob@example.test")
    replies = await client.feed(b"a AUTHENTICATE PLAIN %s\r\n" % other.encode())
    assert replies == b"a %s\r\n* BYE too many failed logins\r\n" % wrong
    assert client.out.is_closed

    client = imap.dialogue()
    client.out.has_place = False
    assert (await client.no(f'LOGIN {ALICE} "{PASSWORD}"')).startswith(b"NO [LIMIT] ")
    client.out.has_place = True
    await client.ok(f'LOGIN {ALICE} "{PASSWORD}"')

    client = imap.dialogue()

    async def broken(*_: object) -> None:
        raise Unavailable("postgres", "secret detail")

    kept = imap.context.logins._mail_login._find
    imap.context.logins._mail_login._find = broken
    reply = await client.no(f'LOGIN {ALICE} "{PASSWORD}"')
    imap.context.logins._mail_login._find = kept
    assert reply.startswith(b"NO [UNAVAILABLE] ")
    assert b"secret" not in reply
    await client.ok(f'LOGIN {ALICE} "{PASSWORD}"')


async def test_suspension_networks_and_failures_before(imap: ImapEnv) -> None:
    await imap.account()
    login = f'LOGIN {ALICE} "{PASSWORD}"'
    await imap.seed.rows("UPDATE accounts SET allowed_networks = '{192.0.2.0/24}'")
    await imap.dialogue().ok(login)
    await imap.seed.rows("UPDATE accounts SET allowed_networks = '{198.51.100.0/24}'")
    assert (await imap.dialogue().no(login)).startswith(b"NO [AUTHORIZATIONFAILED] ")
    await imap.seed.rows("UPDATE accounts SET allowed_networks = NULL, state = 'suspended'")
    assert (await imap.dialogue().no(login)).startswith(b"NO [CONTACTADMIN] ")
    wrong = await imap.dialogue().no(f"LOGIN {ALICE} wrong")
    assert wrong.startswith(b"NO [AUTHENTICATIONFAILED] "), "nobody else learns of it"
    await imap.seed.rows("UPDATE accounts SET state = 'active'")
    client: Dialogue = imap.dialogue(login_attempts=1000)
    for _ in range(100):
        reply = await client.no(f"LOGIN {ALICE} wrong")
        if b"UNAVAILABLE" in reply:
            break
    assert reply.startswith(b"NO [UNAVAILABLE] too many failed logins")


async def test_app_passwords_need_the_scope_imap(imap: ImapEnv) -> None:
    account = await imap.account()
    password = APP_PASSWORD_PREFIX + "x" * 43
    digest = hashlib.sha256(password.encode()).digest()
    await imap.seed.rows(
        "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes)"
        " VALUES (gen_random_uuid(), $1, 'x', $2, '{pop3}')",
        *(account, digest),
    )
    await imap.dialogue().no(f"LOGIN {ALICE} {password}")
    await imap.seed.rows("UPDATE app_passwords SET scopes = '{imap}'")
    client = imap.dialogue()
    await client.ok(f"LOGIN {ALICE} {password}")
    assert client.session.proof is not None
    assert client.session.proof.scope == "imap"


async def test_a_first_login_prepares_and_capabilities_can_be_hidden(imap: ImapEnv) -> None:
    """imap.md §1: the cure when a client misuses a capability."""
    await imap.account()
    client = imap.dialogue(hidden=frozenset({"NAMESPACE"}))
    before = (await client.ok("CAPABILITY"))[0]
    assert b"QRESYNC" in before
    assert b"NAMESPACE" not in before
    await imap.seed.rows("UPDATE accounts SET imap_hidden = '{qresync}'")
    after = (await client.ask(f'LOGIN {ALICE} "{PASSWORD}"'))[-1]
    assert b"QRESYNC" not in after
    assert b"CONDSTORE" in after
    assert await client.ok("ENABLE QRESYNC CONDSTORE") == [b"* ENABLED CONDSTORE"]
    assert b'* LIST (\\HasNoChildren \\Subscribed \\Drafts) "/" Drafts' in await client.ok(
        'LIST (SUBSCRIBED) "" "*"'
    )


async def test_bad_commands_end_the_connection(imap: ImapEnv) -> None:
    client = imap.dialogue()
    replies = b""
    for number in range(10):
        assert not client.out.is_closed, number
        replies = await client.feed(b"x NONSENSE\r\n")
    assert b"* BYE too many bad commands" in replies
    assert client.out.is_closed
