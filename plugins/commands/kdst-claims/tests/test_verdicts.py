"""Verdicts over many worlds: effects that were planted in synthetic runs are found for what they are."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdst_batch.plan import Case
from kdst_claims.plan import Trial
from kdst_claims.verdicts import judge
from kdst_core.contracts import Claim
from kdst_core.runs.result import SCHEMA

WORLDS, SEEDS, PARTS = 20, 4, 8
PLANTED = {"true": (3.0, "holds"), "false": (-3.0, "fails"), "tiny": (0.05, "undecided")}
"""What is added to one side's numbers, of a deviation of 1, and the verdict that it must get."""
LEAST = 0.05
SETUP: Any = SimpleNamespace(
    method=SimpleNamespace(name="made-up"), bench=object(), items=[], sections=(None,)
)


def run(place: Path, seed: int, added: float) -> Case:
    """Return a finished run whose numbers are drawn around a mean."""
    draw = random.Random(f"{place} {seed}").gauss
    metrics = {f"part.{n}": added + draw(0, 1) for n in range(PARTS)}
    directory = place / str(seed)
    directory.mkdir(parents=True)
    result = {
        "schema": SCHEMA,
        "method": "made-up",
        "capability": "invert",
        "plugin": "kdst-made-up",
        "plugin_version": "1.0",
        "core_version": "0.1.0",
        "seed": seed,
        "device": "cpu",
        "options": {},
        "input": {},
        "seconds": 1.0,
        "metrics": metrics,
        "artifacts": {},
        "warnings": [],
        "command": "kdst run made-up",
    }
    (directory / "result.json").write_text(json.dumps(result))
    entrant: Any = SimpleNamespace(label="made-up")
    return Case(entrant, seed, {}, directory)


def trial(name: str, added: float) -> Trial:
    """Return the trial of a claim, in the folder that is the working directory."""
    claim = Claim(
        name=name, sentence=name, source="section 1", measure="part.*", against={}, least=LEAST
    )
    sides = [
        tuple(run(Path(name, side), seed, more) for seed in range(SEEDS))
        for side, more in (("ours", added), ("theirs", 0.0))
    ]
    return Trial(SETUP, claim, *sides)


def test_planted_effects_get_their_verdicts_nineteen_times_of_twenty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = dict.fromkeys(PLANTED, 0)
    for world in range(WORLDS):
        place = tmp_path / str(world)
        place.mkdir()
        monkeypatch.chdir(place)
        trials = [trial(f"{name}-{world}", added) for name, (added, _) in PLANTED.items()]
        for one, (name, (_, wanted)) in zip(
            judge(trials, [""] * len(trials), {}), PLANTED.items(), strict=True
        ):
            right[name] += one.verdict == wanted
            assert (one.runs, one.seconds) == (2 * SEEDS, 2.0 * SEEDS)
    assert min(right.values()) >= 19, right


def test_many_claims_without_effect_seldom_get_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of forty, each at the least effect, two would be decided without Holm's correction."""
    monkeypatch.chdir(tmp_path)
    found = judge([trial(str(n), LEAST) for n in range(40)], [""] * 40, {})
    assert [v.verdict for v in found] == ["undecided"] * 40
