"""The algorithm of TEA (Yuan et al., CVPR 2024, section 3).

The classifier f is read as an energy model, E(x) = -logsumexp_y f(x)[y], p(x) ∝ exp(-E(x)), and its
normalisation layers are updated to raise the likelihood of the test data, whose gradient needs
samples of the model, drawn by stochastic gradient Langevin dynamics from a replay buffer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from kdst_adapt.kit import OnlineAdapter
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_tea.draws import Draws

if TYPE_CHECKING:
    from kdst_tea import Options

SHOWN = 16
"""Samples kept for the report."""


class Tea(OnlineAdapter["Options"]):
    """Contrastive divergence on each batch; returns the logits after the update, as published."""

    returns_after: ClassVar[bool] = True

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        self.input_shape = tuple(request.input_shape)
        self.num_classes = request.num_classes
        self.draws = Draws(request.generator)
        self.rough = options.sampling_dtype == "bfloat16"
        super().__init__(request, options, device)
        if self.rough and self.dtype != torch.float32:
            raise KdstError(
                f"--sampling-dtype bfloat16 was given for a model of {str(self.dtype)[6:]}.\n"
                "Autocast lowers float32 only: leave the option out, or give a model of float32"
            )

    def begin(self) -> None:
        """Fill the replay buffer with noise; the old one is let go before: it can be gigabytes."""
        self.buffer = torch.empty(0)
        self.buffer = self._noise(self.options.buffer_size)

    def reset(self) -> None:
        """Restore everything; the published profile lets buffer and random state run on."""
        if self.options.profile == "published":
            self.reset_parameters()
        else:
            super().reset()

    def update(self, x: Tensor) -> Tensor:
        """One step on the loss mean E(x) - mean E(x̃), with samples x̃ of the model."""
        fake = self.sample(max(1, round(self.options.share * len(x))))
        energy_fake = -self.model(fake).logsumexp(1).mean()
        self.accumulate(-energy_fake)  # before the other graph is made: half the memory
        logits = self.model(x)
        energy_real = -logits.logsumexp(1).mean()
        self.step(energy_real)
        self.record("loss", energy_real - energy_fake)
        self.record("energy of samples", energy_fake)
        self.record("samples", fake[:SHOWN])
        return logits.detach()

    def sample(self, count: int) -> Tensor:
        """Return `count` samples (count, C, H, W) of the model, and put them into the buffer.

        x ← x + sgld_lr · ∇ₓ logsumexp_y f(x) + sgld_std · N(0, 1), sgld_steps times.
        """
        options = self.options
        steps, step_size = options.schedule
        rows = self.draws.integers(len(self.buffer), count)
        fresh = self._noise(count)
        again = self.draws.fractions(count) < options.reinit
        labels = self.draws.integers(self.num_classes, count) if options.conditional else None
        start = torch.where(again.view(-1, *(1,) * len(self.input_shape)), fresh, self.buffer[rows])
        self.record("buffer", start[:SHOWN])
        x = self.arrange(start.to(self.device))
        self.requires_grad(False)
        for _ in range(steps):
            noise = self.draws.normal(tuple(x.shape), x.dtype).to(x.device)
            x = x + step_size * self._score(x, labels) + options.sgld_std * noise
            if options.clamp:
                x = x.clamp(0, 1)
        self.requires_grad(True)
        self.buffer[rows] = x.cpu()
        return x

    def _score(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return ∇ₓ log p(x), or ∇ₓ log p(x | y), up to constants: the gradient of minus the energy."""
        x = x.detach().requires_grad_()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.rough):
            logits = self.model(x)
        logits = logits.to(x.dtype)
        if labels is None:
            density = logits.logsumexp(1)
        else:
            density = logits.gather(1, labels.to(logits.device).view(-1, 1))
        return torch.autograd.grad(density.sum(), x)[0]

    def _noise(self, count: int) -> Tensor:
        """Return `count` new samples of U(init_low, init_high)."""
        shape = (count, *self.input_shape)
        return self.draws.uniform(shape, self.dtype, self.options.init_low, self.options.init_high)

    def own_state(self) -> dict[str, Any]:
        """Return the replay buffer."""
        return {"buffer": self.buffer}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the replay buffer back."""
        self.buffer = state["buffer"].clone()
