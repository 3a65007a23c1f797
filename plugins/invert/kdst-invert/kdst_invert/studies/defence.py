"""Retrieval against leakage for defences of a store, attackers trained clean and adaptive."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve

from kdst_core.bench.contract import Outcome
from kdst_core.runs.rundir import Run
from kdst_invert.defences.defence import Defence
from kdst_invert.defences.lossy import Dropping, Rounding
from kdst_invert.defences.noise import Gaussian, Laplace, Private
from kdst_invert.defences.rotation import Rotation
from kdst_invert.embedders.batches import embedded
from kdst_invert.loop import Attacker
from kdst_invert.measures import retrieval
from kdst_invert.measures.chance import above, by_chance
from kdst_invert.measures.recovery import interval, mean
from kdst_invert.measures.scores import HEADLINE, final_texts
from kdst_invert.options import with_options
from kdst_invert.studies import curve, grammar, rewritten
from kdst_invert.studies.adaptive import (
    COMPARED,
    Known,
    Undoing,
    known_of,
    protected,
    training_of,
)
from kdst_invert.studies.common import EPOCHS, attack, plain, three
from kdst_invert.studies.sentences import (
    accounted,
    by_grammar,
    by_rewriting,
    on_noise,
    pairs,
    power,
)
from kdst_invert.studies.stage import Stage
from kdst_invert.studies.target import originals_of, outcome
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from kdst_invert.studies.target import StudyTarget

LAMBDAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1)
"""Strengths of Gaussian noise; λ is per coordinate, relative to the mean length of the vectors."""
OTHERS: tuple[Defence, ...] = (
    Laplace(0.01),
    Laplace(0.03),
    Private(1000),
    Private(100),
    Private(10),
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
TRAINED_ON = 4000
"""Notes that the adaptive attacker is trained on."""


def study(subject: "StudyTarget", attacker: Attacker, run: Run) -> Outcome:
    """Attack the store under every defence, clean and adaptive, and search it with its own queries."""
    originals = originals_of(subject)
    stage = Stage(subject, attacker, run, originals, asked(subject, originals))
    defences: list[Defence] = [*map(Gaussian, LAMBDAS), *OTHERS]
    with run.progress(len(defences), "clean attacker") as advance:
        for defence in defences:
            measure(stage, defence, "clean", stage.subject.options, None)
            advance(1)
    known = known_of(subject, stage.attacked)
    stage = evolve(stage, trained=_train(stage))
    _adaptive(stage, defences, known)
    if subject.target.notes:
        grammar.attack(stage, defences, known)
    rewritten.attack(stage, defences, known)
    points = curve.curve(stage, defences[1:], known)
    said = [
        *pairs(len(known.pairs), len(known.own), stage.trained is not None),
        *power(stage.rows, stage.attacked),
        *on_noise(stage.rows),
        *by_grammar(stage.rows),
        *by_rewriting(stage.rows),
        *accounted(stage.vectors),
        *curve.sentences(points, subject.pairs),
    ]
    table = {
        "rows": stage.rows,
        "pairs": points,
        "attacked": stage.attacked,
        "store": len(stage.vectors),
        "graded": stage.queries.relevance is not None,
        "sentences": said,
    }
    metrics = {**dict(flat(stage.rows)), **dict(curve.metrics(points))}
    return outcome(subject, run, table, metrics, said)


def asked(subject: "StudyTarget", originals: Originals) -> retrieval.Queries:
    """Queries of the store: each note in other words, or the rarest words of each text."""
    embed, source = subject.embed, subject.target
    if source.notes:
        from kdst_invert.default.notes import rewritten

        texts = [n.text for n in rewritten("held-out", len(originals.texts), subject.seed)]
        relevance = retrieval.graded(originals.fields)
    else:
        texts = retrieval.keywords(originals.texts)
        relevance = None
    return retrieval.Queries(embedded(embed, texts), torch.arange(len(texts)), relevance)


def measure(
    stage: Stage, defence: Defence, attacker: str, options: Any, undoing: Undoing | None
) -> None:
    """One defence against one attacker: leakage, what of it is chance, and retrieval."""
    normalised = stage.subject.embed.normalised
    store = protected(defence, stage.vectors, stage.noise(), normalised)
    narrow = with_options(options, beam=BEAM, steps=STEPS)
    shown = stage.originals.cut(range(stage.attacked))
    seen = stage.seen(defence, undoing)[: stage.attacked]
    name = f"{attacker}-{stage.file(defence)}"
    view = None if undoing is None else undoing.view
    scores, costs = attack(stage.attacker, name, seen, narrow, shown, view=view)
    chance = by_chance(final_texts(stage.run.artifacts / f"{name}.jsonl", len(seen)), shown)
    gains = above({n: v[:, -1] for n, v in scores.values.items()}, chance)
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
            "chance": {n: mean(chance[n]) for n in gains},
            "above": {n: three(gain) for n, gain in gains.items()},
            "retrieval": {n: three(interval(v.numpy())) for n, v in found.items()},
            **costs,
        }
    )


def _adaptive(stage: Stage, defences: Sequence[Defence], known: Known) -> None:
    """The attacker who knows the defence: what it did to vectors is undone as far as pairs teach it.

    What he cannot undo is noise to him, so where much is left he reads by the networks that were
    trained with noise.
    """
    with stage.run.progress(len(defences), "adaptive attacker") as advance:
        for defence in defences:
            undoing = stage.undo(defence, known)
            learns = known.count or stage.trained is not None or defence.name in COMPARED
            if undoing is not None and learns:
                measure(stage, defence, ADAPTIVE, stage.reader(undoing.left), undoing)
            advance(1)


def _train(stage: Stage) -> Any:
    """Options of the attacker who went on from the clean weights with noise; None without texts for it, or
    for a method that goes on from no weights."""
    if not hasattr(stage.subject.options, "base"):
        return None
    directory = stage.run.artifacts / "adaptive"
    plain = training_of(stage.subject, stage.originals, stage.attacked, directory, TRAINED_ON)
    if plain is None:
        return None
    options = stage.subject.options
    start = with_options(options, base=getattr(options, "model", None), **EPOCHS)
    narrow = with_options(start, beam=1, steps=0)
    one = stage.originals.cut(range(1))
    training = evolve(plain, noise=max(LAMBDAS))
    attack(stage.attacker, "adaptive-training", stage.vectors[:1], narrow, one, training)
    return with_options(options, model=str(directory))


def flat(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Flat metrics: defence, strength, attacker, measure."""
    for row in rows:
        strength = plain(row["strength"])
        for name, found in row["leakage"].items():
            yield f"{row['defence']}.{strength}.{row['attacker']}.{name}", found[0]
        for name, found in row["above"].items():
            yield f"{row['defence']}.{strength}.{row['attacker']}.{name}.above_chance", found[0]
        for name, found in row["retrieval"].items():
            yield f"{row['defence']}.{strength}.{name}", found[0]
