"""The commands of IMAP and their arguments (RFC 9051 §6, RFC 3501 §6 and extensions).

``GRAMMAR`` maps each verb to the parser of what follows it; a missing verb *is* the error. Nothing
here depends on the state but on what the client enabled.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable

from posthorn.wire.imap.commands import (
    Authenticate,
    Capability,
    Check,
    Close,
    Command,
    Compress,
    Copy,
    Create,
    Delete,
    Enable,
    Expunge,
    GetQuota,
    GetQuotaRoot,
    Id,
    Idle,
    Login,
    Logout,
    Move,
    Namespace,
    Noop,
    Rename,
    StartTls,
    Subscribe,
    UidBatches,
    Unselect,
    Unsubscribe,
)
from posthorn.wire.imap.grammar_fetch import parse_fetch, parse_store
from posthorn.wire.imap.grammar_list import (
    parse_list,
    parse_lsub,
    parse_select,
    parse_status,
    take_special_uses,
)
from posthorn.wire.imap.grammar_notify import parse_notify
from posthorn.wire.imap.grammar_search import parse_search, parse_sort, parse_thread
from posthorn.wire.imap.reader import BadCommand, Reader
from posthorn.wire.imap.sequence_set import LARGEST, SequenceSet

_MOST_ID_FIELDS = 30  # RFC 2971 §3.3
_ID_VALUE = 1024


def decode_base64(text: bytes) -> bytes:
    """Decode a response of SASL. Raises BadCommand."""
    try:
        return a2b_base64(text, strict_mode=True)
    except Base64Error:
        raise BadCommand("the response is not in base64") from None


def text_of(octets: bytes) -> str:
    """Decode a name or password; bytes that are not UTF-8 become lone surrogates."""
    return octets.decode("utf-8", "surrogateescape")


def _alone[C: Command](command: C) -> Callable[[Reader], C]:
    def parse(reader: Reader) -> C:
        reader.end()
        return command

    return parse


def _of_mailbox[C: Command](make: Callable[[str], C]) -> Callable[[Reader], C]:
    def parse(reader: Reader) -> C:
        reader.space()
        mailbox = reader.mailbox()
        reader.end()
        return make(mailbox)

    return parse


def _to_mailbox[C: Command](
    make: Callable[[SequenceSet, str, bool], C], *, by_uid: bool
) -> Callable[[Reader], C]:
    def parse(reader: Reader) -> C:
        reader.space()
        messages = reader.sequence_set()
        reader.space()
        mailbox = reader.mailbox()
        reader.end()
        return make(messages, mailbox, by_uid)

    return parse


def _id(reader: Reader) -> Id:
    reader.space()
    if reader.text[reader.at : reader.at + 3].upper() == b"NIL":
        reader.at += 3
        reader.end()
        return Id()

    def field() -> tuple[str, str | None]:
        name = reader.string()
        reader.space()
        value = reader.nstring()
        return _shown(name), None if value is None else _shown(value)

    fields = reader.items(field, may_be_empty=True)
    reader.end()
    return Id(tuple(fields[:_MOST_ID_FIELDS]))


def _shown(octets: bytes) -> str:
    text = octets[:_ID_VALUE].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text)


def _authenticate(reader: Reader) -> Authenticate:
    reader.space()
    mechanism = reader.word()
    initial = None
    if reader.take(b" ") and not reader.is_at_end():
        text, reader.at = reader.text[reader.at :].rstrip(b" "), len(reader.text)
        initial = b"" if text == b"=" else decode_base64(text)
    reader.end()
    return Authenticate(mechanism, initial)


def _login(reader: Reader) -> Login:
    reader.space()
    name = reader.astring()
    reader.space()
    password = reader.astring()
    reader.end()
    return Login(text_of(name), text_of(password))


def _enable(reader: Reader) -> Enable:
    names = []
    while not reader.is_at_end():
        reader.space()
        names.append(reader.word())
    if not names:
        raise BadCommand("ENABLE takes the names of capabilities")
    return Enable(tuple(dict.fromkeys(names)))


def _create(reader: Reader) -> Create:
    reader.space()
    mailbox = reader.mailbox().removesuffix("/")  # a/b/ is a/b (RFC 9051 §6.3.4)
    if not mailbox:
        raise BadCommand("[CANNOT] the mailbox name is empty", "NO")
    uses: tuple[str, ...] = ()
    if reader.take(b" ("):  # RFC 6154 §3
        if reader.word() != "USE":
            raise BadCommand("unknown parameter of CREATE")
        reader.space()
        uses = take_special_uses(reader)
        reader.expect(b")")
    reader.end()
    return Create(mailbox, uses)


def _rename(reader: Reader) -> Rename:
    reader.space()
    mailbox = reader.mailbox()
    reader.space()
    to = reader.mailbox().removesuffix("/")
    if not to:
        raise BadCommand("[CANNOT] the mailbox name is empty", "NO")
    reader.end()
    return Rename(mailbox, to)


def _get_quota(reader: Reader) -> GetQuota:
    reader.space()
    root = reader.astring()
    reader.end()
    return GetQuota(text_of(root))


def _compress(reader: Reader) -> Compress:
    reader.space()
    if reader.word() != "DEFLATE":
        raise BadCommand("unknown compression")
    reader.end()
    return Compress()


def _uid_expunge(reader: Reader) -> Expunge:
    reader.space()
    uids = reader.sequence_set()
    reader.end()
    return Expunge(uids)


def _uid_batches(reader: Reader) -> UidBatches:
    reader.space()
    size = reader.number(LARGEST, least=1)
    first, last = 1, None
    if reader.take(b" ") and not reader.is_at_end():
        first = last = reader.number(LARGEST, least=1)
        if reader.take(b":"):
            last = reader.number(LARGEST, least=1)
        first, last = min(first, last), max(first, last)
    reader.end()
    return UidBatches(size, first, last)


GRAMMAR: dict[str, Callable[[Reader], Command]] = {
    "CAPABILITY": _alone(Capability()),
    "NOOP": _alone(Noop()),
    "LOGOUT": _alone(Logout()),
    "ID": _id,
    "STARTTLS": _alone(StartTls()),
    "AUTHENTICATE": _authenticate,
    "LOGIN": _login,
    "ENABLE": _enable,
    "SELECT": lambda reader: parse_select(reader, read_only=False),
    "EXAMINE": lambda reader: parse_select(reader, read_only=True),
    "CREATE": _create,
    "DELETE": _of_mailbox(Delete),
    "RENAME": _rename,
    "SUBSCRIBE": _of_mailbox(Subscribe),
    "UNSUBSCRIBE": _of_mailbox(Unsubscribe),
    "LIST": parse_list,
    "LSUB": parse_lsub,
    "NAMESPACE": _alone(Namespace()),
    "STATUS": parse_status,
    "GETQUOTA": _get_quota,
    "GETQUOTAROOT": _of_mailbox(GetQuotaRoot),
    "IDLE": _alone(Idle()),
    "COMPRESS": _compress,
    "NOTIFY": parse_notify,
    "CHECK": _alone(Check()),
    "CLOSE": _alone(Close()),
    "UNSELECT": _alone(Unselect()),
    "EXPUNGE": _alone(Expunge()),
    "UID EXPUNGE": _uid_expunge,
    "SEARCH": lambda reader: parse_search(reader, by_uid=False),
    "UID SEARCH": lambda reader: parse_search(reader, by_uid=True),
    "SORT": lambda reader: parse_sort(reader, by_uid=False),
    "UID SORT": lambda reader: parse_sort(reader, by_uid=True),
    "THREAD": lambda reader: parse_thread(reader, by_uid=False),
    "UID THREAD": lambda reader: parse_thread(reader, by_uid=True),
    "UIDBATCHES": _uid_batches,
    "FETCH": lambda reader: parse_fetch(reader, by_uid=False),
    "UID FETCH": lambda reader: parse_fetch(reader, by_uid=True),
    "STORE": lambda reader: parse_store(reader, by_uid=False),
    "UID STORE": lambda reader: parse_store(reader, by_uid=True),
    "COPY": _to_mailbox(Copy, by_uid=False),
    "UID COPY": _to_mailbox(Copy, by_uid=True),
    "MOVE": _to_mailbox(Move, by_uid=False),
    "UID MOVE": _to_mailbox(Move, by_uid=True),
}
"""Verb to the parser of its arguments, which raises BadCommand."""
