"""A function from texts to vectors as an embedder."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError

UNIT = 1e-3
"""How far from 1 the length of a normalised vector may be."""


@frozen
class Function:
    """A function from texts to vectors as an embedder."""

    name: str
    function: Callable[[Sequence[str]], Any] = field(repr=False)
    dimension: int
    normalised: bool

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, D) float32; KdstError when the function returns something else."""
        found = vectors_of(self.function(list(texts)), len(texts), self.name)
        if len(texts) and found.shape[1] != self.dimension:
            raise KdstError(
                f"{self.name} returned vectors of {found.shape[1]} numbers, {self.dimension} before"
            )
        return found


def vectors_of(found: Any, count: int, name: str) -> Tensor:
    """What an embedder returned as (n, D) float32 on the CPU; KdstError when it is not that."""
    try:
        vectors = torch.as_tensor(found).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError) as e:
        raise KdstError(f"{name} returned a {type(found).__name__}, not vectors (n, D)") from e
    if vectors.ndim != 2 or len(vectors) != count or not bool(vectors.isfinite().all()):
        raise KdstError(
            f"{name} returned shape {tuple(vectors.shape)} for {count} texts;"
            " it must return finite numbers (n, D)"
        )
    return vectors


def as_embedder(function: Callable[[Sequence[str]], Any], name: str) -> Embedder:
    """An embedder from a function; dimension and length are read from one call."""
    if all(hasattr(function, part) for part in ("name", "dimension", "normalised")):
        return cast(Embedder, function)
    if not callable(function):
        raise KdstError(f"{name} is not a function of a list of texts")
    vectors = vectors_of(function(["a", "another text"]), 2, name)
    unit = bool(((vectors.norm(dim=1) - 1).abs() < UNIT).all())
    return Function(name, function, vectors.shape[1], unit)
