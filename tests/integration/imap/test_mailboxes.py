"""LIST, LSUB, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE, quota: dialogues, named after the source of
the rule or the trap."""

from __future__ import annotations

from tests.support.imap import ALICE, SIMPLE, ImapEnv


async def test_rfc9051_list_shows_missing_parents_children_and_the_delimiter(
    imap: ImapEnv,
) -> None:
    """cyrusimap/cyrus-imapd#812: ``%`` shows \\NonExistent parents; #1514: special uses unasked;
    iOS wants the root from ``LIST "" ""``."""
    client = await imap.client()
    account = imap.accounts[ALICE]
    # a mailbox whose parent is none, as the API makes them
    await imap.seed.rows(
        "INSERT INTO mailboxes (account_id, mailbox_id, name, uidvalidity) VALUES ($1, 90, 'a/b', 9)",
        account,
    )
    await client.transcript(
        r"""
        C: a1 LIST "" ""
        S: \* LIST \(\\Noselect\) "/" ""
        S: a1 OK .+
        C: a2 LIST "" "a%"
        S: \* LIST \(\\NonExistent \\Noselect \\HasChildren\) "/" a
        S: a2 OK .+
        C: a3 LIST "a/" "%"
        S: \* LIST \(\\HasNoChildren\) "/" a/b
        S: a3 OK .+
        C: a4 LIST "" inBOX
        S: \* LIST \(\\HasNoChildren\) "/" INBOX
        S: a4 OK .+
        C: a5 LIST (SPECIAL-USE) "" ("%" "Se*") RETURN (SUBSCRIBED CHILDREN)
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Archive\) "/" Archive
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Drafts\) "/" Drafts
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Junk\) "/" Junk
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Sent\) "/" Sent
        S: \* LIST \(\\HasNoChildren \\Subscribed \\Trash\) "/" Trash
        S: a5 OK .+
        C: a6 LIST "" "%*%*%*%*%*%*%*%*%*%*%*%*"
        S: a6 NO \[LIMIT\] .+
        """
    )


async def test_rfc5258_subscriptions_by_name_recursivematch_and_lsub(imap: ImapEnv) -> None:
    client = await imap.client()
    for name in ("INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"):
        await client.ok(f"UNSUBSCRIBE {name}")
    await client.transcript(
        r"""
        C: a1 CREATE Work/Deep/Down
        S: a1 OK \[MAILBOXID \(F[0-9]+-[0-9]+\)\] .+
        C: a2 SUBSCRIBE Work/Deep
        S: a2 OK .+
        C: a3 SUBSCRIBE Gone
        S: a3 OK .+
        C: b1 LIST (SUBSCRIBED) "" "*"
        S: \* LIST \(\\NonExistent \\Noselect \\HasNoChildren \\Subscribed\) "/" Gone
        S: \* LIST \(\\HasChildren \\Subscribed\) "/" Work/Deep
        S: b1 OK .+
        C: b2 LIST (SUBSCRIBED) "" "%"
        S: \* LIST \(\\NonExistent \\Noselect \\HasNoChildren \\Subscribed\) "/" Gone
        S: b2 OK .+
        C: b3 LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"
        S: \* LIST \(\\NonExistent \\Noselect \\HasNoChildren \\Subscribed\) "/" Gone
        S: \* LIST \(\\HasChildren\) "/" Work \("CHILDINFO" \("SUBSCRIBED"\)\)
        S: b3 OK .+
        C: b4 LSUB "" "%"
        S: \* LSUB \(.*\) "/" Gone
        S: \* LSUB \(\\Noselect\) "/" Work
        S: b4 OK .+
        C: b5 LSUB "" "*"
        S: \* LSUB \(.*\) "/" Gone
        S: \* LSUB \(\\HasChildren\) "/" Work/Deep
        S: b5 OK .+
        C: c1 DELETE Work/Deep
        S: c1 OK .+
        C: c2 LSUB "" "W*"
        S: \* LSUB \(.*\) "/" Work/Deep
        S: c2 OK .+
        """
    )


async def test_stalwart_1129_status_follows_its_list_line_and_has_every_item(
    imap: ImapEnv,
) -> None:
    client = await imap.client()
    await imap.place(SIMPLE, SIMPLE, flags=["\\Deleted"])
    await imap.place(SIMPLE, flags=["\\Seen"])
    size = len(SIMPLE)
    await client.transcript(
        rf"""
        C: a1 LIST "" (INBOX Sent) RETURN (STATUS (MESSAGES UNSEEN))
        S: \* LIST .* "/" INBOX
        S: \* STATUS INBOX \(MESSAGES 3 UNSEEN 2\)
        S: \* LIST .* "/" Sent
        S: \* STATUS Sent \(MESSAGES 0 UNSEEN 0\)
        S: a1 OK .+
        C: a2 STATUS inbox (MESSAGES RECENT UIDNEXT UNSEEN DELETED SIZE DELETED-STORAGE)
        S: \* STATUS INBOX \(MESSAGES 3 RECENT 0 UIDNEXT 4 UNSEEN 2 DELETED 2 SIZE {3 * size} DELETED-STORAGE {2 * size}\)
        S: a2 OK .+
        C: a3 STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ MAILBOXID APPENDLIMIT)
        S: \* STATUS INBOX \(UIDVALIDITY [0-9]+ HIGHESTMODSEQ [1-9][0-9]* MAILBOXID \(F[0-9]+-1\) APPENDLIMIT 52428800\)
        S: a3 OK .+
        C: a4 STATUS Nothing (MESSAGES)
        S: a4 NO \[NONEXISTENT\] .+
        """
    )
    assert "CONDSTORE" in client.machine.enabled, "RFC 7162 §3.1: HIGHESTMODSEQ enables it"


