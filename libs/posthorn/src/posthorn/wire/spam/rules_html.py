"""Rules on what HTML shows and hides, and on the form of the whole."""

from __future__ import annotations

import re

from posthorn.wire.spam.rule import Case, Rule

_FEW_CHARACTERS = 60
_MUCH_HIDDEN = 200
_EXAMINED_CHARACTERS = 20_000
_INVISIBLE = re.compile("[\u200b\u200c\u2060\u2062\u2063\ufeff\u00ad]")
_SPLIT_WORD = re.compile("[\u200b\u2060\u2062\u2063\ufeff\u00ad](?<=[a-zA-Z].)(?=[a-zA-Z])")
_FEE_WORDS = (
    "beneficiary",
    "next of kin",
    "million dollars",
    "million us dollars",
    "western union",
    "wire transfer of",
    "inheritance",
    "barrister",
    "lottery",
    "bitcoin wallet",
    "btc wallet",
    "cryptocurrency wallet",
)
_MANY_FEE_WORDS = 3
# what is looked for first, each with the number of words that have it in them
_FEE_PARTS = (
    ("wallet", 3),
    ("million ", 2),
    *((each, 1) for each in _FEE_WORDS if "wallet" not in each and "million " not in each),
)
_MANY_SPLIT = 5


def _image_only(case: Case) -> str | None:
    markup = case.facts.markup
    if markup is None or not markup.images or case.facts.plain_characters > _FEW_CHARACTERS:
        return None
    visible = "".join(markup.text.split())
    return f"{markup.images} images" if len(visible) < _FEW_CHARACTERS else None


def _hidden_text(case: Case) -> str | None:
    markup = case.facts.markup
    if markup is None or markup.hidden_characters < _MUCH_HIDDEN:
        return None
    return f"{markup.hidden_characters} letters"


def _split_words(case: Case) -> str | None:
    subject, text = case.facts.subject, case.facts.text[:_EXAMINED_CHARACTERS]
    if not subject.isascii() and _INVISIBLE.search(subject):
        return "in the subject"
    count = 0 if text.isascii() else len(_SPLIT_WORD.findall(text))
    return f"{count} times" if count >= _MANY_SPLIT else None


def _form(case: Case) -> str | None:
    return "" if case.facts.markup is not None and case.facts.markup.has_form else None


def _script(case: Case) -> str | None:
    return "" if case.facts.markup is not None and case.facts.markup.has_script else None


def _html_alone(case: Case) -> str | None:
    return "" if case.facts.markup is not None and not case.facts.plain_characters else None


def _advance_fee(case: Case) -> str | None:
    text = case.facts.text[:_EXAMINED_CHARACTERS].lower()
    possible = len(_FEE_WORDS)
    for part, words in _FEE_PARTS:
        if part not in text:
            possible -= words
            if possible < _MANY_FEE_WORDS:
                return None
    found = [each for each in _FEE_WORDS if each in text]
    return ", ".join(found) if len(found) >= _MANY_FEE_WORDS else None


def _incomplete(case: Case) -> str | None:
    return None if case.facts.is_complete else f"{case.facts.parts} parts"


RULES = (
    Rule(
        "HTML_IMAGE_ONLY", 2.0, "There is nothing to read but images.", _image_only, is_shape=True
    ),
    Rule(
        "HTML_HIDDEN_TEXT",
        1.5,
        "The HTML holds much text that no reader sees.",
        _hidden_text,
        is_shape=True,
    ),
    Rule(
        "WORDS_SPLIT",
        2.0,
        "Characters that cannot be seen split words or the subject.",
        _split_words,
        is_shape=True,
    ),
    Rule("HTML_FORM", 1.0, "The HTML holds a form.", _form),
    Rule("HTML_SCRIPT", 1.0, "The HTML holds a script.", _script),
    Rule("HTML_ALONE", 0.2, "There is HTML without plain text.", _html_alone, is_shape=True),
    Rule(
        "ADVANCE_FEE",
        2.5,
        "The text speaks of money to be had as advance-fee fraud does.",
        _advance_fee,
    ),
    Rule(
        "STRUCTURE_HUGE",
        1.5,
        "The message has more parts, levels or files than are examined.",
        _incomplete,
    ),
)
