"""Inversion: text embeddings and the embedder that made them, to the texts."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Embedder(Protocol):
    """Texts to vectors: the black box φ that made the embeddings."""

    @property
    def name(self) -> str:
        """What the embedder is, for messages and results."""

    @property
    def dimension(self) -> int:
        """Length D of a vector."""

    @property
    def normalised(self) -> bool:
        """Whether every vector has length 1."""

    def __call__(self, texts: Sequence[str]) -> "Tensor":
        """Return (n, D) float32 on the CPU for n texts; one call counts n embedder calls."""


@frozen
class Training:
    """Pairs to train the method's own models on, before anything is inverted.

    texts: n training texts. embeddings: (n, D) of them, or None to ask the embedder.
    directory: where the trained models are written, complete or not at all.
    validation: held-out texts for evaluation during training and early stop; none of the training
        texts. A method takes a few of its own when they are missing.
    noise: highest λ of Gaussian noise that training adds to every coordinate of an embedding, a λ
        between 0 and it for each example: the adaptive attacker of a noise defence.
    """

    texts: Sequence[str]
    directory: Path
    embeddings: "Tensor | None" = None
    validation: Sequence[str] = ()
    noise: float = 0.0


@frozen
class InvertRequest:
    """What to invert, and the embedder to ask.

    embeddings: (N, D) float32, which may be memory-mapped; never written to.
    embed: the embedder; methods call it for hypotheses only.
    generator: CPU generator, the only source of randomness a method may use.
    blocks: the rows to invert, block after block, taken one by one as the method gets to them; None
        is all rows as one block. What is returned for a block depends on its rows alone, never on
        other blocks, so that blocks may be spread over processes or left out when they are done.
    training: pairs to train on first, or None to use the models that the options name.
    view: what vectors (n, D) of hypotheses go through before they are compared with `embeddings`, where
        these do not hold what the embedder makes, such as those of a rounded store; None: nothing.
    """

    embeddings: "Tensor"
    embed: Embedder
    generator: "Generator"
    blocks: Iterable[range] | None = None
    training: Training | None = None
    view: "Callable[[Tensor], Tensor] | None" = None


@frozen
class Inversion:
    """The best texts of one block after a step.

    step: 0 for the first hypothesis. texts: n, one a row of the block.
    cosine: (n,) similarity of the texts' embeddings to the given ones; never lower than a step before,
        NaN where the embedder was not asked.
    embedder_calls: texts embedded so far for this block.
    rows: the block, None for all rows of the request. active: (n,) bool, the rows that this step
        worked on; the others have stopped and keep their text. None: all.
    last: whether the block ends here. longest: tokens of the longest text that the method writes, None
    where there is no bound; a word is at least one token.
    """

    step: int
    texts: Sequence[str]
    cosine: "Tensor"
    embedder_calls: int
    rows: range | None = None
    active: "Tensor | None" = None
    last: bool = False
    longest: int | None = None
    notes: Sequence[str] = field(factory=tuple)
    """Sentences for the user that concern the whole run, such as a missing corrector."""
    tokeniser: str | None = None
    """File of the tokeniser that `longest` counts by, in the format of tokenizers, where there is one."""
