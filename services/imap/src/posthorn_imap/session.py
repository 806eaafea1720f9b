"""The dialogue of one IMAP connection: events of the machine in, replies out.

Rules:

- One event at a time; the protocol hands over no other meanwhile. ``handle`` is awaited to its end.
- A command is done by its handler (``handlers.HANDLERS``), which sends untagged replies and returns
  an ``Answer``. Then what changed in the selected mailbox is told (``syncing``), then the tagged
  reply is sent.
- A fault of the store is NO [UNAVAILABLE] (promise 3). After one that leaves open what was changed
  the handler raises ``Drop``.
"""

from __future__ import annotations

import asyncio
import time
from functools import cache
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Histogram

from posthorn.ports.access import Ending, Proof
from posthorn.ports.errors import Unavailable
from posthorn.ports.folders import ImapAccount
from posthorn.ports.mailbox_view import MailboxGone
from posthorn.wire.imap.commands import Command
from posthorn.wire.imap.events import Continue, Event, Fatal, Refused, Request
from posthorn.wire.imap.machine import Machine
from posthorn.wire.imap.replies import tagged, untagged
from posthorn.wire.imap.states import State, capabilities
from posthorn_imap import syncing
from posthorn_imap.answering import Answer, Bad, Drop, No
from posthorn_imap.context import ImapContext
from posthorn_imap.handlers import EVENT_HANDLERS, HANDLERS, UNSERVED, notifying
from posthorn_imap.logins import ENDINGS, LoginFailed
from posthorn_imap.metrics import COMMAND_SECONDS, UNAVAILABLE
from posthorn_imap.notifications import Notifications
from posthorn_imap.outlet import Outlet
from posthorn_imap.reads import Reads
from posthorn_imap.selected import Selected

if TYPE_CHECKING:
    from posthorn_imap.handlers.appending import Append
    from posthorn_imap.handlers.logging_in import ScramProgress

log = structlog.get_logger()

BAD_COMMANDS_BEFORE_LOGIN = 10
BAD_COMMANDS = 100
"""Invalid commands in a row at which the connection is closed."""

_commands = Counter("posthorn_imap_commands_total", "Commands answered", ["command", "outcome"])


@cache
def _metrics_of(command: str, outcome: str) -> tuple[Counter, Histogram]:
    """Return the metrics of a command; there are few, and a look-up by labels takes long."""
    name = command.lower()
    return _commands.labels(name, outcome), COMMAND_SECONDS.labels(name)


async def _unserved(_: ImapSession, __: Command | Event) -> Answer:
    raise Bad("this command is not supported")


