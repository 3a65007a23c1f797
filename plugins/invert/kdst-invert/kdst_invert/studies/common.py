"""What the studies share: small attacks with their scores, and the outcome of a study."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdst_core.bench import Outcome
from kdst_core.contracts import Training
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.rundir import Run
from kdst_invert.attack import Attacker, with_option
from kdst_invert.chance import smallest_share
from kdst_invert.measures import Interval
from kdst_invert.scores import Scores, score_file
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from torch import Tensor

    from kdst_invert.prepared import PreparedInvert

EPOCHS = {
    "epochs": 3,
    "corrector_epochs": 2,
    "train_batch": 32,
    "learning_rate": 5e-4,
    "warmup": 0.1,
}
"""How a study's attacker goes on from the weights that it is given."""
FEW = 100
"""Texts that a study attacks when --count is not given."""


def originals_of(prepared: "PreparedInvert") -> Originals:
    """The texts that are attacked; KdstError without them, since a study measures leakage."""
    originals = prepared.source.originals
    if originals is None:
        study = prepared.inputs.study
        raise KdstError(f"--study {study} needs the texts of the vectors: give --texts FILE")
    return originals


def attack(
    attacker: Attacker,
    name: str,
    vectors: "Tensor",
    options: Any,
    originals: Originals,
    training: Training | None = None,
    view: "Callable[[Tensor], Tensor] | None" = None,
) -> tuple[Scores, Mapping[str, float]]:
    """One attack: its scores, and its costs. view: see `InvertRequest`."""
    attacked = attacker.invert(name, vectors, options, name, training, view=view)
    steps = attacked.progress.steps
    costs = {
        "embedder_calls_per_text": attacked.calls_per_text,
        "seconds_per_text": attacked.progress.seconds / attacked.rows,
    }
    return score_file(attacked.file, attacked.rows, steps, originals), costs


def changed(options: Any, **values: Any) -> Any:
    """Options of the method with those that it has changed."""
    for name, value in values.items():
        options = with_option(options, name, value)
    return options


def unseen(attacked: int) -> str:
    """The smallest leak that so many attacked texts could have shown, as a sentence."""
    return (
        f"With {attacked} texts attacked in each row a leak below {smallest_share(attacked):.1%} of the"
        " texts word for word could not have been told from none; figures whose intervals overlap are not"
        " told apart."
    )


def plain(strength: str) -> str:
    """The strength of a defence in names of metrics."""
    number = strength.removeprefix("λ = ").removeprefix("ε = ")
    return number.replace("%", "").replace(" ", "-")


def three(found: Interval) -> list[float]:
    """An interval as JSON."""
    return [found.value, found.low, found.high]


def outcome(
    prepared: "PreparedInvert",
    run: Run,
    table: Mapping[str, Any],
    metrics: Mapping[str, float],
    summary: Sequence[str],
    artifacts: Mapping[str, str] | None = None,
) -> Outcome:
    """The outcome of a study; its table is what the report is made of, its sentences what it says."""
    write_atomically(run.artifacts / "study.json", json.dumps(table))
    given = {
        "embedder_name": prepared.embed.name,
        "dimension": prepared.embed.dimension,
        "normalised": prepared.embed.normalised,
        "rows": len(prepared.source.vectors),
        "notes": prepared.source.notes,
    }
    return Outcome(
        metrics,
        {"study.json": "artifacts/study.json", **(artifacts or {})},
        given,
        warnings=list(prepared.notes),
        summary=list(summary),
    )
