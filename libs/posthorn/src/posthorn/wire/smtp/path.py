"""The argument of MAIL and RCPT: a path and its parameters (RFC 5321 §4.1.2).

Rules:

- RFC 5321 demands angle brackets and no space around the path. Devices that cannot be changed omit
  the brackets or add spaces, so an address without brackets ends at the first blank, and blanks and
  tabs around a path are ignored.
- A bracket on one side only is refused, and so is anything after the path that is not a parameter:
  two programs might disagree on where the address ends.
- A source route is read and dropped (RFC 5321 §4.1.1.3, appendix C).
"""

from __future__ import annotations

import re

_PATH = re.compile(
    r"""[ \t]*
    (?:
      <
      (?:@[^@<>,:"\s]+(?:,@[^@<>,:"\s]+)*:)?            # source route
      (?P<mailbox>(?:"(?:[^"\\]|\\.)*+"|[^"<>])*+)
      >
    | (?P<bare>(?:"(?:[^"\\]|\\.)*+"|[^"<>\s])++)
    )
    (?P<parameters>[ \t].*)?\Z""",
    re.VERBOSE,
)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\U0010ffff]+))?\Z")


class PathError(ValueError):
    """The argument is not valid."""


def read_path(argument: str, keyword: str) -> tuple[str, dict[str, str | None]]:
    """Return the mailbox, empty for ``<>``, and the parameters by their names in upper case. Raises
    PathError.

    ``keyword`` is ``FROM:`` or ``TO:``.
    """
    if argument[: len(keyword)].upper() != keyword:
        raise PathError("the keyword is missing")
    found = _PATH.match(argument, len(keyword))
    if not found:
        raise PathError("no path")
    bare = found["bare"]
    if bare is not None and "@" not in bare and "=" in bare:
        raise PathError("a parameter where the path should be")
    parameters: dict[str, str | None] = {}
    for word in (found["parameters"] or "").split():
        parameter = _PARAMETER.match(word)
        if not parameter or parameter[1].upper() in parameters:
            raise PathError("no parameter")
        parameters[parameter[1].upper()] = parameter[2]
    return (bare if bare is not None else found["mailbox"].strip(" \t")), parameters
