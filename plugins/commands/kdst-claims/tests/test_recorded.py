"""The page of docs holds what was recorded, and what was recorded are claims that methods make."""

import importlib
from pathlib import Path

import pytest

from kdst_claims.markdown import page
from kdst_claims.verdicts import counts, read
from kdst_core.plugins import registry

ROOT = Path(__file__).parents[4]
RECORDED = ROOT / "docs/figures/claims.json"
COMMAND = "python -m kdst_claims.markdown docs/figures/claims.json > docs/claims.md"


def test_the_page_is_written_from_the_recorded_verdicts() -> None:
    written = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert written == page(read(RECORDED)), f"write it again: {COMMAND}"


def test_a_verdict_is_what_its_interval_says() -> None:
    for one in read(RECORDED)["claims"]:
        if one["effect"] is None:
            assert one["verdict"] in ("no result", "not tried")
            assert one["why"]
        elif one["low"] is not None:
            assert one["low"] <= one["effect"] <= one["high"]
            assert (one["low"] > one["least"]) == (one["verdict"] == "holds"), one["claim"]
            assert (one["high"] < one["least"]) == (one["verdict"] == "fails"), one["claim"]


def test_counts_are_those_of_the_claims() -> None:
    content = read(RECORDED)
    words = [one["verdict"] for one in content["claims"]]
    assert {w: n for w, n in content["counts"].items() if n} == {w: words.count(w) for w in words}
    assert counts([]) == dict.fromkeys(content["counts"], 0)


@pytest.mark.plugins
def test_what_was_recorded_are_claims_that_methods_make() -> None:
    made = {}
    for plugin in registry.discover():
        described = importlib.import_module(plugin.entry.module).describe()
        made |= {f"{plugin.name}.{claim.name}": claim for claim in described.claims}
    assert len(made) >= 30
    assert len({p.capability for p in registry.discover() if f"{p.name}." in " ".join(made)}) >= 5
    for one in read(RECORDED)["claims"]:
        claim = made[one["claim"]]
        for name in ("sentence", "source", "measure", "better", "least"):
            assert one[name] == getattr(claim, name), f"{one['claim']}: {name}"
        for name in ("known_against", "known_to_fail"):
            assert one[name] == getattr(claim, name), f"{one['claim']}: {name}"
