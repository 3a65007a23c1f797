"""BatchNorm for one image: statistics of training mixed with those of what is given."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdst_adapt.kit import BATCH_NORMS


class MixedNorm(nn.Module):
    """Takes N/(N + 1) of the statistics of training and 1/(N + 1) of the input's (section 3.3)."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, prior: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.share = 1 / (prior + 1)
        self.register_buffer("mean", norm.running_mean)
        self.register_buffer("variance", norm.running_var)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...); no gradient goes through the statistics."""
        with torch.no_grad():
            values = x.detach().transpose(0, 1).flatten(1)
            variance = values.var(1, correction=min(1, values.shape[1] - 1))
            mean = torch.lerp(self.get_buffer("mean"), values.mean(1), self.share)
            variance = torch.lerp(self.get_buffer("variance"), variance, self.share)
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)


def mix_statistics(model: nn.Module, prior: float) -> nn.Module:
    """Replace every BatchNorm that has statistics of training in a model, and return the model."""
    for name, module in model.named_children():
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
            setattr(model, name, MixedNorm(module, prior))
        else:
            mix_statistics(module, prior)
    return model
