"""The port Folders on PostgreSQL: names, ids that never come again, subtrees, subscriptions."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn.adapters.postgres.imap import folder_changes, moving
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.ports import folders as ports
from posthorn.ports.access import Ending, FamiliarNetwork, Proof, digest_of
from posthorn.ports.errors import Unavailable
from posthorn.ports.folders import FolderError, ImapAccount, Quota
from posthorn.ports.mailbox_view import DELETED, SEEN, MailboxGone
from tests.support.imap_store import ImapStore


async def _names(imap: ImapStore, account: int) -> set[str]:
    return {folder.name for folder in (await imap.folders.list(account)).folders}


async def _refused(code: str, change: object) -> None:
    with pytest.raises(FolderError) as refusal:
        await change  # type: ignore[misc]
    assert refusal.value.code == code


class TestLogin:
    async def test_it_returns_what_a_session_needs_of_an_account(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.folders.probe()
        known = await imap.folders.login("ada@example.test", b"home")
        assert known is not None
        assert known == ImapAccount(
            ada, "ada@example.test", "hash", active=True, tenant=DEFAULT_TENANT, prepared=known.prepared
        )  # fmt: skip
        await imap.folders.remember([FamiliarNetwork(ada, b"home")])
        await imap.seed.rows("UPDATE domains SET allowed_networks = '{192.0.2.0/24}'")
        await imap.seed.rows(
            "UPDATE accounts SET imap_hidden = '{IDLE}', imap_prepared = false, state = 'suspended'"
        )
        known = await imap.folders.login("ada@example.test", b"home")
        assert known is not None
        assert known.network_age == pytest.approx(0, abs=30)
        assert known.networks == ("192.0.2.0/24",)
        assert (known.hidden, known.prepared, known.active) == (("IDLE",), False, False)
        for stranger in ("eve@example.test", "nul\0@x", "\ud800"):
            assert await imap.folders.login(stranger) is None

    async def test_connections_end_with_what_they_logged_in_with(self, imap: ImapStore) -> None:
        ada, bob = await imap.account(), await imap.account("bob@example.test")
        own, gone = Proof(ada, digest_of("hash")), Proof(4711, digest_of("hash"))
        asked = {1: own, 2: Proof(bob, digest_of("hash")), 3: gone, 4: own}
        assert await imap.folders.ended({}) == {}
        assert await imap.folders.ended(asked) == {3: Ending.CLOSED}
        await imap.seed.rows("UPDATE accounts SET password_hash = 'new' WHERE id = $1", ada)
        changed = Ending.CHANGED
        assert await imap.folders.ended(asked) == {1: changed, 3: Ending.CLOSED, 4: changed}

    async def test_the_standard_mailboxes_are_completed_once(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.seed.rows("DELETE FROM mailboxes WHERE mailbox_id > 4")
        await imap.seed.rows("DELETE FROM mailbox_subscriptions")
        await imap.seed.rows("UPDATE accounts SET imap_prepared = false")
        await imap.folders.create(ada, "Drafts")
        await imap.folders.prepare(ada)
        listed = await imap.folders.list(ada)
        roles = {folder.name: folder.role for folder in listed.folders}
        assert roles == {
            "INBOX": "inbox", "Junk": "junk", "Sent": "sent", "Trash": "trash", "Drafts": "drafts", "Archive": "archive",
        }  # fmt: skip
        assert listed.subscribed == set(roles)
        assert [folder.name for folder in listed.folders] == sorted(roles)
        await imap.folders.unsubscribe(ada, "Drafts")
        await imap.folders.unsubscribe(ada, "Drafts")
        await imap.folders.prepare(ada)
        assert "Drafts" not in (await imap.folders.list(ada)).subscribed

    async def test_names_get_their_normal_form(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.folders.prepare(ada)
        before = await _names(imap, ada)
        stored = {"x": "inbox/x", "y": "A\u0308", "z": "e\u0301", "w": "\u00e9", "v": "bell\x07"}
        for name in stored:
            await imap.folders.create(ada, name)
            await imap.folders.subscribe(ada, stored[name])
        for name, old in stored.items():
            await imap.seed.rows("UPDATE mailboxes SET name = $2 WHERE name = $1", name, old)
        await imap.seed.rows("UPDATE accounts SET imap_prepared = false")
        await imap.folders.prepare(ada)
        listed = await imap.folders.list(ada)
        # the normal name of one is taken; another has none
        names = {"INBOX/x", "\u00c4", "e\u0301", "\u00e9", "bell\x07"}
        assert {folder.name for folder in listed.folders} == before | names
        assert listed.subscribed == before | names
        assert await imap.folders.find(ada, "INBOX/x") is not None


class TestCreate:
    async def test_missing_mailboxes_above_are_created(
        self, imap: ImapStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada = await imap.account()
        before = await _names(imap, ada)
        made = await imap.folders.create(ada, "a/b/c")
        assert made == await imap.folders.find(ada, "a/b/c")
        assert (made.uidnext, made.modseq, made.messages, made.role) == (1, 1, 0, None)
        assert await _names(imap, ada) == before | {"a", "a/b", "a/b/c"}
        assert (await imap.folders.create(ada, "a/Old", "archive")).role == "archive"
        await _refused("ALREADYEXISTS", imap.folders.create(ada, "a/b"))
        await _refused("USEATTR", imap.folders.create(ada, "Older", "archive"))
        await _refused("USEATTR", imap.folders.create(ada, "Box", "inbox"))
        await _refused("CANNOT", imap.folders.create(ada, "a//b"))
        assert await imap.folders.find(ada, "Older") is None
        monkeypatch.setattr(folder_changes, "MOST_FOLDERS", len(before) + 6)
        await _refused("LIMIT", imap.folders.create(ada, "x/y/z"))
        await imap.folders.create(ada, "x/y")

    async def test_ids_and_validities_never_come_again(self, imap: ImapStore) -> None:
        ada, bob = await imap.account(), await imap.account("bob@example.test")
        listed = (await imap.folders.list(ada)).folders
        ids = {folder.id for folder in listed}
        validities = {folder.uidvalidity for folder in listed}
        for round_ in range(4):  # all within a second
            box = await imap.folders.create(ada, "Box")
            if round_ == 1:  # the release before creates and deletes one
                await imap.seed.rows(
                    """
                    INSERT INTO mailboxes (account_id, mailbox_id, name, uidvalidity)
                    SELECT $1, max(mailbox_id) + 1, 'Old',
                           greatest(floor(extract(epoch FROM clock_timestamp()))::bigint + $1, max(uidvalidity)) + 1
                      FROM mailboxes WHERE account_id = $1
                    """,
                    ada,
                )
                old = await imap.folders.find(ada, "Old")
                assert old is not None
                ids.add(old.id)
                validities.add(old.uidvalidity)
                await imap.folders.create(ada, "After")
                await imap.folders.delete(ada, "Old")
                await imap.folders.delete(ada, "After")
            assert box.id not in ids
            assert box.uidvalidity not in validities
            assert 0 < box.uidvalidity < 2**32
            ids.add(box.id)
            validities.add(box.uidvalidity)
            if round_ % 2:
                await imap.folders.rename(ada, "Box", f"Other{round_}")
            else:
                await imap.folders.delete(ada, "Box")
        assert bob != ada

    async def test_an_account_that_is_gone_is_a_fault_of_the_moment(self, imap: ImapStore) -> None:
        await imap.account()
        for change in (
            imap.folders.list(4711),
            imap.folders.quota(4711),
            imap.folders.create(4711, "x"),
            imap.folders.subscribe(4711, "x"),
            imap.folders.prepare(4711),
        ):
            with pytest.raises(Unavailable):
                await change


class TestDelete:
    async def test_messages_go_and_can_be_restored_while_the_domain_keeps_them(
        self, imap: ImapStore
    ) -> None:
        ada = await imap.account()
        await imap.seed.rows("UPDATE domains SET undelete_days = 7")
        await imap.folders.create(ada, "Box/Below")
        await imap.folders.subscribe(ada, "Box")
        await imap.put(ada, "Box", 3)
        mailbox = await imap.id_of(ada, "Box")
        await imap.folders.delete(ada, "Box")
        assert await imap.folders.quota(ada) == Quota(0, None, 0)
        listed = await imap.folders.list(ada)
        assert "Box" in listed.subscribed
        assert {folder.name for folder in listed.folders} >= {"Box/Below"}
        assert await imap.seed.value("SELECT count(*) FROM deleted_entries") == 3
        assert not await imap.seed.rows(
            "SELECT FROM mailbox_changes WHERE mailbox_id = $1", mailbox
        )
        for use in (
            imap.view.reopen(ada, mailbox),
            imap.view.changes(ada, mailbox, 1),
            imap.view.flags(ada, mailbox, [(1, 9)]),
            imap.view.store(ada, mailbox, [1], "+", SEEN, ()),
            imap.view.copy(ada, mailbox, [1], "INBOX"),
            imap.view.expunge(ada, mailbox, None),
            imap.view.contents(ada, mailbox, [1], header=True, forms=True),
        ):
            with pytest.raises(MailboxGone):
                await use
        assert await imap.view.open(ada, "Box") is None
        again = await imap.folders.create(ada, "Box")
        assert again.id > mailbox, "a deleted message may be restored to the old one"

    async def test_standard_and_missing_mailboxes_are_refused(self, imap: ImapStore) -> None:
        ada = await imap.account()
        for name in ("INBOX", "Junk", "Sent", "Trash"):
            await _refused("CANNOT", imap.folders.delete(ada, name))
        await _refused("NONEXISTENT", imap.folders.delete(ada, "Box"))


class TestRename:
    async def test_a_subtree_moves_as_a_whole(self, imap: ImapStore) -> None:
        ada = await imap.account()
        standard = await _names(imap, ada)
        for name in ("a/b/b", "a/bc", "d"):
            await imap.folders.create(ada, name)
        await imap.put(ada, "a/b/b", 2)
        was = await imap.folders.find(ada, "a/b/b")
        assert was is not None
        await imap.folders.rename(ada, "a/b", "x/y")
        assert await _names(imap, ada) == standard | {"a", "a/bc", "d", "x", "x/y", "x/y/b"}
        now = await imap.folders.find(ada, "x/y/b")
        assert now is not None
        assert (now.id, now.uidvalidity, now.messages) == (was.id, was.uidvalidity, 2)
        await _refused("ALREADYEXISTS", imap.folders.rename(ada, "x", "d"))
        await _refused("NONEXISTENT", imap.folders.rename(ada, "nothing", "e"))
        await _refused("CANNOT", imap.folders.rename(ada, "x", "x/z"))
        await _refused("CANNOT", imap.folders.rename(ada, "x", "z//z"))
        await _refused("LIMIT", imap.folders.rename(ada, "x", "z" * 1022))
        # names that are given up by the same command
        await imap.folders.rename(ada, "x", "q")
        await imap.folders.create(ada, "p/p/p")
        await imap.folders.delete(ada, "p")
        await imap.folders.rename(ada, "p/p", "p")
        assert await _names(imap, ada) == standard | {"a", "a/bc", "d", "q", "q/y", "q/y/b", "p", "p/p"}  # fmt: skip
        await imap.folders.create(ada, "f/d")
        await imap.folders.delete(ada, "f")
        await imap.folders.create(ada, "e/d")
        await _refused("ALREADYEXISTS", imap.folders.rename(ada, "e", "f"))

    async def test_of_inbox_the_messages_move_to_a_new_mailbox(self, imap: ImapStore) -> None:
        ada = await imap.account()
        await imap.put(ada, "INBOX", 2, flags=SEEN, keywords=("Work",))
        inbox = await imap.folders.find(ada, "INBOX")
        await imap.folders.rename(ada, "INBOX", "Old/2024")
        after = await imap.folders.find(ada, "INBOX")
        assert inbox is not None
        assert after is not None
        assert (after.id, after.uidvalidity, after.uidnext) == (inbox.id, inbox.uidvalidity, 3)
        assert (after.messages, after.role) == (0, "inbox")
        assert await imap.held(ada, "Old/2024") == [(1, SEEN, ("Work",)), (2, SEEN, ("Work",))]
        await _refused("ALREADYEXISTS", imap.folders.rename(ada, "INBOX", "Old"))


class TestCounters:
    async def test_wrong_counters_are_counted_again_before_they_are_shown(
        self, imap: ImapStore
    ) -> None:
        ada = await imap.account(quota=10_000)
        await imap.put(ada, "INBOX", 3, flags=SEEN)
        await imap.put(ada, "INBOX", 2, flags=DELETED)
        wrong = """
            UPDATE mailboxes SET counted_modseq = 0, messages = 7, unseen = 7, deleted = 7, octets = 7
             WHERE account_id = $1 AND mailbox_id = 1
        """
        size = await imap.seed.value("SELECT sum(size_crlf)::bigint FROM mailbox_entries")
        for _ in range(2):
            await imap.seed.rows(wrong, ada)
            found = await imap.folders.find(ada, "INBOX")
            listed = {folder.name: folder for folder in (await imap.folders.list(ada)).folders}
            assert found == listed["INBOX"]
            assert (found.messages, found.unseen, found.deleted, found.octets) == (5, 2, 2, size)
            await imap.seed.rows(wrong, ada)
            opened = await imap.view.open(ada, "INBOX")
            assert opened is not None
            assert (opened[1].unseen, opened[1].first_unseen) == (2, 4)
        assert await imap.folders.quota(ada) == Quota(size, 10_000, 5)

    async def test_subscriptions_are_bounded(
        self, imap: ImapStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada = await imap.account()
        await imap.seed.rows("DELETE FROM mailbox_subscriptions")
        monkeypatch.setattr("posthorn.adapters.postgres.imap.folder_changes.MOST_SUBSCRIPTIONS", 2)
        for name in ("INBOX", "not there", "INBOX"):
            await imap.folders.subscribe(ada, name)
        await _refused("LIMIT", imap.folders.subscribe(ada, "third"))
        assert (await imap.folders.list(ada)).subscribed == {"INBOX", "not there"}
        assert ports.MOST_SUBSCRIPTIONS > 2

    async def test_names_have_few_levels_so_that_list_is_bounded(self, imap: ImapStore) -> None:
        ada = await imap.account()
        deep = "/".join("x" * ports.MOST_LEVELS)
        await imap.folders.create(ada, deep)
        await imap.folders.subscribe(ada, deep)
        await _refused("LIMIT", imap.folders.create(ada, f"{deep}/y"))
        await _refused("LIMIT", imap.folders.subscribe(ada, f"{deep}/y"))
        await _refused("LIMIT", imap.folders.rename(ada, "x", "one/more"))

    async def test_a_large_mailbox_is_deleted_in_slices_that_stay_done(
        self, imap: ImapStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Deliveries to the account go on between them."""
        ada = await imap.account()
        await imap.folders.create(ada, "Big")
        await imap.put(ada, "Big", 5)
        monkeypatch.setattr(folder_changes, "REMOVED_AT_ONCE", 2)
        remove_all, calls = moving.remove_all, 0

        async def failing(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Unavailable("postgres", "gone")
            await remove_all(*arguments)

        monkeypatch.setattr(folder_changes, "remove_all", failing)
        with pytest.raises(Unavailable):
            await imap.folders.delete(ada, "Big")
        assert [uid for uid, _, _ in await imap.held(ada, "Big")] == [3, 4, 5]
        await imap.folders.delete(ada, "Big")
        assert calls == 4
        assert "Big" not in await _names(imap, ada)
