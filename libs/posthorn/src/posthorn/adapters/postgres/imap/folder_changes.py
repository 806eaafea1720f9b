"""Creating, deleting and renaming mailboxes (RFC 9051 §6.3.4 to §6.3.6), in the transaction of the
caller, which holds the lock of the account's row.

Theory:

- Ids and UIDVALIDITY come from counters of the account that never fall. The release before does not
  count: what is there, and what can be restored, is compared too. The time stands for mailboxes that
  it made and deleted meanwhile.
- A rename goes by way of names that no mailbox has, because a name may be taken by a mailbox that
  is renamed by the same command (``a/b`` to ``a``).
- Subscriptions are by name and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.imap.moving import REMOVED_AT_ONCE, remove_all, transfer
from posthorn.adapters.postgres.imap.rows import BOX, Row, mailbox_by_name
from posthorn.ports.folders import MOST_FOLDERS, MOST_LEVELS, MOST_SUBSCRIPTIONS, FolderError
from posthorn.wire.imap.mailbox_names import (
    DELIMITER,
    INBOX,
    LONGEST_NAME_BYTES,
    InvalidNameError,
    normalise,
)

ROLES: Final = frozenset({"junk", "sent", "trash", "drafts", "archive"})
_LATER: Final = (("Drafts", "drafts"), ("Archive", "archive"))

_NUMBERS = """
    UPDATE accounts a SET last_mailbox_id = n.mailbox_id + $2, last_uidvalidity = n.uidvalidity + $2
      FROM (
          SELECT greatest(
                     (SELECT last_mailbox_id FROM accounts WHERE id = $1),
                     (SELECT max(mailbox_id) FROM mailboxes WHERE account_id = $1),
                     (SELECT max(mailbox_id) FROM deleted_entries WHERE account_id = $1)
                 ) AS mailbox_id,
                 greatest(
                     (SELECT last_uidvalidity FROM accounts WHERE id = $1),
                     (SELECT max(uidvalidity) FROM mailboxes WHERE account_id = $1),
                     least(floor(extract(epoch FROM clock_timestamp()))::bigint + $1, 4000000000)
                 ) AS uidvalidity
      ) AS n
     WHERE a.id = $1
    RETURNING n.mailbox_id, n.uidvalidity
"""
_CREATE = """
    INSERT INTO mailboxes (account_id, mailbox_id, name, role, uidvalidity, counted_modseq)
    SELECT $1, $2 + w.place, w.name, w.role, $3 + w.place, 1
      FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS w (name, role, place)
"""
_HELD = "SELECT uid FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = $2 ORDER BY uid"
_FORGET = "DELETE FROM mailbox_changes WHERE account_id = $1 AND mailbox_id = $2"
_DELETE = "DELETE FROM mailboxes WHERE account_id = $1 AND mailbox_id = $2"
_TO_PASSING = """
    UPDATE mailboxes m SET name = E'\\x01' || w.name
      FROM unnest($2::integer[], $3::text[]) AS w (mailbox_id, name)
     WHERE m.account_id = $1 AND m.mailbox_id = w.mailbox_id
"""
_TO_FINAL = """
    UPDATE mailboxes SET name = substr(name, 2) WHERE account_id = $1 AND mailbox_id = ANY ($2::integer[])
"""
_SET_ROLE = "UPDATE mailboxes SET role = $3 WHERE account_id = $1 AND mailbox_id = $2"
_SET_NAME = "UPDATE mailboxes SET name = $3 WHERE account_id = $1 AND mailbox_id = $2"
_SUBSCRIBE = """
    INSERT INTO mailbox_subscriptions (account_id, name)
    SELECT $1, $2::text
     WHERE (SELECT count(*) FROM mailbox_subscriptions WHERE account_id = $1) < $3
        OR EXISTS (SELECT FROM mailbox_subscriptions WHERE account_id = $1 AND name = $2)
    ON CONFLICT (account_id, name) DO UPDATE SET name = excluded.name
    RETURNING name
"""
_UNSUBSCRIBE = (
    "DELETE FROM mailbox_subscriptions WHERE account_id = $1 AND name = $2 RETURNING name"
)
_SUBSCRIBE_TO_ALL = """
    INSERT INTO mailbox_subscriptions (account_id, name) SELECT account_id, name FROM mailboxes WHERE account_id = $1
    ON CONFLICT DO NOTHING
