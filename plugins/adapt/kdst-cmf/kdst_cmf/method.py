"""The algorithm of CMF (Lee and Chang, ICLR 2024): a Kalman filter with one variance for all parameters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kdst_adapt.self_training import SelfTraining
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from kdst_cmf import Options

PARAMETERS = 38400
"""Parameters for which q is given: those of a ViT-B's LayerNorms."""
LOWEST, HIGHEST = 0.89, 0.9999
"""Shares of the prediction below and above which the authors set it to the first, and to 1."""


class Cmf(SelfTraining["Options"]):
    """Self-training whose weights stay near those of a filtered source model."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        super().__init__(request, options, device)
        count = sum(p.numel() for p in self.parameters)
        self.q = options.q * count / PARAMETERS
        if self.q >= 1:
            raise KdstError(
                f"q {options.q:g} for {count} updated parameters is a variance of {self.q:.3g} a step,"
                f" and it must stay below 1.\nGive --q below {PARAMETERS / count:.2g}, or --params"
                " norm-affine"
            )

    def begin(self) -> None:
        """The filter begins at the source model, certain of it."""
        super().begin()
        self.hidden = [p.clone() for p in self.start]
        self.variance = 0.0

    def reset(self) -> None:
        """Restore everything; the published profile keeps the filter's variance."""
        variance = self.variance
        super().reset()
        if self.options.profile == "published":
            self.variance = variance

    @torch.no_grad()
    def ensemble(self) -> None:
        """Predict, update by the adapted weights, and average these with the outcome."""
        beta = self.weigh_prediction()
        alpha, gamma = self.options.alpha, self.options.gamma
        for mean, parameter, start in zip(self.hidden, self.parameters, self.start, strict=True):
            mean.lerp_(start, 1 - alpha)  # prediction: m ← α m + (1 − α) θ₀
            mean.lerp_(parameter, 1 - beta)  # update: m ← β m + (1 − β) θ
            parameter.lerp_(mean, 1 - gamma)  # ensemble: θ ← γ θ + (1 − γ) m

    def weigh_prediction(self) -> float:
        """Return β, the share of the prediction in the update, and carry the variance on.

        P ← α² P + q, β = r / (P + r) with r = 1 − q, P ← β P.
        """
        predicted = self.options.alpha**2 * self.variance + self.q
        beta = (1 - self.q) / (predicted + 1 - self.q)
        beta = 1.0 if beta >= HIGHEST else max(beta, LOWEST)
        self.variance = beta * predicted
        self.record("filter gain", 1 - beta)
        return beta

    def own_state(self) -> dict[str, Any]:
        """Return the mean prediction, and the filter's means and variance."""
        filtered = [p.clone() for p in self.hidden]
        return {**super().own_state(), "hidden": filtered, "variance": self.variance}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the mean prediction and the filter back."""
        super().load_own_state(state)
        saved: list[Tensor] = state["hidden"]
        self.hidden = [p.to(start, copy=True) for p, start in zip(saved, self.start, strict=True)]
        self.variance = state["variance"]
