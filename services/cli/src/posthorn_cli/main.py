"""The entry point: run a command, and turn what goes wrong into a line and an exit code."""

from __future__ import annotations

import os
import sys

from posthorn_cli.app import app
from posthorn_cli.client import ClientError
from posthorn_cli.faults import FAILED, INTERRUPTED, CommandError, exit_code, lines_of
from posthorn_cli.output import harmless
from posthorn_cli.settings import from_environment


def main() -> None:
    """Run what the command line says. No traceback is shown but with POSTHORN_DEBUG=1."""
    debug = from_environment().debug
    try:
        app(prog_name="posthorn")
    except (CommandError, ClientError) as error:
        if debug:
            raise
        _end(error.code if isinstance(error, CommandError) else exit_code(error), error)
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        _end(
            FAILED,
            CommandError(
                f"a fault of this program, {type(error).__name__}; POSTHORN_DEBUG=1 shows where"
            ),
        )


def _end(code: int, error: CommandError | ClientError) -> None:
    first, *rest = lines_of(error) if isinstance(error, ClientError) else [str(error)]
    for line in (f"posthorn: {first}", *rest):
        sys.stderr.write(harmless(line) + "\n")
    raise SystemExit(code) from None
