"""`posthorn me`: what the holder of an account does for themselves."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from posthorn_cli.commands import account, app_password, quarantine, transfer
from posthorn_cli.faults import CommandError
from posthorn_cli.output import Column, size
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import (
    PasswordFile,
    end_of,
    given,
    opened,
    secret,
    start_of,
)

me = group("Your own account: log in first, with `posthorn login`.\n\nExample: `posthorn me show`")
COLUMNS = [
    Column("kind"),
    Column("name"),
    Column("role"),
    Column("expires_at", "expires"),
    Column("version"),
]
_READS = [Column("at"), Column("actor_name", "who"), Column("action"), Column("details")]
_DELETED = [Column("id"), Column("deleted_at"), Column("from"), Column("subject", prose=True)]
_MAILBOXES = [
    Column("name"),
    Column("messages"),
    Column("unseen"),
    Column("size_bytes", "size", size),
]
_VACATION = [
    Column("enabled"),
    Column("starts_at", "from"),
    Column("ends_at", "until"),
    Column("subject"),
    Column("text", prose=True),
]
_Number = Annotated[str, typer.Argument(metavar="ID", help="The id, from the list.")]


@command(me, "show")
def show_me(session: Session) -> None:
    """Show who you are to the API, and what you may do (with --json).

    Example: `posthorn me show`
    """
    session.output.item(session.api.get_me(), COLUMNS)


@command(me, "password")
def change_password(
    session: Session,
    *,
    current_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read the present password from a file's first line."),
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Change your password. All sessions end, also this one: log in again.

    Example: `posthorn me password`
    """
    current = secret(session.output, "present password", current_file)
    new = secret(session.output, "new password", password_file, confirm=True)
    session.api.change_my_password({"current_password": current, "password": new})
    session.output.done("the password is changed", {"changed": True})


