"""Classifications, what is learned of them, and the points that follow, on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
import zstandard

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.bayes import LOOK_SECONDS, PostgresBayes
from posthorn.adapters.postgres.mailboxes.classifying import PostgresClassifications
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.messages import PostgresAccountMail
from posthorn.adapters.postgres.mailboxes.stored_models import (
    MOST_BYTES,
    pack_model,
    unpack_model,
)
from posthorn.adapters.postgres.mailboxes.training import PostgresTraining
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.blob_range import BlobRange
from posthorn.model.classification import Classification
from posthorn.ports.errors import NotFound
from posthorn.ports.segments import SegmentMessage
from posthorn.ports.training import KEPT_DAYS, PreparedLesson
from posthorn.runtime.ids import new_id
from posthorn.wire.spam.bayes import EMPTY, BayesModel, Lesson
from posthorn.wire.spam.facts import read_facts
from posthorn.wire.spam.tokens import tokens_of
from posthorn_delivery.trainer import MOST_ATTEMPTS, Trainer
from posthorn_delivery.training_points import TrainingPoints
from tests.support.builders import make_envelope, make_message, make_segment
from tests.support.databases import as_part, pool
from tests.support.seed import DatabaseSeed
from tests.support.spam import message

pytestmark = pytest.mark.usefixtures("sound")

SPAM, HAM, NONE = Classification.SPAM, Classification.HAM, Classification.NONE
OFFER = message("cheap pills casino winner viagra bargain lottery million", {"Subject": "Offer"})
MINUTES = message("agenda minutes meeting project quarterly budget review", {"Subject": "Notes"})
A, B, C = "user0@example.test", "user1@example.test", "ann@other.test"


class TaughtMail(DatabaseSeed):
    """Accounts of two tenants with mail, and the trainer with delivery's own role."""

    def __init__(self, database: Database, deliverys: Database, blobs: FileBlobs) -> None:
        super().__init__(database)
        self.blobs = blobs
        self.says = PostgresClassifications(database)
        self.training = PostgresTraining(deliverys)
        self.reader = SegmentReader(blobs, cache_octets=0)
        self.trainer = Trainer(self.training, self.reader)
        self.now = 0.0
        self.bayes = PostgresBayes(deliverys, monotonic=lambda: self.now)
        self.points = TrainingPoints(self.bayes, blobs)
        self.ids: dict[str, int] = {}
        self.other = new_id()

    async def prepare(self) -> None:
        await self.domain("example.test")
        await self.rows("INSERT INTO tenants (id, name) VALUES ($1, 'other')", self.other)
        await self.rows(
            "INSERT INTO domains (tenant_id, name) VALUES ($1, 'other.test')", self.other
        )
        self.ids = {address: await self.account(address) for address in (A, B, C)}

    async def place(self, body: bytes, *addresses: str) -> UUID:
        made = make_message([self.ids[each] for each in addresses], size=len(body))
        packed = make_segment(
            [SegmentMessage(made.envelope, BlobRange(0, len(body)), made.accounts)]
        )
        await self.blobs.put(packed.key, [body])
        await PostgresMailboxes(self.database).deliver([packed])
        return made.envelope.id

    async def say(self, wanted: Classification, body: bytes, address: str = A) -> UUID:
        number = await self.place(body, address)
        await self.says.classify(None, address, number, wanted)
        return number

    async def model(self, tenant: UUID, account: str | None = None) -> BayesModel:
        found = await self.rows(
            "SELECT tokens, spam_messages, ham_messages FROM bayes_models"
            " WHERE tenant_id = $1 AND account_id IS NOT DISTINCT FROM $2",
            tenant,
            account and self.ids[account],
        )
        if not found:
            return EMPTY
        model = unpack_model(found[0][0])
        assert (model.spam, model.ham) == found[0][1:]
        return model

    async def totals(
        self, tenant: UUID = DEFAULT_TENANT, account: str | None = A
    ) -> tuple[int, int]:
        model = await self.model(tenant, account)
        return model.spam, model.ham

    async def preset(self, tenant: UUID, account: str | None, count: int) -> None:
        """Write a model that learned so many messages of each kind."""
        lessons = [
            Lesson(tokens_of(read_facts(body)), is_spam)
            for body, is_spam in ((OFFER, True), (MINUTES, False))
            for _ in range(count)
        ]
        model = EMPTY.taught(lessons)
        await self.rows(
            "INSERT INTO bayes_models (tenant_id, account_id, spam_messages, ham_messages, tokens)"
            " VALUES ($1, $2, $3, $3, $4) ON CONFLICT (tenant_id, account_id) DO UPDATE"
            " SET spam_messages = $3, ham_messages = $3, tokens = $4, version = bayes_models.version + 1",
            *(tenant, account and self.ids[account], count, pack_model(model)),
        )
        self.now += LOOK_SECONDS

    async def box(self, number: UUID, address: str = A) -> str:
        found, _ = await PostgresAccountMail(self.database).message(None, address, number)
        return found.mailbox


