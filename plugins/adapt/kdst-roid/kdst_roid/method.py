"""The algorithm of ROID (Marsden et al., WACV 2024); its losses are the bench's."""

from typing import TYPE_CHECKING

import torch

from kdst_adapt.self_training import SelfTraining

if TYPE_CHECKING:
    from kdst_roid import Options


class Roid(SelfTraining["Options"]):
    """Self-training whose weights stay near the source model's."""

    options: "Options"

    @torch.no_grad()
    def ensemble(self) -> None:
        """Average with the source model: θ ← α θ + (1 − α) θ₀."""
        for parameter, start in zip(self.parameters, self.start, strict=True):
            parameter.lerp_(start, 1 - self.options.momentum_src)
