"""What an inversion is: where sampling begins, what it is given on the way, how well it works."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from torch import Tensor


@frozen
class Inversion:
    """A real image in the terms of the sampler that will edit it; tensors are float32 on the CPU.

    latents: (N+1, C, h, w), entry i before step i; entry N is the image as sampling ends on it.
    timesteps: (N,) that the network is told, descending.
    start: the first step to carry out; every row begins with `latents[start]`.
    resets: whether the source row is put back on `latents[i + 1]` after step i.
    negative: (N, T, D), the unconditional embedding of each step (null-text), or None.
    noises: (N, C, h, w), z of each step of the stochastic sampler, η = 1 (ddpm), or None.
    reconstruction: (3, H, W) in [0, 1], what the source row draws. psnr: its PSNR in dB.
    """

    kind: str
    timesteps: Tensor
    latents: Tensor
    start: int
    resets: bool
    reconstruction: Tensor
    psnr: float
    negative: Tensor | None = None
    noises: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The tensors, by field."""
        names = ("timesteps", "latents", "reconstruction", "negative", "noises")
        found = {name: getattr(self, name) for name in names}
        return {k: v.contiguous() for k, v in found.items() if v is not None}

    def header(self) -> dict[str, str]:
        """The other fields, as text."""
        names = ("kind", "start", "resets", "psnr")
        return {"inversion": json.dumps({name: getattr(self, name) for name in names})}

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> "Inversion":
        """The inverse of `tensors` and `header`."""
        fields: dict[str, Any] = {**json.loads(header["inversion"]), **tensors}
        return cls(**fields)