@pytest.fixture
async def mail(database_url: str, database: Database, tmp_path: Path) -> AsyncIterator[TaughtMail]:
    async with pool(as_part(database_url, "delivery")) as deliverys:
        blobs = FileBlobs(tmp_path)
        await blobs.open()
        mail = TaughtMail(database, deliverys, blobs)
        try:
            await mail.prepare()
            yield mail
        finally:
            await mail.reader.close()
            blobs.close()


async def test_what_an_owner_says_is_moved_taught_and_taken_back(mail: TaughtMail) -> None:
    offer = await mail.say(SPAM, OFFER)
    notes = await mail.say(HAM, MINUTES)
    assert (await mail.box(offer), await mail.box(notes)) == ("Junk", "INBOX")
    assert await mail.trainer.round() == 2
    assert await mail.trainer.round() == 0
    tokens = tokens_of(read_facts(OFFER))
    for account in (A, None):
        model = await mail.model(DEFAULT_TENANT, account)
        assert (model.spam, model.ham) == (1, 1)
        assert all(model.counts(token)[0] == 1 for token in tokens)
    assert await mail.totals(DEFAULT_TENANT, B) == (0, 0)

    again = await mail.says.classify(None, A, offer, SPAM)
    assert (again.taught, again.mailbox) == (SPAM, "Junk")
    assert await mail.trainer.round() == 0, "nothing is learned twice"

    # a change of mind works without the message's body
    for (key,) in await mail.rows("SELECT key FROM segments"):
        await mail.blobs.delete(key)
    await mail.says.classify(None, A, offer, HAM, move=False)
    assert await mail.box(offer) == "Junk"
    await mail.trainer.round()
    assert await mail.totals() == (0, 2)
    assert (await mail.says.classify(None, A, offer, NONE)).taught is HAM
    await mail.trainer.round()
    assert await mail.totals() == (0, 1) == await mail.totals(account=None)
    assert await mail.rows("SELECT message_id FROM classifications") == [(notes,)]
    assert (await mail.model(DEFAULT_TENANT)).tokens == (await mail.model(DEFAULT_TENANT, A)).tokens
    await mail.sums_hold()


async def test_tenants_are_sealed(mail: TaughtMail) -> None:
    mine = await mail.say(SPAM, OFFER)
    await mail.say(SPAM, OFFER, C)
    await mail.trainer.round()
    await mail.say(SPAM, OFFER, B)
    await mail.trainer.round()
    assert await mail.totals(account=None) == (2, 0)
    assert await mail.totals(mail.other, None) == (1, 0)
    assert [await mail.totals(account=each) for each in (A, B)] == [(1, 0), (1, 0)]
    with pytest.raises(NotFound):
        await mail.says.classify(mail.other, A, mine, HAM)
    with pytest.raises(NotFound):
        await mail.says.classify(None, B, mine, HAM)


async def test_moves_say_what_an_owner_thinks(mail: TaughtMail) -> None:
    moves = PostgresAccountMail(mail.database)
    for target, said in (("Junk", "spam"), ("Junk", "spam"), ("Trash", "spam"), ("INBOX", "spam")):
        if target == "Junk":
            number = await mail.place(OFFER, A)
        await moves.move_message(None, A, number, target)
        assert (
            await mail.value("SELECT wanted FROM classifications WHERE message_id = $1", number)
            == said
        )
    await moves.move_message(None, A, number, "Junk")
    await moves.move_message(None, A, number, "INBOX")
    assert (
        await mail.value("SELECT wanted FROM classifications WHERE message_id = $1", number)
        == "ham"
    )
    await moves.move_message(None, A, number, "Trash")
    assert (
        await mail.value("SELECT wanted FROM classifications WHERE message_id = $1", number)
        == "ham"
    )


async def test_a_change_during_a_lesson_is_taught_afterwards(mail: TaughtMail) -> None:
    offer = await mail.say(SPAM, OFFER)
    (due,) = await mail.training.due(10)
    prepared = await mail.trainer._prepared(due)
    assert prepared is not None
    await mail.says.classify(None, A, offer, HAM)
    assert await mail.training.teach(due.tenant, [prepared]) == 0
    assert await mail.totals() == (0, 0)
    await mail.trainer.round()
    assert await mail.totals() == (0, 1)


async def test_deleted_messages_and_accounts_teach_nothing(mail: TaughtMail) -> None:
    gone = await mail.say(SPAM, OFFER)
    await mail.rows("UPDATE messages SET segment_id = NULL WHERE id = $1", gone)
    await mail.say(SPAM, OFFER, B)
    due = await mail.training.due(10)
    prepared = [await mail.trainer._prepared(each) for each in due]
    for table in ("mailbox_entries", "mailbox_changes"):
        await mail.rows(f"DELETE FROM {table} WHERE account_id = $1", mail.ids[B])
    await mail.rows("DELETE FROM accounts WHERE id = $1", mail.ids[B])
    assert await mail.training.teach(DEFAULT_TENANT, [each for each in prepared if each]) == 1
    assert await mail.rows("SELECT FROM classifications") == []
    assert await mail.rows("SELECT FROM bayes_models") == []


