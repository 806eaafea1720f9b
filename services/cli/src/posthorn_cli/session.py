"""One command's surroundings, and how a function becomes a command with the options that all
commands have."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import version
from itertools import islice
from typing import Annotated, Any, Concatenate, get_type_hints

import typer
from typer.core import TyperGroup

from posthorn_cli import contexts
from posthorn_cli.client import Client, every
from posthorn_cli.client.types import Page
from posthorn_cli.faults import CommandError, usage
from posthorn_cli.output import Column, Output
from posthorn_cli.settings import Settings, from_environment

DEFAULT_LIMIT = 100

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs.", rich_help_panel="Everywhere")
]
InContext = Annotated[
    str | None,
    typer.Option(
        "--context", metavar="NAME", help="The system to talk to.", rich_help_panel="Everywhere"
    ),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Items to show at most.")]
All = Annotated[bool, typer.Option("--all", "-a", help="Show all, however many there are.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(slots=True)
class Session:
    """What a command works with."""

    settings: Settings
    output: Output
    context: str | None = None
    _client: Client | None = None

    @property
    def api(self) -> Client:
        """The API of the context. Raises CommandError and UnsafeUrl."""
        if self._client is None:
            chosen = contexts.choose(self.context, self.settings)
            client = Client(
                chosen.url,
                chosen.secret(),
                ca_file=chosen.ca_file or self.settings.ca_file,
                agent=f"posthorn-cli/{version('posthorn-cli')}",
                on_managed=self._warn_of,
            )
            if client.is_exposed:
                self.output.note(
                    f"warning: {client.url} is not encrypted: anyone on the way can read the API key"
                )
            if warning := chosen.warning():
                self.output.note(warning)
            self._client = client
        return self._client

    def _warn_of(self, manager: str) -> None:
        self.output.note(
            f"warning: this is managed by {manager}: its next apply undoes the change. Change it there"
        )

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def list(
        self,
        pages: Callable[..., Page[Any]],
        columns: list[Column],
        limit: int,
        whole: bool,
        **filters: object,
    ) -> None:
        """Print a list, and say when there is more of it, and with the filter ``total`` how many there
        are. Filters that are None were not given."""
        filters = {name: value for name, value in filters.items() if value is not None}
        if filters.pop("total", False):
            number = pages(limit=1, total=True, **filters).get("total")
            self.output.note(f"{number} in total")
        found = every(pages, None if whole else limit + 1, **filters)
        shown = self.output.items(found if whole else islice(found, limit), columns)
        if not whole and shown == limit and next(found, None) is not None:
            self.output.note(
                f"there are more than these {limit}: --all shows all, --limit N more of them"
            )

    def ask(self, question: str, yes: bool) -> None:
        """Have the person confirm something. Raises CommandError when they do not, or cannot be
        asked."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise usage(f"{question} There is no terminal to ask on: give --yes to do it")
        if not typer.confirm(question, err=True):
            raise CommandError("not done")


@dataclass(frozen=True, slots=True)
class BeforeCommand:
    """The options that all commands have, given before the command's name."""

    as_json: bool = False
    context: str | None = None


before_command: ContextVar[BeforeCommand | None] = ContextVar("before_command", default=None)


@contextmanager
def _session(as_json: bool, context: str | None) -> Iterator[Session]:
    before = before_command.get() or BeforeCommand()
    session = Session(
        from_environment(), Output(as_json or before.as_json), context or before.context
    )
    try:
        yield session
    finally:
        session.close()


def command[**P](
    app: typer.Typer, name: str, options: Mapping[str, Any] | None = None
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Make a function a command of ``app``. It gets a session first; --json and --context are added
    to its options.

    ``options`` are further ones, annotations by name, for a function that takes ``**keywords``; one
    not given is None.
    """

    def make(
        function: Callable[Concatenate[Session, P], None],
    ) -> Callable[Concatenate[Session, P], None]:
        hints = get_type_hints(function, include_extras=True)
        _, *own = inspect.signature(function).parameters.values()
        parameters = [
            *(
                _option(each.name, hints[each.name], each.default)
                for each in own
                if each.kind is each.POSITIONAL_OR_KEYWORD
            ),
            *(_option(each, annotation, None) for each, annotation in (options or {}).items()),
            *(
                _option(each.name, hints[each.name], each.default)
                for each in own
                if each.kind is each.KEYWORD_ONLY
            ),
            _option("as_json", AsJson, False),
            _option("in_context", InContext, None),
        ]
        whole: Callable[..., None] = function

        @wraps(function)
        def run(*, as_json: bool, in_context: str | None, **given: Any) -> None:
            with _session(as_json, in_context) as session:
                whole(session, **given)

        del run.__wrapped__  # its parameters are others
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name)(run)
        return function

    return make


def _option(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


_MEANT = {
    "get": ("show",),
    "describe": ("show",),
    "view": ("show",),
    "ls": ("list",),
    "add": ("create", "set"),
    "new": ("create", "set"),
    "edit": ("set",),
    "update": ("set",),
    "change": ("set",),
    "rm": ("delete",),
    "remove": ("delete",),
}
"""What other programs call a command, and what it is called here."""


class _Commands(TyperGroup):
    """Commands that are found by the words of other programs: by likeness alone, `set` would be
    suggested for `get`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0] if args else ""
        meant = [name for name in _MEANT.get(word, ()) if name in self.commands]
        if meant and word not in self.commands:
            ctx.fail(f"No such command {word!r}. Did you mean {meant[0]!r}?")
        return super().resolve_command(ctx, args)


class Program(TyperGroup):
    """All commands; what they say of a value that is refused tells what would be right."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as refusal:
            refusal.message = _plain(refusal.message)
            raise


def _plain(message: str) -> str:
    """Return the text without the words of the library that checks values."""
    text = message.partition(", unable to ")[0]
    return text.replace("Input should be", "must be", 1)


def group(about: str) -> typer.Typer:
    """Make a group of commands."""
    return typer.Typer(cls=_Commands, help=about, no_args_is_help=True, rich_markup_mode="markdown")
