"""In which numbers a pipeline computes: one policy for all of its parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from kdst_edit.weights import PARTS

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def chosen(wanted: Dtype, pipeline: Any, device: str) -> torch.dtype:
    """The dtype of UNet and text encoders.

    auto: on the CPU float32, which is faster there and exact; elsewhere that of the UNet's saved weights.
    """
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    saved: torch.dtype = pipeline.unet.dtype
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
    """UNet and text encoders in `dtype`, the autoencoder in float32; as they were afterwards.

    Autoencoders overflow in float16, and half precision shows in what they give back.
    """
    found = {name: getattr(pipeline, name, None) for name in PARTS}
    parts: dict[str, Any] = {name: part for name, part in found.items() if part is not None}
    before = {name: part.dtype for name, part in parts.items()}
    try:
        for name in before:
            parts[name].to(torch.float32 if name == "vae" else dtype)
        yield
    finally:
        for name, kept in before.items():
            parts[name].to(kept)