async def test_a_body_that_cannot_be_read_holds_up_no_other(mail: TaughtMail) -> None:
    lost = await mail.say(SPAM, OFFER)
    key = await mail.value(
        "SELECT s.key FROM segments s JOIN messages m ON m.segment_id = s.id WHERE m.id = $1", lost
    )
    await mail.blobs.delete(key)
    await mail.say(HAM, MINUTES)
    await mail.trainer.round()
    assert await mail.totals() == (0, 1)
    for attempt in range(1, MOST_ATTEMPTS):
        assert await mail.rows("SELECT attempts FROM classifications WHERE due_at > now()") == [
            (attempt,)
        ]
        await mail.rows("UPDATE classifications SET due_at = now() WHERE due_at > now()")
        await mail.trainer.round()
    assert await mail.rows("SELECT FROM classifications WHERE due_at IS NOT NULL") == []
    await mail.blobs.put(key, [OFFER])
    await mail.says.classify(None, A, lost, SPAM)
    await mail.trainer.round()
    assert await mail.totals() == (1, 1), "it is tried again when it is said again"


async def test_what_cannot_be_taught_holds_up_no_other_tenant(
    mail: TaughtMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mail.say(SPAM, OFFER)
    await mail.say(SPAM, OFFER, C)
    teach = mail.training.teach

    async def fails(tenant: UUID, lessons: Sequence[PreparedLesson]) -> int:
        if tenant == DEFAULT_TENANT:
            raise ValueError("made to fail")
        return await teach(tenant, lessons)

    monkeypatch.setattr(mail.training, "teach", fails)
    await mail.trainer.round()
    assert await mail.totals(mail.other, C) == (1, 0)
    assert await mail.rows("SELECT attempts FROM classifications WHERE due_at > now()") == [(1,)]
    monkeypatch.undo()
    await mail.rows("UPDATE classifications SET due_at = now() WHERE due_at IS NOT NULL")
    await mail.trainer.round()
    assert await mail.totals() == (1, 0)


async def test_one_process_trains_and_old_classifications_are_forgotten(
    mail: TaughtMail, database: Database
) -> None:
    await mail.say(SPAM, OFFER)
    assert await PostgresTraining(database).lead(60)
    assert await mail.trainer.round() == 0
    await mail.rows("DELETE FROM leaderships")
    await mail.trainer.round()
    await mail.rows(
        "UPDATE classifications SET created_at = now() - make_interval(days => $1)", KEPT_DAYS + 1
    )
    assert await mail.training.forget(10) == 1
    assert await mail.training.forget(10) == 0
    assert await mail.totals() == (1, 0), "what was taught stays"


async def test_points_follow_from_the_models_of_account_and_tenant(mail: TaughtMail) -> None:
    a, b, c = (mail.ids[each] for each in (A, B, C))
    await mail.blobs.put("bodies/1", [OFFER])
    items = [
        (make_envelope(OFFER), OFFER, (a, b, c)),
        (make_envelope(MINUTES), MINUTES, (a, c)),
        (make_envelope(OFFER, blob="bodies/1"), None, (b,)),
    ]
    offer, notes, large = (envelope.id for envelope, _, _ in items)
    await mail.preset(DEFAULT_TENANT, None, 49)
    assert await mail.points.points(items) == {}
    await mail.preset(DEFAULT_TENANT, None, 50)
    found = await mail.points.points(items)
    assert found.keys() == {(offer, a), (offer, b), (notes, a), (large, b)}
    assert {rule.name for rule in found.values()} == {"BAYES_TENANT"}
    assert found[offer, a].points == 2.0 == found[large, b].points == -found[notes, a].points
    await mail.preset(DEFAULT_TENANT, A, 200)
    found = await mail.points.points(items)
    assert (found[offer, a].name, found[offer, a].points) == ("BAYES_ACCOUNT", 4.0)
    assert (found[offer, b].name, found[offer, b].points) == ("BAYES_TENANT", 2.0)


async def test_models_are_cached_by_version_in_bounded_memory(
    mail: TaughtMail, database: Database
) -> None:
    await mail.preset(DEFAULT_TENANT, None, 60)
    await mail.preset(mail.other, None, 60)
    a, c = mail.ids[A], mail.ids[C]
    first = (await mail.bayes.models([a]))[a].tenant
    assert (await mail.bayes.models([a]))[a].tenant is first
    await mail.preset(DEFAULT_TENANT, None, 70)
    assert (await mail.bayes.models([a]))[a].tenant.spam == 70
    small = PostgresBayes(database, cache_bytes=1)
    assert (await small.models([a, c])).keys() == {a, c}
    one = small.cached_bytes
    assert (await small.models([c]))[c].tenant.spam == 60
    assert small.cached_bytes <= one < mail.bayes.cached_bytes + 5000


def test_models_that_cannot_be_read_are_begun_anew() -> None:
    for packed in (
        b"",
        b"x",
        zstandard.compress(b"x"),
        zstandard.compress(b"\0" * (MOST_BYTES + 1)),
    ):
        assert unpack_model(packed) is EMPTY
