"""The filter policy of an alias: of its accounts, where they agree."""

from __future__ import annotations

from posthorn.adapters.postgres.directory.published_policies import alias_policies

MARK, JUNK = '{"spam_action": "mark"}', '{"spam_action": "junk"}'


def test_an_alias_has_the_policy_that_all_its_accounts_share() -> None:
    ends = {"a": MARK, "b": MARK, "c": JUNK, "d": None}
    above = {
        "a": ["one", "same", "mixed", "half"],
        "b": ["same"],
        "c": ["mixed"],
        "d": ["half", "silent"],
        "one": ["far", "loop"],
        "loop": ["one"],
        "mixed": ["above"],
    }
    found = alias_policies(ends, above)
    mark = {"spam_action": "mark"}
    assert {name: found.get(name, {}) for name in ("one", "same", "far", "loop")} == dict.fromkeys(
        ("one", "same", "far", "loop"), mark
    )
    assert not any(found.get(name) for name in ("mixed", "half", "silent", "above"))


def test_a_mesh_costs_what_its_edges_cost() -> None:
    levels, width = 30, 6
    above = {
        f"{level}.{place}": [f"{level + 1}.{other}" for other in range(width)]
        for level in range(levels)
        for place in range(width)
    }
    ends = {f"0.{place}": f'{{"junk_score": {place + 1}}}' for place in range(width)}
    assert alias_policies(ends, above) == {}  # 6 to the power of 30 paths