async def test_names_as_created_are_selectable_by_the_same_octets(imap: ImapEnv) -> None:
    """stalwartlabs/stalwart#1697, #2564 (surrogate pairs), ``&-``; RFC 9051 §6.3.4: a delimiter at
    the end; RFC 6154 §3: USE."""
    client = await imap.client()
    await client.transcript(
        r"""
        C: a1 CREATE "Entw&APw-rfe &- &2D3eAA-/"
        S: a1 OK .+
        C: a2 STATUS "Entw&APw-rfe &- &2D3eAA-" (MESSAGES)
        S: \* STATUS "Entw&APw-rfe &- &2D3eAA-" \(MESSAGES 0\)
        S: a2 OK .+
        C: a3 CREATE "bad &AGE- name"
        S: a3 NO .+
        C: a4 CREATE inbox
        S: a4 NO \[ALREADYEXISTS\] .+
        C: a5 CREATE a//b
        S: a5 NO \[CANNOT\] .+
        C: a6 CREATE "a%b"
        S: a6 NO \[CANNOT\] .+
        C: a7 CREATE Flags (USE (\Flagged))
        S: a7 NO \[USEATTR\] .+
        C: a8 CREATE Mine (USE (\Sent))
        S: a8 NO \[USEATTR\] .+
        C: b1 DELETE INBOX
        S: b1 NO \[CANNOT\] .+
        C: b2 DELETE Never
        S: b2 NO \[NONEXISTENT\] .+
        C: b3 RENAME Never Ever
        S: b3 NO \[NONEXISTENT\] .+
        C: b4 RENAME Sent Trash
        S: b4 NO \[ALREADYEXISTS\] .+
        C: c1 ENABLE UTF8=ACCEPT
        S: \* ENABLED UTF8=ACCEPT
        S: c1 OK .+
        C: c2 LIST "" "E*"
        S: \* LIST .* "/" "Entwürfe & 😀"
        S: c2 OK .+
        """
    )


async def test_a_mailbox_deleted_elsewhere_ends_the_connections_that_have_it_selected(
    imap: ImapEnv,
) -> None:
    """Never another mailbox in its place; who deletes it goes on."""
    owner, waits, idles = [await imap.client() for _ in range(3)]
    await owner.ok("CREATE Doomed")
    for client in (owner, waits, idles):
        await client.ok("SELECT Doomed")
    await idles.feed(b"i IDLE\r\n")
    assert (await owner.ok("DELETE Doomed"))[0].startswith(b"* OK [CLOSED]")
    await owner.ok("CREATE Doomed")
    await idles.session.tell_now()  # unless the hint is just being followed
    assert (await idles.told()).startswith(b"* BYE ")
    assert idles.out.is_closed
    assert b"* BYE " in await waits.feed(b"n NOOP\r\n")
    assert waits.out.is_closed
    assert (await owner.no("CLOSE")).startswith(b"BAD ")


async def test_rename_of_inbox_moves_its_messages(imap: ImapEnv) -> None:
    """RFC 9051 §6.3.6; the connection with INBOX selected is told that they are gone."""
    client, other = await imap.client("INBOX"), await imap.client("INBOX")
    await imap.place(SIMPLE, SIMPLE)
    assert b"* 2 EXISTS" in await client.ok("NOOP")
    await other.ok("RENAME INBOX Old")
    assert await client.ok("NOOP") == [b"* 2 EXPUNGE", b"* 1 EXPUNGE"]
    assert (await client.ok("STATUS Old (MESSAGES)"))[0] == b"* STATUS Old (MESSAGES 2)"


async def test_rfc9208_quota(imap: ImapEnv) -> None:
    await imap.account(quota=1024 * 100)
    client = await imap.client("INBOX")
    await imap.place(SIMPLE)
    await client.transcript(
        r"""
        C: a1 GETQUOTAROOT inbox
        S: \* QUOTAROOT INBOX ""
        S: \* QUOTA "" \(STORAGE 1 100\)
        S: a1 OK .+
        C: a2 GETQUOTA ""
        S: \* QUOTA "" \(STORAGE 1 100\)
        S: a2 OK .+
        C: a3 GETQUOTA other
        S: a3 NO \[NONEXISTENT\] .+
        """
    )
    free = await imap.client(address="bob@example.test")
    assert await free.ok('GETQUOTA ""') == [b'* QUOTA "" ()']
