"""Attributes of the spans of a verdict and of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from posthorn.model.verdict import EngineState, Rule, Verdict
from posthorn.runtime import traces
from posthorn.wire.auth.results import Authentication
from posthorn_scan.engines.engine import EngineResult


def about_verdict(size: int) -> Callable[[Verdict], Mapping[str, traces.Value]]:
    """Return what tells a verdict on a message of ``size`` bytes."""

    def about(verdict: Verdict) -> Mapping[str, traces.Value]:
        return {
            traces.SIZE: size,
            traces.SCORE: verdict.score,
            traces.IS_COMPLETE: verdict.is_complete,
        }

    return about


def about_authentication(
    result: tuple[Authentication | None, EngineState],
) -> Mapping[str, traces.Value]:
    """Return the outcome of DMARC if it is known, and whether DNS answered in time."""
    found, state = result
    about: dict[str, traces.Value] = {traces.STATE: state.value}
    return about if found is None else about | {traces.DMARC: found.dmarc.outcome.value}


def about_rules(rules: Sequence[Rule]) -> Mapping[str, traces.Value]:
    """Return the number of rules that matched."""
    return {traces.RULES_MATCHED: len(rules)}


def about_engine(result: EngineResult) -> Mapping[str, traces.Value]:
    """Return the engine's name, and what came of asking it."""
    return {traces.ENGINE_NAME: result.engine.name, traces.STATE: result.engine.state.value}
