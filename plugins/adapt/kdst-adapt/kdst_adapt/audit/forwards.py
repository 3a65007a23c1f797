"""What a forward does beside giving logits: it writes into images or buffers, or computes elsewhere."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

APART = 1e-4
"""Logits that differ by more than this share of the largest differ by more than rounding."""


def _tried(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a copy of a model on the CPU in evaluation mode, and images of its type."""
    clone = copy.deepcopy(model).to("cpu").eval()
    return clone, x.to("cpu", next((p.dtype for p in clone.parameters()), x.dtype))


@torch.no_grad()
def changes_its_input(model: nn.Module, x: Tensor) -> bool:
    """Return whether a model writes into the images (B, C, H, W) that it is given."""
    clone, images = _tried(model, x)
    given = images.clone()
    clone(given)
    return not torch.equal(given, images)


def protect_input(model: nn.Module) -> None:
    """Let a model, and copies of it, work on a copy of the images that it is given."""
    model.register_forward_pre_hook(_copied_input)


def _copied_input(_model: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a call with their tensors copied."""
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in args)


@torch.no_grad()
def changed_buffers(model: nn.Module, x: Tensor) -> list[str]:
    """Return the names of the buffers that a call in evaluation mode changes."""
    clone, images = _tried(model, x)
    before = {name: buffer.clone() for name, buffer in clone.named_buffers()}
    clone(images.clone())
    after = dict(clone.named_buffers())
    return [n for n, b in before.items() if n in after and not _equal(b, after[n])]


def _equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors hold the same values, NaN in the same places too."""
    if a.shape != b.shape or not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def keep_buffers(model: nn.Module, names: Iterable[str]) -> None:
    """Let a model, and copies of it, begin each call with the named buffers as they are now.

    Else what it computes would depend on all batches before, and a reset would not put it back.
    """
    model.kept_buffers = tuple(names)  # type: ignore[assignment]
    model.lent_buffers = {}  # type: ignore[assignment]
    model.register_forward_pre_hook(_lend)
    model.register_forward_hook(_give_back, always_call=True)


def _lend(model: Any, _args: Any) -> None:
    """Put copies in the places of the kept buffers for one call."""
    for name in model.kept_buffers:
        holder, _, last = name.rpartition(".")
        buffers = model.get_submodule(holder)._buffers
        if buffers.get(last) is not None:
            model.lent_buffers[name] = buffers[last]
            buffers[last] = buffers[last].clone()


def _give_back(model: Any, _args: Any, _output: Any) -> None:
    """Put the kept buffers back."""
    for name, buffer in model.lent_buffers.items():
        holder, _, last = name.rpartition(".")
        model.get_submodule(holder)._buffers[last] = buffer
    model.lent_buffers = {}


@torch.no_grad()
def looks_at_others(model: nn.Module, x: Tensor) -> bool:
    """Return whether the logits of the first of two images (2, C, H, W) depend on the second."""
    together, twice = model(x)[0], model(torch.cat([x[:1], x[:1]]))[0]
    reach = twice.abs().max().item()
    return not torch.allclose(together, twice, rtol=0, atol=APART * reach + 1e-12)


@torch.no_grad()
def computes_elsewhere(model: nn.Module, x: Tensor) -> bool:
    """Return whether the logits of images (B, C, H, W) stay when all of a model's weights are gone.

    So it is where a forward was put on a model from outside: copies go on with the layers of the first.
    """
    clone = copy.deepcopy(model)
    tensors = [*clone.parameters(), *clone.buffers()]
    before = clone(x.clone())
    for tensor in tensors:
        tensor.zero_()
    return bool(tensors) and torch.equal(clone(x.clone()), before)
