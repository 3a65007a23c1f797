"""What the studies share: small attacks with their scores, and the outcome of a study."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kdst_core.contracts import Training
from kdst_invert.loop import Attacker
from kdst_invert.measures.chance import smallest_share
from kdst_invert.measures.recovery import Interval
from kdst_invert.measures.scores import Scores, score_file
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from torch import Tensor


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
    steps = attacked.state.steps
    costs = {
        "embedder_calls_per_text": attacked.calls_per_text,
        "seconds_per_text": attacked.state.seconds / attacked.rows,
    }
    return score_file(attacked.file, attacked.rows, steps, originals), costs


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
