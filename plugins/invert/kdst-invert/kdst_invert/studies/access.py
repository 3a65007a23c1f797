"""What access to the embedder is worth: none, the right one, and vectors of another embedder."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve

from kdst_core.bench.contract import Outcome
from kdst_core.runs.rundir import Run
from kdst_invert.embedders.batches import embedded
from kdst_invert.embedders.encoder import Encoder, Pooling
from kdst_invert.loop import Attacker
from kdst_invert.measures.scores import HEADLINE, Scores
from kdst_invert.options import with_options
from kdst_invert.studies.common import FEW, attack, three, unseen
from kdst_invert.studies.target import originals_of, outcome

if TYPE_CHECKING:
    from kdst_invert.studies.target import StudyTarget

STEPS = 5
CASES = {
    "none": "no access: the likeliest first hypothesis, the embedder never asked",
    "right": "the embedder that made the vectors",
    "wrong": "vectors of another pooling of the same encoder",
}


def study(subject: "StudyTarget", attacker: Attacker, run: Run) -> Outcome:
    """Invert the same texts without asking, asking the right embedder, and from foreign vectors."""
    count = min(subject.count or FEW, len(subject.target.vectors))
    originals = originals_of(subject).cut(range(count))
    options = with_options(subject.options, steps=STEPS)
    vectors = subject.target.vectors[:count]
    right, costs = attack(attacker, "right", vectors, options, originals)
    found: dict[str, Mapping[str, Any]] = {}
    if hasattr(options, "budget"):
        alone = with_options(options, beam=1, steps=0, budget=0)
        blind = attacker.without_embedder()
        found["none"] = _row(*attack(blind, "none", vectors, alone, originals))
    found["right"] = _row(right, costs)
    other = _other(subject)
    if other is not None:
        foreign = embedded(other, originals.texts)
        scores, costs = attack(attacker, "wrong", foreign, options, originals)
        found["wrong"] = _row(scores, costs)
    metrics = {
        f"{case}.{name}": value[0]
        for case, row in found.items()
        for name, value in row["leakage"].items()
    }
    lines = [
        f"{CASES[case]}: exact {row['leakage']['exact'][0]:.2f}"
        f" ({row['leakage']['exact'][1]:.2f} to {row['leakage']['exact'][2]:.2f}),"
        f" token F1 {row['leakage']['token_f1'][0]:.2f}"
        for case, row in found.items()
    ]
    lines.append(unseen(count))
    table = {"cases": found, "labels": CASES, "attacked": count, "sentences": lines}
    return outcome(subject, run, table, metrics, lines)


def _row(scores: Scores, costs: Mapping[str, float]) -> dict[str, Any]:
    """Measures at the end; there is no cosine where the embedder was not asked."""
    kept = {n: scores.at(n) for n in scores.values if n in HEADLINE}
    return {"leakage": {n: three(found) for n, found in kept.items() if found.count}, **costs}


def _other(subject: "StudyTarget") -> Encoder | None:
    """The run's encoder with another pooling: vectors of the same size that the inverter never saw."""
    embed = subject.embed
    if not isinstance(embed, Encoder):
        return None
    pooling: Pooling = "mean" if embed.pooling == ("cls",) else "cls"
    dimension = embed.dimension // len(embed.pooling)
    if dimension != embed.dimension:
        return None
    return evolve(embed, name=f"{embed.name}, {pooling}", pooling=(pooling,))
