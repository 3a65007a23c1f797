"""BatchNorm for one image: statistics of training mixed with those of what is given."""

from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.kit import BATCH_NORMS
from kdst_adapt.models.wiring import first_input, full


class MixStatistics:
    """Gives a BatchNorm, before each call, N/(N + 1) of the statistics of training and 1/(N + 1) of
    the input's (section 3.3).

    The layer itself stays, as a subclass may do more than normalise. No gradient goes through the
    statistics.
    """

    def __init__(self, norm: Any, prior: float) -> None:
        self.mean: Tensor = norm.running_mean
        self.variance: Tensor = norm.running_var
        self.share = 1 / (prior + 1)

    @torch.no_grad()
    def __call__(
        self,
        norm: nn.modules.batchnorm._BatchNorm,
        args: tuple[Tensor, ...],
        named: dict[str, Tensor],
    ) -> None:
        """Set the statistics for an input (B, C, ...)."""
        values = full(first_input(args, named)).detach().transpose(0, 1).flatten(1)
        variance = values.var(1, correction=min(1, values.shape[1] - 1))
        norm.running_mean = torch.lerp(self.mean, values.mean(1), self.share)
        norm.running_var = torch.lerp(self.variance, variance, self.share)


def mix_statistics(model: nn.Module, prior: float) -> nn.Module:
    """Let every BatchNorm that has statistics of training mix them with its input's; return the model."""
    for module in model.modules():
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
            module.register_forward_pre_hook(MixStatistics(module, prior), with_kwargs=True)
    return model
