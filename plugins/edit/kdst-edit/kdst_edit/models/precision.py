"""In which numbers a pipeline computes: one policy for all of its parts."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from kdst_edit.families.registry import network_of
from kdst_edit.models.weights import PARTS

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def chosen(wanted: Dtype, pipeline: Any, device: str) -> torch.dtype:
    """The dtype of network and text encoders.

    auto: on the CPU float32, which is faster there and exact; elsewhere that of the network's saved weights.
    """
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    saved: torch.dtype = network_of(pipeline).dtype
    half = saved in (torch.float16, torch.bfloat16)
    return saved if half and not device.startswith("cpu") else torch.float32


def stated(dtype: torch.dtype) -> str:
    """What the result says of it."""
    name = str(dtype).removeprefix("torch.")
    if dtype == torch.float32:
        return name
    return f"{name}; latents, autoencoder and inversion in float32"


@contextmanager
def computing_in(pipeline: Any, dtype: torch.dtype) -> Iterator[None]:
    """Network and text encoders in `dtype`, the autoencoder in float32; bit for bit as before afterwards.

    Autoencoders overflow in float16, and half precision shows in what they give back. What a cast
    rounds is kept in the main memory until then.
    """
    parts = {name: getattr(pipeline, name, None) for name in PARTS}
    with ExitStack() as stack:
        for name, part in parts.items():
            if part is not None:
                stack.enter_context(_cast(part, torch.float32 if name == "vae" else dtype))
        yield


@contextmanager
def _cast(part: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """One part in `dtype` while this lasts."""
    before = {
        (module, name): value.detach().cpu() if _rounds(value.dtype, dtype) else value.dtype
        for module in part.modules()
        for name, value in _floats(module)
    }
    try:
        part.to(dtype)
        yield
    finally:
        for (module, name), kept in before.items():
            value = getattr(module, name)
            value.data = kept.to(value.device) if isinstance(kept, Tensor) else value.data.to(kept)


def _floats(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of one module that a cast changes."""
    for name, value in (
        *module.named_parameters(recurse=False),
        *module.named_buffers(recurse=False),
    ):
        if value.is_floating_point():
            yield name, value


def _rounds(given: torch.dtype, wanted: torch.dtype) -> bool:
    """Whether a cast loses digits or range."""
    return torch.promote_types(given, wanted) != wanted
