"""Normalisation layers of a model, and the copy of it that a method adapts."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from kdst_adapt.models.wiring import first_input

BATCH_NORMS = nn.modules.batchnorm._BatchNorm
NORMS = (
    *(BATCH_NORMS, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm),
    nn.RMSNorm,
)
HALF = (torch.float16, torch.bfloat16)


def use_batch_statistics(model: nn.Module) -> None:
    """Make every BatchNorm normalise by the statistics of the batch, in evaluation mode too."""
    for module in model.modules():
        if isinstance(module, BATCH_NORMS):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None


def takes_batch_statistics(model: nn.Module) -> bool:
    """Return whether a BatchNorm of a model normalises by the statistics of the batch."""
    return any(isinstance(m, BATCH_NORMS) and m.running_mean is None for m in model.modules())


def keep_statistics_of_training(model: nn.Module, single: Sequence[str]) -> None:
    """Let the named BatchNorm layers take the statistics of training where there are none of the batch.

    single: names of layers that have one value a channel for one image, so that one image alone gives
    no statistics. Copies of the model, with batch statistics or not, do so too.
    """
    for name in single:
        norm: Any = model.get_submodule(name)
        norm.register_buffer("trained_mean", norm.running_mean, persistent=False)
        norm.register_buffer("trained_var", norm.running_var, persistent=False)
        norm.register_forward_pre_hook(_take_trained, with_kwargs=True)
        norm.register_forward_hook(_give_back, always_call=True)


def _take_trained(norm: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Give a layer the statistics of training for one call when its input has none."""
    x = first_input(args, named)
    if norm.running_mean is None and x.numel() == x.shape[1]:
        norm.running_mean, norm.running_var = norm.trained_mean, norm.trained_var
        norm.borrowed = True


def _give_back(norm: Any, _args: Any, _output: Any) -> None:
    """Take back what `_take_trained` gave."""
    if getattr(norm, "borrowed", False):
        norm.running_mean = norm.running_var = None
        norm.borrowed = False


def single_precision(model: nn.Module) -> bool:
    """Make a model of half precision one of float32, and return whether it was one of half precision.

    Updates of 1e-3 vanish in the rounding of halves, and their entropies overflow.
    """
    halves = any(t.dtype in HALF for t in (*model.parameters(), *model.buffers()))
    if halves:
        model.float()
    return halves


def adaptable_copy(model: nn.Module, device: str, *, batch_statistics: bool = True) -> nn.Module:
    """Return a frozen copy in evaluation mode, so that dropout stays off; BatchNorm uses the batch.

    batch_statistics: False leaves BatchNorm with the statistics of training. A model of half precision
    becomes one of float32.
    """
    clone = copy.deepcopy(model).to(device).eval()
    single_precision(clone)
    if batch_statistics:
        use_batch_statistics(clone)
    return clone.requires_grad_(False)
