"""Inversion: text embeddings and the embedder that made them, to the texts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor


@frozen
class InvertRequest:
    """embeddings: (N, D). embed: texts to embeddings (n, D), the black box that made them."""

    embeddings: "Tensor"
    embed: "Callable[[Sequence[str]], Tensor]"
    generator: "Generator"


@frozen
class Inversion:
    """The best texts after a step.

    step: 0 for the first hypothesis. texts: N. cosine: (N,) similarity of the texts' embeddings to the
    given ones. embedder_calls: texts embedded so far.
    """

    step: int
    texts: Sequence[str]
    cosine: "Tensor"
    embedder_calls: int
