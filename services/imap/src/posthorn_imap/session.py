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

import structlog

from posthorn.ports.access import Proof
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
from posthorn_imap.handlers import EVENT_HANDLERS, HANDLERS
from posthorn_imap.outlet import Outlet
from posthorn_imap.selected import Selected

log = structlog.get_logger()


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
        self.tag = b""
        """Of the command under way, or of the IDLE that runs."""
        self.ending = "dropped"
        """How it ended, for the log."""
        self.busy = asyncio.Lock()
        """Held while a command is done, and while a client in IDLE is told what changed."""

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
        return self.context.limits.hidden | {name.upper() for name in mine}

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
                case Refused(reply) | Continue(reply):
                    if isinstance(event, Refused):
                        await self._refused(event)
                    self.out.send(reply)
                    self.out.flush()
                case Fatal(reply):
                    self.out.send(reply)
                    self.end("fatal")
                case _:
                    self.tag = getattr(event, "tag", self.tag)
                    await self._answer(self.tag, event)

    async def tell_now(self) -> None:
        """Tell a client in IDLE what changed; called by whoever hears of it."""
        async with self.busy:
            if self.selected is not None and self.machine.is_idling:
                try:
                    await syncing.sync(self, expunges=True)
                except Unavailable as error:
                    log.warning("changes not told", part=error.part, detail=str(error))
                except MailboxGone:
                    self.mailbox_gone()
                self.out.flush()

    def mailbox_gone(self) -> None:
        """End: the selected mailbox was deleted elsewhere."""
        self.out.send(untagged("BYE", "the selected mailbox was deleted"))
        self.end("mailbox deleted")

    def end(self, how: str) -> None:
        """Close after what is queued."""
        self.ending = how
        self.out.close()

    # inside

    async def _answer(self, tag: bytes, command: Command | Event) -> None:
        """Run the handler of a command or event; send the tagged reply, if it has one."""
        handler = HANDLERS.get(type(command)) or EVENT_HANDLERS[type(command)]
        try:
            answer = await handler(self, command)
            if answer is None:  # the event has no tagged reply, or the handler sent everything
                return
            await self._tell(answer)
            reply = tagged(tag, "OK", answer.words, answer.code)
        except No as error:
            reply = await self._failed(tagged(tag, "NO", error.words, error.code))
        except Bad as error:
            reply = await self._failed(tagged(tag, "BAD", str(error)))
        except Unavailable as error:
            log.warning(
                "command failed", command=type(command).__name__, part=error.part, detail=str(error)
            )
            words = "the mailbox cannot be reached at this moment, try again"
            reply = tagged(tag, "NO", words, b"UNAVAILABLE")
        except MailboxGone:
            self.mailbox_gone()
            return
        except Drop as error:
            self.out.send(untagged("BYE", str(error), b"UNAVAILABLE"))
            self.end("outcome unknown")
            return
        self.out.send(reply)
        self.machine.ready(self._state())

    def _state(self) -> State | None:
        """Return the state that follows from what is selected; None: as it is."""
        if self.machine.state in (State.NOT_AUTHENTICATED, State.LOGOUT):
            return None
        return State.AUTHENTICATED if self.selected is None else State.SELECTED

    async def _tell(self, answer: Answer) -> None:
        if self.selected is None:
            return
        if answer.syncs:
            await syncing.sync(self, expunges=answer.tells_expunges)
        else:
            syncing.tell(self, expunges=answer.tells_expunges)

    async def _failed(self, reply: bytes) -> bytes:
        """Tell what is known, but no expunges, before a NO or BAD."""
        if self.selected is not None:
            syncing.tell(self, expunges=False)
        return reply

    async def _refused(self, event: Refused) -> None:
        """Discard what came of an APPEND that is refused."""
        handler = EVENT_HANDLERS.get(Refused)
        if handler is not None:
            await handler(self, event)
