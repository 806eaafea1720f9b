"""What ends a command, and the exit codes that say so to scripts."""

from __future__ import annotations

from posthorn_cli.client import ApiError, ClientError, Unreachable, UnsafeUrl

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
UNAVAILABLE = 5
CONFLICT = 6
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused or no valid key, 5 unavailable (try again later), "
    "6 conflict with what is there, 130 interrupted."
)

_BY_STATUS = {
    401: REFUSED,
    403: REFUSED,
    404: NOT_FOUND,
    409: CONFLICT,
    412: CONFLICT,
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
_HINTS = {
    401: "the API key is not valid: see `posthorn context --help`",
    429: "this was done too often for now: wait a little",
    503: "try again later; `posthorn doctor` and the log of the API name what does not answer",
}


class CommandError(Exception):
    """A command cannot go on; the message is for the person who typed it."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def usage(message: str) -> CommandError:
    """Say that the command was typed wrongly."""
    return CommandError(message, USAGE)


def exit_code(error: ClientError) -> int:
    """Return the exit code of a failure."""
    match error:
        case ApiError(status=status):
            return _BY_STATUS.get(status, FAILED)
        case Unreachable():
            return UNAVAILABLE
        case UnsafeUrl():
            return USAGE
    return FAILED


def lines_of(error: ClientError) -> list[str]:
    """Return what a request came to: one line, then one for each field that is wrong."""
    if not isinstance(error, ApiError):
        return [str(error)]
    if error.faults:
        return [error.title, *(f"  {fault.field}: {fault.message}" for fault in error.faults)]
    text = error.detail or error.title
    hint = _HINTS.get(error.status) if error.status != 503 or not error.detail else None
    return [f"{text} ({hint})" if hint else text]
