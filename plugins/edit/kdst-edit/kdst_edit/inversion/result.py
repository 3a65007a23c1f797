"""What an inversion is: the path back to a real image, and how well it works."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from torch import Tensor

from kdst_core.contracts import SourcePath

TENSORS = ("latents", "timesteps", "reconstruction", "negative", "noises", "towards")
PLAIN = ("prompt", "guidance", "start", "resets", "kind", "psnr")


@frozen(kw_only=True)
class Inversion(SourcePath):
    """A real image in the terms of the sampler that will edit it; tensors are float32 on the CPU.

    kind: of `InversionSettings`. timesteps: (N,) that the network is told, descending.
    reconstruction: (3, H, W) in [0, 1], what the source draws. psnr: its PSNR in dB.
    """

    kind: str
    timesteps: Tensor
    reconstruction: Tensor
    psnr: float

    def tensors(self) -> dict[str, Tensor]:
        """The tensors, by field."""
        found = {name: getattr(self, name) for name in TENSORS}
        return {k: v.contiguous() for k, v in found.items() if v is not None}

    def header(self) -> dict[str, str]:
        """The other fields, as text."""
        return {"inversion": json.dumps({name: getattr(self, name) for name in PLAIN})}

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> "Inversion":
        """The inverse of `tensors` and `header`."""
        fields: dict[str, Any] = {**json.loads(header["inversion"]), **tensors}
        return cls(**fields)
