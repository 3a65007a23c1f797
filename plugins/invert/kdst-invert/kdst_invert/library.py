"""Inversion as a function: vectors and their embedder to an iterator of hypotheses."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from kdst_core.bench.device import usable
from kdst_core.bench.library import Bound
from kdst_core.contracts import Embedder, Inversion, InvertRequest
from kdst_core.errors import KdstError
from kdst_invert.embedders.function import as_embedder


def inverted(
    bound: Bound, embeddings: Any, embed: Embedder | Callable[[Sequence[str]], Any]
) -> Iterator[Inversion]:
    """Yield the best texts after each step; the last has `last` set.

    embeddings: (N, D) finite numbers, a tensor or an array. embed: the embedder that made them, texts to
    (n, D); it is asked for hypotheses.
    """
    embedder = as_embedder(embed, "embed")
    try:
        vectors = torch.as_tensor(embeddings).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError) as e:
        raise KdstError(
            f"embeddings must be numbers (N, D), not a {type(embeddings).__name__}"
        ) from e
    if vectors.ndim != 2 or len(vectors) == 0 or vectors.shape[1] != embedder.dimension:
        raise KdstError(
            f"embeddings must be (N, {embedder.dimension}) as the embedder makes them, not"
            f" {tuple(vectors.shape)}"
        )
    if not bool(vectors.isfinite().all()):
        raise KdstError("embeddings hold numbers that are not finite; leave those rows out")
    device = usable("cpu" if bound.device == "auto" else bound.device)
    request = InvertRequest(vectors, embedder, torch.Generator().manual_seed(bound.seed))
    return _held(bound, bound.call(request, device))


def _held(_bound: Bound, found: Iterator[Inversion]) -> Iterator[Inversion]:
    """Yield hypotheses; what the method may write to stays until there are no more."""
    yield from found
