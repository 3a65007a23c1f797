"""What a model does with its layers and weights, found by trying it on a few images."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

TRIED = 2
"""Images that a model is tried on."""
CLOSE = 0.01
"""Logits of two layouts may differ by this share of their largest; rounding does less."""


@frozen
class Wiring:
    """What a trial showed.

    layout: memory layout in which the model computes fastest and gives what it gives in the plain one.
    reached: id of every parameter that the logits depend on. order: layers in the order of their first
    calls, by id.
    """

    layout: torch.memory_format
    reached: frozenset[int]
    order: dict[int, int]


def sample(images: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Return images (2, C, H, W) to try a model on: the given ones, or noise from a fixed seed."""
    if images is None or not len(images):
        return torch.rand(TRIED, *shape, generator=torch.Generator().manual_seed(0))
    return torch.cat([images] * TRIED)[:TRIED] if len(images) < TRIED else images[:TRIED]


def in_layout(x: Tensor, layout: torch.memory_format) -> Tensor:
    """Return images or kernels (N, C, H, W) in a layout, anything else as it is."""
    return x.contiguous(memory_format=layout) if x.dim() == 4 else x


def lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    """Put the parameters of a model into a layout."""
    for parameter in model.parameters():
        parameter.data = in_layout(parameter.data, layout)


@torch.no_grad()
def settle(model: nn.Module, x: Tensor, *, standard: bool = False) -> torch.memory_format:
    """Put a model into the layout in which it computes fastest, and return that.

    x: images (B, C, H, W). The plain layout (NCHW) is kept where it is asked for, where the model fails
    or gives other logits channels last, and with GroupNorm: torch 2.13 crashes in its backward pass on
    a CPU when the input is laid out channels last and needs no gradient.
    """
    grouped = any(isinstance(m, nn.GroupNorm) for m in model.modules())
    plain = torch.contiguous_format
    if standard or grouped:
        return plain
    expected = model(in_layout(x, plain))
    lay_out(model, torch.channels_last)
    try:
        found = model(in_layout(x, torch.channels_last))
    except Exception:  # what a model may raise there is open; the plain layout is always right
        found = None
    if found is None or not _close(found, expected):
        lay_out(model, plain)
        return plain
    return torch.channels_last


def _close(found: Tensor, expected: Tensor) -> bool:
    """Return whether logits agree up to rounding; NaN in the same places counts as equal."""
    reach = expected.abs().nan_to_num(0, 0, 0).max().item()
    return torch.allclose(found, expected, rtol=0, atol=CLOSE * reach + 1e-12, equal_nan=True)


def try_out(model: nn.Module, x: Tensor, *, standard: bool = False) -> Wiring:
    """Settle a frozen model's layout, and return what one forward and backward pass on x shows."""
    layout = settle(model, x, standard=standard)
    parameters = list(model.parameters())
    order: dict[int, int] = {}

    def note(module: nn.Module, _args: tuple[object, ...]) -> None:
        order.setdefault(id(module), len(order))

    hooks = [m.register_forward_pre_hook(note) for m in model.modules()]
    try:
        with _learning(parameters):
            logits = model(in_layout(x, layout))
            reached: list[Tensor | None] = [None] * len(parameters)
            if logits.requires_grad:
                reached = list(torch.autograd.grad(logits.sum(), parameters, allow_unused=True))
    finally:
        for hook in hooks:
            hook.remove()
    ids = (id(p) for p, g in zip(parameters, reached, strict=True) if g is not None)
    return Wiring(layout, frozenset(ids), order)


@torch.no_grad()
def inputs_of(
    model: nn.Module, layers: Mapping[str, nn.Module], x: Tensor
) -> dict[str, tuple[int, ...]]:
    """Return the shape of the first input of each layer that a forward pass on x calls, by its name."""
    shapes: dict[str, tuple[int, ...]] = {}
    names = {id(m): name for name, m in layers.items()}

    def note(module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        shapes.setdefault(names[id(module)], tuple(first_input(args, named).shape))

    hooks = [m.register_forward_pre_hook(note, with_kwargs=True) for m in layers.values()]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def full(x: Tensor) -> Tensor:
    """Return a tensor of half precision in float32, any other as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def first_input(args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Return the first argument of a call, whether it was given by place or by name."""
    return args[0] if args else next(iter(named.values()))


@contextmanager
def _learning(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Switch gradients of parameters on for a while."""
    flags = [p.requires_grad for p in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
