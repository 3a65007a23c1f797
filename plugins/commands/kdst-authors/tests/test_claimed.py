"""The check of claims: what is not whole, or names options that no run takes, is said in one line."""

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import frozen

from kdst_authors.claimed import well_formed
from kdst_core import option
from kdst_core.contracts import Claim
from kdst_core.options import Section, items

GOOD: dict[str, Any] = {
    "name": "above-norm",
    "sentence": "It is better.",
    "source": "table 1",
    "measure": "accuracy.mean - baseline.norm.accuracy.mean",
    "run": {"level": 2},
    "quick": {"images": 3, "seeds": 2},
}


@frozen
class Inputs:
    """Options of a bench."""

    images: int = option(5, "Images.", min=1)


@frozen
class Options:
    """Options of a method."""

    level: int = option(1, "A level.", min=0)


def method(*claims: Claim) -> Any:
    """Return a method with claims, and its bench's options."""
    sections = (Section("Input", "input", Inputs), Section("Options", "made-up", Options))
    description = SimpleNamespace(claims=claims)
    return SimpleNamespace(
        method=SimpleNamespace(name="made-up", description=description),
        sections=sections,
        items=[item for section in sections for item in items(section)],
    )


def test_claims_that_are_whole_pass() -> None:
    well_formed(method())
    well_formed(method(Claim(**GOOD), Claim(**{**GOOD, "name": "another", "against": {}})))
    elsewhere = {"method": "a-method-that-nobody-has"}
    well_formed(method(Claim(**{**GOOD, "against": elsewhere})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Above norm"}, "small letters"),
        ({"sentence": " "}, "no sentence"),
        ({"source": ""}, "no source"),
        ({"measure": "accuracy by eye"}, "must be a metric"),
        ({"better": "larger"}, "higher or lower"),
        ({"least": float("nan")}, "finite"),
        ({"quick": {"seeds": 0}}, "1 or more"),
        ({"run": {"levle": 2}}, "no option --levle"),
        ({"run": {"level": -1}}, "at least 0"),
        ({"full": {"images": 0}}, "at least 1"),
        ({"against": {"levle": 2}}, "no option --levle"),
    ],
)
def test_a_claim_that_is_not_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        well_formed(method(Claim(**{**GOOD, **change})))


def test_two_claims_of_one_name_are_refused() -> None:
    with pytest.raises(AssertionError, match="two claims are named above-norm"):
        well_formed(method(Claim(**GOOD), Claim(**GOOD)))
