"""Robust batch normalisation (section 3.2): statistics that follow those of the memory slowly."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.kit import BATCH_NORMS
from kdst_adapt.models.wiring import first_input, full


def trained_norms(model: nn.Module) -> list[Any]:
    """Return every BatchNorm that has statistics of training."""
    return [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.running_mean is not None]


def statistics(model: nn.Module) -> list[Tensor]:
    """Return mean and variance (C,) of every BatchNorm, one after the other."""
    return [t for norm in trained_norms(model) for t in (norm.running_mean, norm.running_var)]


def set_statistics(model: nn.Module, values: Sequence[Tensor]) -> None:
    """Give every BatchNorm the mean and variance of `statistics`."""
    pairs = zip(values[::2], values[1::2], strict=True)
    for norm, (mean, variance) in zip(trained_norms(model), pairs, strict=True):
        device = norm.running_mean.device
        norm.running_mean = mean.to(device, copy=True)
        norm.running_var = variance.to(device, copy=True)


@contextmanager
def robust_statistics(model: nn.Module, alpha: float) -> Iterator[None]:
    """Let forward passes in the body move the statistics of every BatchNorm, and normalise by them."""

    def move(
        norm: Any, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Replace a layer's input (B, C, ...) by one that carries the gradient of the statistics."""
        x = _carried(norm, full(first_input(args, named)), alpha)
        return ((x, *args[1:]), named) if args else (args, {**named, next(iter(named)): x})

    hooks = [
        m.register_forward_pre_hook(move, with_kwargs=True, prepend=True)
        for m in trained_norms(model)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _carried(norm: Any, x: Tensor, alpha: float) -> Tensor:
    """Move the statistics by μ ← (1 − α) μ + α μ_B, σ² alike (equation 3); return x as it was.

    Normalised by the new statistics, which hold no graph, x gives the value and the gradient that it
    would give by statistics that do.
    """
    axes = [0, *range(2, x.dim())]
    variance_of_batch, mean_of_batch = torch.var_mean(x, axes, correction=0)
    mean = torch.lerp(norm.running_mean, mean_of_batch, alpha)
    variance = torch.lerp(norm.running_var, variance_of_batch, alpha)
    norm.running_mean, norm.running_var = mean.detach(), variance.detach()
    along = [1, -1, *[1] * (x.dim() - 2)]
    scale = ((variance.detach() + norm.eps) / (variance + norm.eps)).sqrt()
    return (x - mean.view(along)) * scale.view(along) + mean.detach().view(along)