@command(me, "sign-ins")
def list_sign_ins(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List who signed in to your account, or tried to, within 30 days.

    Example: `posthorn me sign-ins`
    """
    session.list(session.api.list_my_sign_ins, account.SIGN_IN_COLUMNS, limit, whole)


@command(me, "reads")
def list_reads(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List who read your mail through the API.

    Example: `posthorn me reads`
    """
    session.list(session.api.list_my_reads, _READS, limit, whole)


@command(me, "app-passwords")
def list_app_passwords(
    session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False
) -> None:
    """List your app passwords, with what each was used for last.

    Example: `posthorn me app-passwords`
    """
    session.list(session.api.list_my_app_passwords, app_password.COLUMNS, limit, whole)


@command(me, "create-app-password")
def create_app_password(
    session: Session,
    name: Annotated[str, typer.Argument(help="What it is for, such as `phone`.")],
    *,
    scope: Annotated[
        list[app_password.Scope] | None,
        typer.Option(help="What it is good for; without it, for all."),
    ] = None,
    expires: app_password.Expires = None,
    networks: app_password.Networks = None,
) -> None:
    """Create an app password. It is printed this once; into a pipe, only the password.

    Example: `posthorn me create-app-password phone --scope imap --expires 90d`
    """
    body = app_password.creation(name, scope, expires, networks)
    made = session.api.create_my_app_password(body)
    session.output.once(cast("dict[str, Any]", made), "password", app_password.COLUMNS)


@command(me, "delete-app-password")
def delete_app_password(session: Session, number: _Number, *, yes: Yes = False) -> None:
    """Delete one of your app passwords. It is refused from then on.

    Example: `posthorn me delete-app-password 0198c1d2-…`
    """
    session.ask("Delete this app password?", yes)
    session.api.delete_my_app_password(number)
    session.output.deleted("app password", number)


@command(me, "client-settings")
def show_client_settings(
    session: Session,
    *,
    apple: Annotated[
        bool, typer.Option(help="Write a configuration profile for iOS and macOS to stdout.")
    ] = False,
) -> None:
    """Show what to set up a mail client with.

    Example: `posthorn me client-settings --apple > mail.mobileconfig`
    """
    if apple:
        got = session.api.request("GET", "/v1/me/client-settings", query={"format": "apple"})
        session.output.write([got.content])
        return
    settings = session.api.get_my_client_settings()
    columns = [Column("protocol"), Column("host"), Column("port"), Column("security")]
    session.output.note(f"log in as {settings['username']}")
    session.output.items(settings["servers"], columns)


@command(me, "qr-code")
def create_set_up_code(
    session: Session,
    *,
    name: Annotated[str, typer.Option(help="Name of the app password.")] = "phone",
    display_name: Annotated[str, typer.Option(help="Your name beside your address.")] = "",
    expires: app_password.Expires = None,
) -> None:
    """Create the text of a QR code that sets up Thunderbird on Android, with a new app password.

    Example: `posthorn me qr-code | qrencode -l L -t UTF8`
    """
    body: dict[str, Any] = {"name": name, "display_name": display_name}
    if expires is not None:
        body["expires_at"] = end_of(expires)
    made = session.api.create_my_set_up_code(cast("Any", body))
    columns = [Column("payload"), Column("app_password")]
    session.output.once(cast("dict[str, Any]", made), "payload", columns)


@command(me, "mailboxes")
def list_mailboxes(session: Session) -> None:
    """List your mailboxes.

    Example: `posthorn me mailboxes`
    """
    session.output.items(session.api.list_my_mailboxes()["items"], _MAILBOXES)


@command(me, "export")
def export_mail(
    session: Session,
    *,
    form: transfer.Form = transfer.Format.MBOX,
    mailbox: transfer.OneMailbox = None,
    to: transfer.To = "-",
) -> None:
    """Write your mail to a file. The file is there when it is whole.

    Example: `posthorn me export --format maildir -o mail.tar`
    """
    pieces = session.api.export_my_mail(format_=form.value, mailbox=mailbox)
    transfer.write_mail(session, "your mail", pieces, to)


@command(me, "deleted")
def list_deleted(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List your deleted messages that can be brought back.

    Example: `posthorn me deleted`
    """

    def pages(**page: Any) -> Any:
        found = session.api.list_my_deleted_messages(**page)
        flat = [each["message"] | {"deleted_at": each["deleted_at"]} for each in found["items"]]
        return {"items": flat, "next_cursor": found["next_cursor"]}

    session.list(pages, _DELETED, limit, whole)


@command(me, "undelete")
def undelete(session: Session, number: _Number) -> None:
    """Bring a deleted message back.

    Example: `posthorn me undelete 0198c1d2-…`
    """
    session.output.item(session.api.undelete_my_message(number), [Column("id"), Column("mailbox")])


@command(me, "quarantine")
def list_quarantine(session: Session, *, limit: Limit = DEFAULT_LIMIT, whole: All = False) -> None:
    """List messages that were withheld from you.

    Example: `posthorn me quarantine`
    """
    session.list(session.api.list_my_quarantine, quarantine.COLUMNS, limit, whole)


@command(me, "release")
def release(session: Session, number: _Number) -> None:
    """Have a message that was withheld delivered to your inbox.

    Example: `posthorn me release 0198c1d2-…`
    """
    session.output.item(session.api.release_my_quarantined(number), quarantine.COLUMNS)


@command(me, "vacation")
def show_vacation(session: Session) -> None:
    """Show your automatic reply.

    Example: `posthorn me vacation`
    """
    session.output.item(session.api.get_my_vacation(), _VACATION)


@command(me, "set-vacation")
def set_vacation(
    session: Session,
    *,
    subject: Annotated[str | None, typer.Option(help="Subject of the replies.")] = None,
    text_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read the text from this file; `-`: from stdin."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="When to begin: 2036-01-31T00:00:00Z.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="SPAN|TIME", help="When to end: 14d, or a time.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Reply to nobody.")] = False,
) -> None:
    """Set your automatic reply; what is not named stays, but the times, which are set anew.

    Example: `posthorn me set-vacation --subject Away --text-file away.txt --until 14d`
    """
    former = session.api.get_my_vacation()
    text = former["text"]
    if text_file is not None:
        with opened(text_file) as stream:
            text = stream.read().decode()
    body: dict[str, Any] = {
        "enabled": not off,
        "subject": former["subject"] if subject is None else subject,
        "text": text,
    }
    if not body["subject"] or not text:
        raise CommandError("a reply needs --subject and --text-file")
    body |= given(starts_at=since and start_of(since), ends_at=until and end_of(until))
    session.output.item(session.api.set_my_vacation(cast("Any", body)), _VACATION)


_FORWARDS = [Column("address"), Column("state")]


@command(me, "forwards")
def show_forwards(session: Session) -> None:
    """Show where your mail is forwarded to.

    Example: `posthorn me forwards`
    """
    _show_forwards(session, session.api.get_my_forwards())


@command(me, "set-forwards")
def set_forwards(
    session: Session,
    targets: Annotated[list[str], typer.Argument(help="Addresses elsewhere.")],
    *,
    no_copy: Annotated[
        bool, typer.Option("--no-copy", help="Do not deliver the mail here too.")
    ] = False,
) -> None:
    """Forward your mail to these addresses, in place of those before. Your domain must permit it.

    Example: `posthorn me set-forwards carol@example.org`
    """
    body: dict[str, Any] = {"targets": targets, "keep_copy": not no_copy}
    _show_forwards(session, session.api.set_my_forwards(cast("Any", body)))


@command(me, "delete-forwards")
def delete_forwards(session: Session) -> None:
    """Forward your mail no more.

    Example: `posthorn me delete-forwards`
    """
    session.api.delete_my_forwards()
    session.output.deleted("forwards", "of your mail")


def _show_forwards(session: Session, found: Any) -> None:
    if session.output.as_json:
        session.output.json(found)
        return
    session.output.items(found["targets"], _FORWARDS)
    if found["targets"] and not found["keep_copy"]:
        session.output.note("no copy is delivered here")
    if not found["permitted"]:
        session.output.note("your domain does not permit forwards")