class ImapSession:
    """One client's dialogue."""

    def __init__(self, context: ImapContext, machine: Machine, outlet: Outlet, client: str) -> None:
        """``client``: its IP address."""
        self.context = context
        self.backend = context.backend
        self.machine = machine
        self.out = outlet
        self.client = client
        self.account: ImapAccount | None = None
        self.proof: Proof | None = None
        """What the connection logged in with."""
        self.selected: Selected | None = None
        """Changed by ``select`` and ``deselect`` alone."""
        self.reads = Reads(context.read_events, lambda: self.account)
        self.append: Append | None = None
        """The messages of the APPEND under way."""
        self.appended_to: str | None = None
        """The mailbox that took the messages of the last APPEND, as the client named it."""
        self.mechanism = ""
        """Of the AUTHENTICATE under way."""
        self.sasl_name = b""
        """What AUTHENTICATE LOGIN has learned so far."""
        self.scram: ScramProgress | None = None
        """What AUTHENTICATE SCRAM-SHA-256 has come to so far."""
        self.declined: LoginFailed | None = None
        """The refusal of a token, until the client has taken the reason."""
        self.is_compressed = False
        """Whether COMPRESS is in effect."""
        self.failures = 0
        """Wrong passwords so far, and exchanges of SCRAM that did not succeed."""
        self.tag = b""
        """Of the command under way, or of the IDLE that runs."""
        self.ending = "dropped"
        """How it ended, for the log."""
        self.notify: Notifications | None = None
        """What NOTIFY asked for; changed by ``notify_by`` alone. None: it was never used."""
        self.is_sending_items = False
        """Whether items of messages are sent unasked: no other reply may come between."""
        self.busy = asyncio.Lock()
        """Held while a command is done, and while a client in IDLE is told what changed."""
        self._bad = 0
        self._done = 0
        self._has_waiting_news = False  # that came during a command

    # what handlers ask

    @property
    def account_id(self) -> int:
        """Id of the account; the machine lets commands that ask for it through after login
        only."""
        assert self.account is not None
        return self.account.account

    @property
    def mailbox(self) -> Selected:
        """The selected mailbox; the machine lets commands that ask for it through in that state
        only."""
        assert self.selected is not None
        return self.selected

    @property
    def is_rev2(self) -> bool:
        """Whether the client enabled IMAP4rev2."""
        return "IMAP4REV2" in self.machine.enabled

    @property
    def utf8(self) -> bool:
        """Whether strings are sent as UTF-8 (RFC 6855, RFC 9051)."""
        return self.is_rev2 or "UTF8=ACCEPT" in self.machine.enabled

    @property
    def condstore(self) -> bool:
        """Whether MODSEQ is sent with FETCH (RFC 7162 §3.1)."""
        return "CONDSTORE" in self.machine.enabled

    @property
    def qresync(self) -> bool:
        """Whether VANISHED is sent in place of EXPUNGE (RFC 7162 §3.2)."""
        return "QRESYNC" in self.machine.enabled

    @property
    def hidden(self) -> frozenset[str]:
        """Capabilities that this client is not shown, in upper case."""
        mine = () if self.account is None else self.account.hidden
        return self.context.limits.hidden | UNSERVED | {name.upper() for name in mine}

    @property
    def tells_selected(self) -> bool:
        """Whether the client is told unasked what comes and goes in the selected mailbox; not if
        NOTIFY left it out (RFC 5465 §3.1)."""
        return self.notify is None or self.notify.tells_messages

    @property
    def has_news(self) -> bool:
        """Whether there is something to be told at once: in IDLE, or by NOTIFY."""
        notify = self.notify
        if notify is not None and notify.is_behind and not notify.is_waiting:
            return True
        if self.selected is None or not self.selected.is_behind:
            return False
        return self.machine.is_idling if notify is None else notify.tells_messages

    def notify_by(self, notify: Notifications | None) -> None:
        """Tell what NOTIFY asked for from now on; None: as without it."""
        if self.account is not None:
            self.context.watching.leave_account(self, self.account.account)
            if notify is not None and notify.groups:
                self.context.watching.enter_account(self, self.account.account)
        self.notify = notify

    def select(self, selected: Selected) -> None:
        """Make a mailbox the selected one, and hear of its changes from now on."""
        self.deselect()
        self.selected = selected
        self.context.watching.enter(self, selected)

    def deselect(self) -> None:
        """Have no mailbox selected."""
        if self.selected is not None:
            self.context.watching.leave(self, self.selected)
            self.selected = None
            if self.notify is not None and self.notify.groups:
                self.notify.is_behind = True  # as one of the others it is told of again
                self._has_waiting_news = True

    def capabilities(self) -> str:
        """Return the capabilities of this moment, in a line."""
        return capabilities(
            self.machine.state,
            self.machine.channel,
            append_limit=self.context.limits.append_bytes,
            hidden=self.hidden,
        )

    # events

    def greet(self) -> None:
        """Send the greeting."""
        code = f"CAPABILITY {self.capabilities()}".encode()
        self.out.send(untagged("OK", "Posthorn IMAP ready", code))

    async def handle(self, event: Event) -> None:
        """Answer an event."""
        async with self.busy:
            match event:
                case Request(tag, command):
                    self.tag = tag
                    await self._answer(tag, command)
                case Refused():
                    await self._refused(event)
                case Continue(reply):
                    self.out.send(reply)
                    self.out.flush()
                case Fatal(reply):
                    self.out.send(reply)
                    self.end("fatal")
                case _:
                    self.tag = getattr(event, "tag", self.tag)
                    await self._answer(self.tag, event)
        self._queue_news()

    async def tell_now(self) -> None:
        """Tell a client in IDLE, or after NOTIFY, what changed; called by whoever hears of it.
        During a command it is put off to the command's end."""
        if self.busy.locked():
            self._has_waiting_news = True
            return
        async with self.busy:
            try:
                await notifying.tell_news(self)
            except Unavailable as error:
                log.warning("changes not told", fault=error)
            except MailboxGone:
                self.mailbox_gone()
            except ConnectionError:
                return  # the client has gone
            self.out.flush()
        self._queue_news()

    def _queue_news(self) -> None:
        """See that what was put off is told."""
        if self._has_waiting_news:
            self._has_waiting_news = False
            self.context.watching.queue(self)

    async def sync(self, *, expunges: bool) -> None:
        """Learn what changed in the selected mailbox, and tell it. Raises Unavailable,
        MailboxGone."""
        await syncing.learn(self)
        if self.selected is not None:  # the connection may have ended meanwhile
            syncing.tell(self, expunges=expunges)
            if self.notify is not None:
                await notifying.send_new(self, self.notify)

    def compare_soon(self, notify: Notifications) -> None:
        """See that mailboxes whose comparison was put off are compared."""
        notify.is_waiting = False
        if self.notify is notify:
            self.context.watching.queue(self)

    def revoke(self, ending: Ending) -> None:
        """End, for what the connection logged in with does not hold any more. What is done for it
        is done to its end, but not sent."""
        how, words = ENDINGS[ending]
        if self.busy.locked():
            self.ending = how
            self.out.cut()
            return
        self.out.send(untagged("BYE", words))
        self.end(how)
        self.out.flush()

    def leave(self) -> None:
        """Wind up: the connection has ended, and what was done for it too."""
        self.deselect()
        self.notify_by(None)
        if self.append is not None:
            self.append.discard()
        self.context.logins.ended(self)
        if self.account is not None:
            log.info(
                "connection ended",
                account=self.account.address,
                client=self.client,
                how=self.ending,
                commands=self._done,
            )

    def mailbox_gone(self) -> None:
        """End: the selected mailbox was deleted elsewhere."""
        self.out.send(untagged("BYE", "the selected mailbox was deleted"))
        self.end("mailbox deleted")

    def end(self, how: str) -> None:
        """Close after the event under way."""
        self.ending = how
        self.out.close()

    # inside

    async def _answer(self, tag: bytes, command: Command | Event) -> None:
        """Run the handler of a command or event; send the tagged reply, if it has one."""
        handler = HANDLERS.get(type(command)) or EVENT_HANDLERS.get(type(command), _unserved)
        self._bad = 0
        outcome, is_there = "ok", True
        began = time.monotonic()
        try:
            answer = await handler(self, command)
            if answer is None:  # the event has no tagged reply, or the handler sent everything
                return
            is_there = await self._tell(answer)
            reply = tagged(tag, "OK", answer.words, answer.code)
        except No as error:
            outcome = "no"
            reply = self._failed(tagged(tag, "NO", error.words, error.code))
        except Bad as error:
            outcome = "bad"
            reply = self._failed(tagged(tag, "BAD", str(error)))
        except Unavailable as error:
            outcome = "fault"
            UNAVAILABLE.labels(error.part).inc()
            log.warning("command failed", command=type(command).__name__, fault=error)
            words = "the mailbox cannot be reached at this moment, try again"
            reply = tagged(tag, "NO", words, b"UNAVAILABLE")
        except MailboxGone:
            self.mailbox_gone()
            return
        except Drop as error:
            UNAVAILABLE.labels("outcome unknown").inc()
            self.out.send(untagged("BYE", str(error), b"UNAVAILABLE"))
            self.end("outcome unknown")
            return
        self.out.send(reply)
        self._count(command, outcome, time.monotonic() - began)
        if not is_there:
            self.mailbox_gone()
        self.machine.ready(self._state())

    def _count(self, command: Command | Event, outcome: str, seconds: float) -> None:
        self._done += 1
        answered, took = _metrics_of(type(command).__name__, outcome)
        answered.inc()
        took.observe(seconds)

    def _state(self) -> State | None:
        """Return the state that follows from what is selected; None: as it is."""
        if self.machine.state in (State.NOT_AUTHENTICATED, State.LOGOUT):
            return None
        return State.AUTHENTICATED if self.selected is None else State.SELECTED

    async def _tell(self, answer: Answer) -> bool:
        """Tell what changed in the selected mailbox; return whether it is there. The command has
        succeeded, so a fault does not make it fail."""
        if self.selected is None or not self.tells_selected:
            return True
        try:
            if answer.syncs or self.selected.is_behind:
                await syncing.learn(self)
        except Unavailable as error:
            log.warning("changes not told", fault=error)
        except MailboxGone:
            return False
        syncing.tell(self, expunges=answer.tells_expunges)
        if self.notify is not None:
            try:
                await notifying.send_new(self, self.notify)
            except Unavailable as error:
                log.warning("new messages not sent", fault=error)
        return True

    def _failed(self, reply: bytes) -> bytes:
        """Tell what is known, but no expunges, before a NO or BAD."""
        if self.selected is not None and self.tells_selected:
            syncing.tell(self, expunges=False)
        return reply

    async def _refused(self, event: Refused) -> None:
        """Answer a command that is not valid, and discard what came of an APPEND."""
        handler = EVENT_HANDLERS.get(Refused)
        if handler is not None:
            await handler(self, event)
        self.out.send(event.reply)
        self._bad += 1
        _commands.labels("refused", "bad").inc()
        if self._bad >= (BAD_COMMANDS_BEFORE_LOGIN if self.account is None else BAD_COMMANDS):
            self.out.send(untagged("BYE", "too many bad commands"))
            self.end("bad commands")
