"""The check of a method's claims: whole, named once, and with options that its runs take."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdst_core.contracts import Claim
from kdst_core.errors import KdstError
from kdst_core.options import Given, build
from kdst_core.runs.setup import Setup, setup_of

METHOD, SEEDS = "method", "seeds"
"""Keys of a claim's options that are none of a run."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MEASURE = re.compile(r"[\w.*@]+( - [\w.*@]+)?")


def well_formed(chosen: Setup) -> None:
    """Every claim is whole, and the options of its quick and full runs are accepted."""
    claims = chosen.method.description.claims
    names = [claim.name for claim in claims]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"two claims are named {', '.join(sorted(twice))}"
    for claim in claims:
        _whole(claim)
        for setup, values in _sides(chosen, claim):
            _taken(claim, setup, values)


def _whole(claim: Claim) -> None:
    """A claim has a name of small letters, a sentence, a source, a measure and a finite effect."""
    where = f"claim {claim.name!r}"
    assert NAME.fullmatch(claim.name), f"{where}: use small letters, digits and single hyphens"
    assert claim.sentence.strip(), f"{where} has no sentence"
    assert claim.source.strip(), f"{where} has no source: section, table or figure"
    assert MEASURE.fullmatch(claim.measure), (
        f"{where}: the measure must be a metric or `a - b`, not {claim.measure!r}"
    )
    assert claim.better in ("higher", "lower"), f"{where}: better must be higher or lower"
    assert math.isfinite(claim.least), f"{where}: the smallest effect must be finite"
    for options in (claim.quick, claim.full):
        seeds = options.get(SEEDS, 1)
        assert type(seeds) is int, f"{where}: seeds must be a number"
        assert seeds > 0, f"{where}: seeds must be 1 or more"


def _sides(chosen: Setup, claim: Claim) -> Iterator[tuple[Setup, Mapping[str, Any]]]:
    """Yield the methods of a claim with the options of its quick and full runs; a rival that is not
    installed is left out."""
    for common in (claim.quick, claim.full):
        yield chosen, {**common, **claim.run}
        if claim.against is None:
            continue
        try:
            rival = setup_of(claim.against[METHOD]) if METHOD in claim.against else chosen
        except KdstError:
            continue
        flags = {item.flag for item in rival.items}
        shared = {k: v for k, v in common.items() if _flag(k) in flags}
        yield rival, {**shared, **claim.against}


def _taken(claim: Claim, setup: Setup, values: Mapping[str, Any]) -> None:
    """A method takes the options of a claim."""
    known = {item.flag for item in setup.items}
    options = {k: v for k, v in values.items() if k not in (METHOD, SEEDS)}
    unknown = [_flag(name) for name in options if _flag(name) not in known]
    who = setup.method.name
    assert not unknown, f"claim {claim.name!r}: {who} has no option {', '.join(unknown)}"
    given = {_flag(k): Given(v, f"claim {claim.name!r}", Path.cwd()) for k, v in options.items()}
    for section in setup.sections:
        try:
            build(section, given)
        except KdstError as e:
            raise AssertionError(f"claim {claim.name!r}: {e}") from e


def _flag(name: str) -> str:
    """Return the flag of an option that a claim names."""
    return "--" + name.replace("_", "-")
