"""An affine change of colour for each photograph, learnt with the scene."""

from typing import Any

import torch
from torch import Tensor


class Exposures:
    """Matrices (V, 3, 4) by which what the scene shows becomes what each photograph shows.

    Their mean stays the identity: new views are rendered without one.
    """

    def __init__(self, count: int, rate: float, device: str) -> None:
        self.identity = torch.eye(3, 4, device=device)
        self.matrices = torch.eye(3, 4).repeat(count, 1, 1).to(device).requires_grad_()
        self.optimizer = torch.optim.Adam([self.matrices], lr=rate)

    def applied(self, rgb: Tensor, index: int) -> Tensor:
        """Return a render (H, W, 3) as a photograph shows it."""
        matrix = self.matrices[index]
        return rgb @ matrix[:, :3].T + matrix[:, 3]

    def forget(self) -> None:
        """Leave the gradients that were not learnt from."""
        self.matrices.grad = None

    def step(self, progress: float) -> None:
        """Learn from the gradients, and take the drift of the mean out."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.matrices.data -= self.matrices.data.mean(0) - self.identity

    def state_dict(self) -> dict[str, Any]:
        """Everything that learning goes on from."""
        return {
            "exposures": self.matrices.detach().clone(),
            "exposure_optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        self.matrices.data.copy_(state["exposures"])
        self.optimizer.load_state_dict(state["exposure_optimizer"])
