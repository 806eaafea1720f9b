"""Rules on sender authentication (RFC 7208, RFC 6376, RFC 9989) and on where the client comes
from.

Points are low: what a domain's DMARC policy asks for is applied by the recipients' policies
(``model/filter_policy.py``), not by points.
"""

from __future__ import annotations

from posthorn.wire.auth.results import Outcome, Spf
from posthorn.wire.spam.rule import Case, Rule


def _spf(case: Case) -> Spf | None:
    """Return the result that counts: of MAIL FROM, or without one of HELO."""
    return case.authentication.spf[-1] if case.authentication.spf else None


def _spf_is(case: Case, *outcomes: Outcome) -> str | None:
    found = _spf(case)
    return found.domain if found is not None and found.outcome in outcomes else None


def _spf_fail(case: Case) -> str | None:
    return _spf_is(case, Outcome.FAIL)


def _spf_softfail(case: Case) -> str | None:
    return _spf_is(case, Outcome.SOFTFAIL)


def _spf_pass(case: Case) -> str | None:
    return _spf_is(case, Outcome.PASS)


def _spf_error(case: Case) -> str | None:
    return _spf_is(case, Outcome.PERMERROR)


def _dkim_pass(case: Case) -> str | None:
    passed = [each.domain for each in case.authentication.dkim if each.outcome is Outcome.PASS]
    return ", ".join(dict.fromkeys(passed)) if passed else None


def _dkim_fail(case: Case) -> str | None:
    """No signature passes and one fails that is not of a test (RFC 6376 §6.1)."""
    dkim = case.authentication.dkim
    wrong = (Outcome.FAIL, Outcome.PERMERROR, Outcome.POLICY)
    if any(each.outcome in (Outcome.PASS, Outcome.TEMPERROR) for each in dkim):
        return None
    found = [each for each in dkim if each.outcome in wrong and not each.is_testing]
    return f"{found[0].domain}: {found[0].reason}" if found else None


def _dmarc_fail(case: Case) -> str | None:
    dmarc = case.authentication.dmarc
    return dmarc.domain if dmarc.outcome is Outcome.FAIL else None


def _dmarc_pass(case: Case) -> str | None:
    dmarc = case.authentication.dmarc
    return dmarc.domain if dmarc.outcome is Outcome.PASS else None


def _unauthenticated(case: Case) -> str | None:
    """Only if SPF was asked: otherwise nothing is known."""
    found = case.authentication
    silent = (Outcome.NONE, Outcome.NEUTRAL)
    if not found.spf or any(each.outcome not in silent for each in found.spf) or found.dkim:
        return None
    return found.dmarc.domain


def _iprev_fail(case: Case) -> str | None:
    fails = case.authentication.iprev.outcome in (Outcome.FAIL, Outcome.PERMERROR)
    return case.client if fails and not case.is_internal else None


RULES = (
    Rule(
        "SPF_FAIL",
        2.0,
        "SPF of the reverse-path's domain says that the client may not send for it.",
        _spf_fail,
    ),
    Rule(
        "SPF_SOFTFAIL",
        0.7,
        "SPF of the reverse-path's domain says that the client probably may not send for it.",
        _spf_softfail,
    ),
    Rule(
        "SPF_PERMERROR",
        0.3,
        "The SPF record of the reverse-path's domain is not valid.",
        _spf_error,
    ),
    Rule(
        "SPF_PASS", -0.1, "SPF permits the client to send for the reverse-path's domain.", _spf_pass
    ),
    Rule("DKIM_FAIL", 0.7, "No DKIM signature passes, and at least one fails.", _dkim_fail),
    Rule("DKIM_PASS", -0.1, "A DKIM signature passes, of whatever domain.", _dkim_pass),
    Rule(
        "DMARC_FAIL",
        1.5,
        "Neither SPF nor DKIM shows the author's domain, which publishes DMARC.",
        _dmarc_fail,
    ),
    Rule(
        "DMARC_PASS",
        -0.4,
        "SPF or DKIM shows the author's domain, which publishes DMARC.",
        _dmarc_pass,
    ),
    Rule(
        "UNAUTHENTICATED",
        0.8,
        "The domain publishes no SPF and the message bears no DKIM signature.",
        _unauthenticated,
    ),
    Rule("IPREV_FAIL", 1.2, "The client's address has no name that leads back to it.", _iprev_fail),
)
