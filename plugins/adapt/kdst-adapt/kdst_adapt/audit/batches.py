"""Batches of one image: which layers have no statistics of them, and what a method sees at once."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from kdst_adapt.audit.findings import Finding, some
from kdst_adapt.models.norms import BATCH_NORMS, adaptable_copy, takes_batch_statistics
from kdst_adapt.models.wiring import inputs_of, sample
from kdst_adapt.streams.stream import Stream
from kdst_core.errors import KdstError


def has_single(stream: Stream) -> bool:
    """Return whether a batch of the stream holds one image."""
    return any(len(stream.rows(s)[0]) == 1 for s in stream.shifts)


def largest_batch(stream: Stream, window: int | None) -> int:
    """Return how many images a method is given at once, at most."""
    longest = max(sum(map(len, stream.rows(s))) for s in stream.shifts)
    return min(max(stream.batch_size, window or 0), longest)


def single_values(model: nn.Module, example: Tensor, device: str) -> list[str]:
    """Return the names of BatchNorm layers with one value a channel for one image, so no statistics.

    KdstError where such a layer has none of training either.
    """
    clone = adaptable_copy(model, device, batch_statistics=False)
    norms = {n: m for n, m in clone.named_modules() if isinstance(m, BATCH_NORMS)}
    dtype = next((p.dtype for p in clone.parameters()), example.dtype)
    images = sample(example, tuple(example.shape[1:])).to(device, dtype)
    shapes = inputs_of(clone, norms, images)
    single = [n for n, shape in shapes.items() if math.prod(shape) == shape[0] * shape[1]]
    bare = [n for n in single if norms[n].running_mean is None]
    if bare:
        raise KdstError(
            f"one image alone has no statistics for the model's BatchNorm layer {bare[0]}, which has one"
            " value a channel and keeps none of training.\nGive --batch-size 2 or more and at least two"
            " images"
        )
    return single


def of_single(names: Sequence[str]) -> Finding:
    """Return the finding on BatchNorm layers that one image alone gives no statistics."""
    sentence = (
        f"BatchNorm layers with one value a channel ({some(names)}) take the statistics of training"
        " when an image comes alone."
    )
    return Finding("batch of one", "mended", sentence)


def check_batch_size(
    predictor: Any, stream: Stream, single: Sequence[str], window: int | None
) -> None:
    """Raise KdstError when a method's BatchNorm would have to take statistics of a single value."""
    if single and window is None and uses_batch(predictor):
        first = next(s.key for s in stream.shifts if len(stream.rows(s)[0]) == 1)
        raise KdstError(
            f"a batch of one image ({first}) has no statistics for the model's BatchNorm layer"
            f" {single[0]}, which has one value a channel.\n"
            "Give --window 64, or --batch-size 2 or more and at least two images"
        )


def uses_batch(predictor: Any) -> bool:
    """Return whether a predictor shows a network whose BatchNorm takes the statistics of batches."""
    model = getattr(getattr(predictor, "inner", predictor), "model", None)
    return isinstance(model, nn.Module) and takes_batch_statistics(model)