"""
_PREPARED = "UPDATE accounts SET imap_prepared = true WHERE id = $1"


async def prepare(connection: Connection, account: int) -> None:
    """Create the standard mailboxes that are missing, give names their normal form, and subscribe
    to all; once."""
    if await connection.fetchval("SELECT imap_prepared FROM accounts WHERE id = $1", account):
        return
    await _normalise_names(connection, account)
    rows = await connection.fetch(BOX, account)
    roles = {row["role"] for row in rows}
    there = {row["name"]: row for row in rows}
    missing: list[tuple[str, str | None]] = []
    for name, role in _LATER:
        if role in roles:
            continue
        if name not in there:
            missing.append((name, role))
        elif there[name]["role"] is None:
            await connection.execute(_SET_ROLE, account, there[name]["mailbox_id"], role)
    await _make(connection, account, missing)
    await connection.execute(_SUBSCRIBE_TO_ALL, account)
    await connection.execute(_PREPARED, account)


async def _normalise_names(connection: Connection, account: int) -> None:
    """Rename mailboxes whose names the API of releases before stored as they came: no client could
    name them. One whose normal name is taken, or that has none, stays as it is."""
    names = {row["name"]: row["mailbox_id"] for row in await connection.fetch(BOX, account)}
    for name, mailbox in list(names.items()):
        try:
            normal = normalise(name)
        except InvalidNameError:
            continue
        if normal not in names:
            names[normal] = mailbox
            await connection.execute(_SET_NAME, account, mailbox, normal)
            await unsubscribe(connection, account, name)


async def create(connection: Connection, account: int, name: str, role: str | None) -> None:
    """Create a mailbox and the missing ones above it. Raises FolderError."""
    rows = await connection.fetch(BOX, account)
    names = {row["name"] for row in rows}
    check_levels([name])
    if name in names:
        raise FolderError("ALREADYEXISTS", "there is such a mailbox")
    if role is not None and (role not in ROLES or role in {row["role"] for row in rows}):
        raise FolderError("USEATTR", "another mailbox has this use")
    above = _above(name, names)
    _check_room(len(rows), len(above) + 1)
    await _make(connection, account, [*((each, None) for each in above), (name, role)])


async def delete(
    connection: Connection, owner: Row, account: int, name: str, mailbox: int | None = None
) -> int | None:
    """Delete a mailbox, or so many of its messages as one transaction removes: then return its id,
    with which the caller goes on in the next one (``mailbox``). Raises FolderError."""
    box = await mailbox_by_name(connection, account, name)
    if box is None or mailbox not in (None, box["mailbox_id"]):
        raise FolderError("NONEXISTENT", "there is no such mailbox")
    if box["role"] is not None:
        raise FolderError("CANNOT", "every account has this mailbox")
    number = int(box["mailbox_id"])
    rows = await connection.fetch(f"{_HELD} LIMIT $3", account, number, REMOVED_AT_ONCE + 1)
    uids = [row["uid"] for row in rows[:REMOVED_AT_ONCE]]
    await remove_all(connection, owner, account, number, uids)
    if len(rows) > len(uids):
        return number
    await connection.execute(_FORGET, account, number)
    await connection.execute(_DELETE, account, number)
    return None


async def rename(connection: Connection, owner: Row, account: int, name: str, to: str) -> None:
    """Rename a mailbox and those below it; of INBOX move the messages. Raises FolderError."""
    rows = await connection.fetch(BOX, account)
    names = {row["name"]: row for row in rows}
    if name not in names:
        raise FolderError("NONEXISTENT", "there is no such mailbox")
    if name == INBOX:
        await create(connection, account, to, None)
        into = await mailbox_by_name(connection, account, to)
        held = await connection.fetch(_HELD, account, names[name]["mailbox_id"])
        uids = [row["uid"] for row in held]
        await transfer(connection, owner, account, names[name], into, uids, move=True)
        return
    if to.startswith(name + DELIMITER):
        raise FolderError("CANNOT", "a mailbox cannot be moved below itself")
    moved = {
        each: to + each[len(name) :]
        for each in names
        if each == name or each.startswith(name + DELIMITER)
    }
    if (to in names) or (names.keys() - moved.keys()) & set(moved.values()):
        raise FolderError("ALREADYEXISTS", "there is such a mailbox")
    if any(len(each.encode()) > LONGEST_NAME_BYTES for each in moved.values()):
        raise FolderError("LIMIT", "a name would be too long")
    check_levels(moved.values())
    left = (names.keys() - moved.keys()) | set(moved.values())
    above = _above(to, left)
    _check_room(len(rows), len(above))
    ids = [names[each]["mailbox_id"] for each in moved]
    await connection.execute(_TO_PASSING, account, ids, list(moved.values()))
    await connection.execute(_TO_FINAL, account, ids)
    await _make(connection, account, [(each, None) for each in above])


def _above(name: str, there: set[str]) -> list[str]:
    """Return the missing mailboxes above a name, the highest first. Raises FolderError for a name
    with an empty level."""
    levels = name.split(DELIMITER)
    if not all(levels):
        raise FolderError("CANNOT", "a mailbox name must not have an empty level")
    names = [DELIMITER.join(levels[:count]) for count in range(1, len(levels))]
    return [each for each in names if each not in there]


def check_levels(names: Iterable[str]) -> None:
    """Raises FolderError for a name with too many levels."""
    if any(name.count(DELIMITER) >= MOST_LEVELS for name in names):
        raise FolderError("LIMIT", f"a name has at most {MOST_LEVELS} levels")


def _check_room(there: int, more: int) -> None:
    if there + more > MOST_FOLDERS:
        raise FolderError("LIMIT", f"more than {MOST_FOLDERS} mailboxes")


async def _make(
    connection: Connection, account: int, made: Sequence[tuple[str, str | None]]
) -> None:
    if not made:
        return
    last = await connection.fetchrow(_NUMBERS, account, len(made))
    assert last is not None
    names, roles = [name for name, _ in made], [role for _, role in made]
    await connection.execute(
        _CREATE, account, last["mailbox_id"], last["uidvalidity"], names, roles
    )


async def subscribe(connection: Connection, account: int, name: str) -> None:
    """Subscribe to a name; a subscription that is there is no error. Raises FolderError: LIMIT."""
    if not await connection.fetch(_SUBSCRIBE, account, name, MOST_SUBSCRIPTIONS):
        raise FolderError("LIMIT", f"more than {MOST_SUBSCRIPTIONS} subscriptions")


async def unsubscribe(connection: Connection, account: int, name: str) -> bool:
    """End a subscription; return whether there was one."""
    return bool(await connection.fetch(_UNSUBSCRIBE, account, name))
