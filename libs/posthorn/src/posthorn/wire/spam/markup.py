"""What HTML shows and hides, read without building a tree.

The text is split at tags by one regular expression without backtracking; tags, links and depth of
hidden elements are bounded. It is no parser of HTML: it looks for what filters look for, and wrong
mark-up gives wrong facts, never an error.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

MOST_TAGS = 20_000
MOST_LINKS = 200
_LONGEST_LINK_TEXT = 300
_KEPT_ATTRIBUTES = 1000
_KEPT_CHARACTERS = 200
_TAG = re.compile(r"<(/?[a-zA-Z][a-zA-Z0-9:]{0,20})((?:[\s/][^<>]{0,3000})?)>")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ATTRIBUTE = re.compile(
    r"""\b(href|src|style|color|bgcolor|action|alt|width|height|hidden|size)"""
    r"""(?:\s{0,9}=\s{0,9}(?:"([^"]{0,2000})|'([^']{0,2000})|([^\s"'>]{1,2000})))?""",
    re.IGNORECASE,
)
_HIDING = re.compile(
    r"display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden|"
    r"font-size\s{0,3}:\s{0,3}[01](?:px|pt|em|%)?\s{0,3}(?:;|!|\Z)|"
    r"opacity\s{0,3}:\s{0,3}0(?:\.0\d{0,5})?\s{0,3}(?:;|!|\Z)|"
    r"(?:max-)?height\s{0,3}:\s{0,3}0(?:px)?\s{0,3}(?:;|!|\Z)",
    re.IGNORECASE,
)
_SILENT = frozenset({"style", "script", "title"})
_VOID = frozenset(
    {"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "embed", "wbr"}
)
_BREAKING = frozenset({"br", "p", "div", "td", "tr", "li", "table", "h1", "h2", "h3", "th", "ul"})


@dataclass(frozen=True, slots=True)
class HtmlLink:
    """A link: where it leads and what it shows."""

    target: str
    text: str


@dataclass(frozen=True, slots=True)
class Markup:
    """What a text of HTML holds."""

    text: str = ""
    """Visible text."""
    hidden_characters: int = 0
    """Letters and digits of text that no reader sees."""
    links: tuple[HtmlLink, ...] = ()
    images: int = 0
    """Images larger than a pixel."""
    has_form: bool = False
    has_script: bool = False
    flags: tuple[str, ...] = ()
    """Kinds of tags and attributes in use, for the Bayes filter."""


class _Reader:
    def __init__(self) -> None:
        self.shown: list[str] = []
        self.hidden = 0
        self.links: list[HtmlLink] = []
        self.images = 0
        self.flags: dict[str, None] = {}
        self._silent = ""  # the element whose text is none
        self._hider, self._depth = "", 0  # the element that hides, and how often it is open within
        self._target: str | None = None
        self._link_text: list[str] = []

    def text(self, piece: str) -> None:
        if self._silent or not piece:
            return
        if self._hider:
            # not the blanks that newsletters put behind their preview
            self.hidden += sum(map(str.isalnum, html.unescape(piece)))
            return
        self.shown.append(piece)
        if self._target is not None:
            self._link_text.append(piece)

    def tag(self, name: str, rest: str) -> None:
        is_end = name[0] == "/"
        name = (name[1:] if is_end else name).lower()
        if self._silent:
            if is_end and name == self._silent:
                self._silent = ""
            return
        if name in _BREAKING:
            self.shown.append(" ")
        if is_end:
            self._end(name)
            return
        self.flags[name] = None
        if name in _SILENT and not rest.endswith("/"):
            self._silent = name
            return
        if self._hider:
            self._depth += name == self._hider
            return
        attributes, hides = _attributes_of(rest) if rest else _NO_ATTRIBUTES
        if hides and name not in _VOID:
            self._hider, self._depth = name, 1
            self.flags["hidden"] = None
        if name == "img":
            self.images += not _is_pixel(attributes)
        elif name == "a" and "href" in attributes:
            self._close_link()
            self._target = html.unescape(attributes["href"]).strip()

    def _end(self, name: str) -> None:
        if name == self._hider:
            self._depth -= 1
            if self._depth == 0:
                self._hider = ""
        if name == "a":
            self._close_link()

    def _close_link(self) -> None:
        if self._target is not None and len(self.links) < MOST_LINKS:
            text = html.unescape("".join(self._link_text)[:_LONGEST_LINK_TEXT])
            self.links.append(HtmlLink(self._target, " ".join(text.split())))
        self._target, self._link_text = None, []

    def finish(self) -> Markup:
        self._close_link()
        return Markup(
            html.unescape("".join(self.shown)),
            self.hidden,
            tuple(self.links),
            self.images,
            "form" in self.flags,
            "script" in self.flags,
            tuple(self.flags)[:60],
        )


def read_markup(text: str) -> Markup:
    """Return what a text of HTML holds."""
    reader = _Reader()
    pieces = _TAG.split(_COMMENT.sub("", text), maxsplit=MOST_TAGS)
    reader.text(pieces[0])
    for place in range(1, len(pieces) - 2, 3):
        name, rest, after = pieces[place : place + 3]
        reader.tag(name, rest)
        if after:
            reader.text(after)
    return reader.finish()


type _Attributes = tuple[Mapping[str, str], bool]

_NO_ATTRIBUTES: _Attributes = ({}, False)


def _attributes_of(rest: str) -> _Attributes:
    """Return the attributes of a tag, and whether they hide it. Those of most tags are repeated
    through a message."""
    return _kept_attributes(rest) if len(rest) <= _KEPT_CHARACTERS else _attributes(rest)


def _attributes(rest: str) -> _Attributes:
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(rest[:3000]):
        found.setdefault(name.lower(), double or single or bare)
    return found, _hides(found)


_kept_attributes = lru_cache(_KEPT_ATTRIBUTES)(_attributes)


def _hides(attributes: Mapping[str, str]) -> bool:
    if "hidden" in attributes and not attributes["hidden"]:
        return True
    style = attributes.get("style", "")
    return bool(style) and _HIDING.search(style) is not None


def _is_pixel(attributes: Mapping[str, str]) -> bool:
    sizes = [attributes[name] for name in ("width", "height") if name in attributes]
    return bool(sizes) and any(each.strip("px ") in ("0", "1") for each in sizes)
