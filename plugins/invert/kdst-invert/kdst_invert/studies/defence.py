"""Retrieval against leakage for defences of a store, attackers trained clean and adaptive."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.bench import Outcome
from kdst_core.contracts import Training
from kdst_core.rundir import Run
from kdst_invert import retrieval
from kdst_invert.attack import Attacker
from kdst_invert.defences import (
    Defence,
    Dropping,
    Gaussian,
    Laplace,
    Rotation,
    Rounding,
    learned_filling,
    learned_rotation,
    unit,
)
from kdst_invert.measures import interval
from kdst_invert.scores import HEADLINE
from kdst_invert.source import embedded
from kdst_invert.studies.common import EPOCHS, FEW, attack, changed, originals_of, outcome, three
from kdst_invert.studies.sentences import at_one_hundredth, pairs, protects
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from kdst_invert.prepared import PreparedInvert

LAMBDAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1)
"""Strengths of Gaussian noise; λ is per coordinate, relative to the mean length of the vectors."""
OTHERS: tuple[Defence, ...] = (
    Laplace(0.01),
    Laplace(0.03),
    Rounding(8),
    Rounding(4),
    Rounding(2),
    Dropping(0.5),
    Dropping(0.75),
    Dropping(0.9),
    Rotation(),
)
BEAM, STEPS = 2, 2
ADAPTIVE = "adaptive"
LEARNED = ("rotation", "dropping", "rounding")
"""Defences that are undone by a linear map from known pairs; noise needs a trained attacker."""
BLURRED = 0.02
"""Deviation a coordinate from which on an attacker trained with noise reads more than another: between
λ = .01, where he reads less, and .03, where he does not."""
TRAINED_ON = 4000
"""Notes that the adaptive attacker is trained on."""


@frozen
class Stage:
    """What every attack of the study shares."""

    prepared: "PreparedInvert"
    attacker: Attacker
    run: Run
    originals: Originals
    queries: retrieval.Queries
    rows: list[dict[str, Any]] = field(factory=list)

    @property
    def vectors(self) -> Tensor:
        """The store without a defence."""
        return self.prepared.source.vectors

    @property
    def attacked(self) -> int:
        """Rows of the store that are attacked."""
        return min(self.prepared.inputs.count or FEW, len(self.vectors))


def study(prepared: "PreparedInvert", attacker: Attacker, run: Run) -> Outcome:
    """Attack the store under every defence, clean and adaptive, and search it with its own queries."""
    originals = originals_of(prepared)
    stage = Stage(prepared, attacker, run, originals, asked(prepared, originals))
    defences: list[Defence] = [*map(Gaussian, LAMBDAS), *OTHERS]
    with run.progress(len(defences), "clean attacker") as advance:
        for defence in defences:
            _measure(stage, defence, "clean", stage.prepared.job.options, None)
            advance(1)
    _adaptive(stage, defences)
    table = {
        "rows": stage.rows,
        "attacked": stage.attacked,
        "store": len(stage.vectors),
        "graded": stage.queries.relevance is not None,
        "sentences": [
            *pairs(len(stage.vectors) - stage.attacked),
            *at_one_hundredth(stage.rows),
            *protects(stage.rows),
        ],
    }
    metrics = dict(_metrics(stage.rows))
    return outcome(prepared, run, table, metrics, table["sentences"])  # type: ignore[arg-type]


def asked(prepared: "PreparedInvert", originals: Originals) -> retrieval.Queries:
    """Queries of the store: each note in other words, or the first half of each text."""
    embed, source = prepared.embed, prepared.source
    if source.notes:
        from kdst_invert.notes.generate import rewritten

        texts = [n.text for n in rewritten("held-out", len(originals.texts), prepared.job.seed)]
        relevance = retrieval.graded(originals.fields)
    else:
        halves = [text.split() for text in originals.texts]
        texts = [" ".join(words[: -(-len(words) // 2)]) for words in halves]
        relevance = None
    return retrieval.Queries(embedded(embed, texts), torch.arange(len(texts)), relevance)


def _measure(
    stage: Stage, defence: Defence, attacker: str, options: Any, turned: Tensor | None
) -> None:
    """One defence against one attacker: leakage and retrieval. turned: map that undoes it."""
    generator = torch.Generator().manual_seed(stage.run.seed + 1)
    store = defence.protect(stage.vectors, generator)
    seen = store if turned is None else store @ turned
    if stage.prepared.embed.normalised:
        seen, store = unit(seen), unit(store)
    name = f"{attacker}-{defence.name}-{defence.strength}".replace(" ", "").replace("%", "")
    narrow = changed(options, beam=BEAM, steps=STEPS)
    shown = stage.originals.cut(range(stage.attacked))
    scores, costs = attack(stage.attacker, name, seen[: stage.attacked], narrow, shown)
    found = retrieval.quality(
        store, stage.vectors, defence.query(stage.queries.vectors), stage.queries
    )
    kept = [n for n in scores.values if n in HEADLINE]
    stage.rows.append(
        {
            "defence": defence.name,
            "strength": defence.strength,
            "scale": getattr(defence, "scale", None),
            "attacker": attacker,
            "leakage": {n: three(scores.at(n)) for n in kept},
            "retrieval": {n: three(interval(v.numpy())) for n, v in found.items()},
            **costs,
        }
    )


def _adaptive(stage: Stage, defences: Sequence[Defence]) -> None:
    """The attacker who knows the defence: trained with noise, or with known texts of the store.

    What he cannot undo of dropping and rounding is noise to him, so where much is left he reads by the
    networks that were trained with noise.
    """
    training = _training(stage)
    options = stage.prepared.job.options
    if training is not None:
        _train(stage, training)
        options = changed(options, model=str(training.directory))
    with stage.run.progress(len(defences), "adaptive attacker") as advance:
        for defence in defences:
            if defence.name in LEARNED:
                undone, left = _learned(stage, defence)
                reader = options if left > BLURRED else stage.prepared.job.options
                if undone is not None:
                    _measure(stage, defence, ADAPTIVE, reader, undone)
            elif training is not None:
                _measure(stage, defence, ADAPTIVE, options, None)
            advance(1)


def _learned(stage: Stage, defence: Defence) -> tuple[Tensor | None, float]:
    """What undoes a defence, learned from the rows that are not attacked, whose texts are known, and
    the deviation that it leaves a coordinate.

    None where all rows are attacked: nothing can be learned without known pairs.
    """
    known = stage.vectors[stage.attacked :]
    if not len(known):
        return None, 0.0
    stored = defence.protect(known, torch.Generator())
    if defence.name == "rotation":
        return learned_rotation(known, stored), 0.0
    return learned_filling(known, stored)


def _training(stage: Stage) -> Training | None:
    """What the adaptive attacker learns from; None where there are too few other texts."""
    if stage.prepared.source.notes:
        from kdst_invert.notes.generate import notes

        texts = [n.text for n in notes("train", TRAINED_ON)]
    else:
        texts = list(stage.originals.texts[stage.attacked :])
    if len(texts) < 200:
        return None
    return Training(texts, stage.run.artifacts / "adaptive", noise=max(LAMBDAS))


def _train(stage: Stage, training: Training) -> None:
    """Go on from the clean attacker's weights with noise, once."""
    options = stage.prepared.job.options
    start = changed(options, base=getattr(options, "model", None), **EPOCHS)
    narrow = changed(start, beam=1, steps=0)
    one = stage.originals.cut(range(1))
    attack(stage.attacker, "adaptive-training", stage.vectors[:1], narrow, one, training)


def _metrics(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Flat metrics: defence, strength, attacker, measure."""
    for row in rows:
        strength = row["strength"].removeprefix("λ = ").replace("%", "").replace(" ", "-")
        for name, found in row["leakage"].items():
            yield f"{row['defence']}.{strength}.{row['attacker']}.{name}", found[0]
        for name, found in row["retrieval"].items():
            yield f"{row['defence']}.{strength}.{name}", found[0]
