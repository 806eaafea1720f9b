"""What clients send when they open an account, as the reference of clients has it (up to the first
FETCH)."""

from __future__ import annotations

from base64 import b64encode

from tests.support.imap import ALICE, PASSWORD, SIMPLE, ImapEnv


async def test_thunderbird(imap: ImapEnv) -> None:
    await imap.account(quota=10 * 1024 * 1024)
    await imap.place(SIMPLE)
    client = imap.dialogue()
    response = b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
    await client.transcript(
        r"""
        C: 1 capability
        S: \* CAPABILITY IMAP4rev1 .*
        S: 1 OK .+
        C: 2 authenticate PLAIN
        S: \+\s
        """
    )
    assert (await client.feed(response.encode() + b"\r\n")).startswith(b"2 OK [CAPABILITY ")
    await client.transcript(
        r"""
        C: 3 ID ("name" "Thunderbird" "version" "140.0")
        S: \* ID \("name" "Posthorn"\)
        S: 3 OK .+
        C: 4 namespace
        S: \* NAMESPACE \(\("" "/"\)\) NIL NIL
        S: 4 OK .+
        C: 5 list (subscribed) "" "*" return (special-use)
        S: \* LIST \(\\HasNoChildren \\Subscribed\) "/" INBOX
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Archive\) "/" Archive
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Drafts\) "/" Drafts
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Junk\) "/" Junk
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Sent\) "/" Sent
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Trash\) "/" Trash
        S: 5 OK .+
        C: 6 select "INBOX" (CONDSTORE)
        S: \* 1 EXISTS
        S: \* 0 RECENT
        S: \* OK \[UNSEEN 1\] .+
        S: \* FLAGS \(.*\$Junk \$NotJunk.*\)
        S: \* OK \[PERMANENTFLAGS \(.*\$Junk \$NotJunk.*\\\*\)\] .+
        S: \* OK \[UIDVALIDITY [0-9]+\] .+
        S: \* OK \[UIDNEXT 2\] .+
        S: \* OK \[HIGHESTMODSEQ [1-9][0-9]*\] .+
        S: \* OK \[MAILBOXID \(.+\)\] .+
        S: 6 OK \[READ-WRITE\] .+
        C: 7 getquotaroot "INBOX"
        S: \* QUOTAROOT INBOX ""
        S: \* QUOTA "" \(STORAGE 1 10240\)
        S: 7 OK .+
        C: 8 IDLE
        S: \+ .+
        """
    )


async def test_apple_mail(imap: ImapEnv) -> None:
    """AUTHENTICATE PLAIN with initial response; the next command right behind DONE."""
    await imap.account()
    client = imap.dialogue()
    response = b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
    await client.ok(f"AUTHENTICATE PLAIN {response}")
    await client.transcript(
        r"""
        C: 2.0 ENABLE CONDSTORE
        S: \* ENABLED CONDSTORE
        S: 2.0 OK .+
        C: 3.0 LIST "" ""
        S: \* LIST \(\\Noselect\) "/" ""
        S: 3.0 OK .+
        C: 4.0 LIST "" "*" RETURN (SPECIAL-USE STATUS (UNSEEN))
        S: \* LIST \(\\HasNoChildren\) "/" INBOX
        S: \* STATUS INBOX \(UNSEEN 0\)
        S: \* LIST \(\\HasNoChildren \\Archive\) "/" Archive
        S: \* STATUS Archive \(UNSEEN 0\)
        S: \* LIST \(\\HasNoChildren \\Drafts\) "/" Drafts
        S: \* STATUS Drafts \(UNSEEN 0\)
        S: \* LIST \(\\HasNoChildren \\Junk\) "/" Junk
        S: \* STATUS Junk \(UNSEEN 0\)
        S: \* LIST \(\\HasNoChildren \\Sent\) "/" Sent
        S: \* STATUS Sent \(UNSEEN 0\)
        S: \* LIST \(\\HasNoChildren \\Trash\) "/" Trash
        S: \* STATUS Trash \(UNSEEN 0\)
        S: 4.0 OK .+
        """
    )
    await client.ok("SELECT INBOX")
    assert (await client.feed(b"6.0 IDLE\r\n")).startswith(b"+ ")
    replies = await client.feed(b"DONE\r\n7.0 NOOP\r\n")
    assert [line[:7] for line in replies.splitlines()] == [b"6.0 OK ", b"7.0 OK "]


async def test_outlook_and_the_older_ones(imap: ImapEnv) -> None:
    """Outlook asks for capabilities again and lists by LSUB; K-9 examines; Microsoft's
    synchroniser may leave IDLE without DONE."""
    await imap.account()
    client = imap.dialogue()
    await client.transcript(
        rf"""
        C: a1 LOGIN {ALICE} "{PASSWORD}"
        S: a1 OK \[CAPABILITY .+\] .+
        C: a2 CAPABILITY
        S: \* CAPABILITY .+
        S: a2 OK .+
        C: a3 LSUB "" "*"
        S: \* LSUB \(\\HasNoChildren\) "/" INBOX
        S: \* LSUB \(\\HasNoChildren \\Archive\) "/" Archive
        S: \* LSUB \(\\HasNoChildren \\Drafts\) "/" Drafts
        S: \* LSUB \(\\HasNoChildren \\Junk\) "/" Junk
        S: \* LSUB \(\\HasNoChildren \\Sent\) "/" Sent
        S: \* LSUB \(\\HasNoChildren \\Trash\) "/" Trash
        S: a3 OK .+
        C: a4 STATUS "INBOX" (UNSEEN MESSAGES UIDNEXT UIDVALIDITY)
        S: \* STATUS INBOX \(UNSEEN 0 MESSAGES 0 UIDNEXT 1 UIDVALIDITY [0-9]+\)
        S: a4 OK .+
        C: a5 IDLE
        S: \+ .+
        C: a6 NOOP
        S: a5 BAD .+
        C: a7 LOGOUT
        S: \* BYE .+
        S: a7 OK .+
        """
    )
