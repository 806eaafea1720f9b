"""Verdicts as the command line writes them."""

from __future__ import annotations

from posthorn.model.verdict import Engine, EngineState, Rule, Verdict, encode_verdict
from posthorn.wire.auth.results import Authentication, Dmarc, Outcome, Spf
from posthorn_api.http.verdicts import FilingView, VerdictView
from posthorn_cli.verdicts import filing_text, scanned_detail, verdict_text

VERDICT = Verdict(
    1_800_000_000.0,
    Authentication(
        spf=(Spf(Outcome.PASS, "mailfrom", "a.test"), Spf(Outcome.NONE, "helo", "b.test")),
        dmarc=Dmarc(Outcome.FAIL, "a.test", reason="not aligned"),
    ),
    rules=(Rule("BAD", 4.5, "a \x1b[2J"), Rule("GOOD", -1.0)),
    engines=(Engine("builtin", EngineState.OK, 3), Engine("clamav", EngineState.DOWN, 0, "gone")),
    virus="Eicar",
    is_complete=False,
)


def test_a_verdict_is_told_in_words() -> None:
    view = VerdictView.of(encode_verdict(VERDICT))
    assert view is not None
    assert verdict_text(view.model_dump(mode="json")) == (
        "3.5 points; virus Eicar; incomplete: an engine did not judge the message;"
        " spf=pass a.test; dmarc=fail a.test (not aligned); +4.5 BAD (a �[2J); -1 GOOD;"
        " builtin ok, 3 ms; clamav down, 0 ms (gone)"
    )
    assert verdict_text(None) == "not scanned"


def test_what_cannot_be_read_is_not_shown() -> None:
    assert VerdictView.of({"filed": {}}) is None
    assert VerdictView.of(None) is None
    assert FilingView.of(["junk", "score"]) is None
    shown = FilingView.of(["junk", "score", 7, "7 points"])
    assert shown is not None
    assert filing_text(shown.model_dump()) == "junk: score, 7 points"
    assert filing_text(None) == "-"


def test_the_trace_tells_a_verdict_in_short() -> None:
    detail = encode_verdict(VERDICT) | {"score": 3.5}
    assert scanned_detail(detail) == {
        "score": 3.5,
        "virus": "Eicar",
        "spf": ["pass"],
        "dkim": [],
        "dmarc": ["fail"],
        "arc": [],
        "rules": ["BAD:+4.5", "GOOD:-1"],
        "engines": ["builtin:ok:3ms", "clamav:down:0ms"],
    }
    assert scanned_detail({})["rules"] == []
