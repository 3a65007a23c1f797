"""Adam for the Gaussians that a view showed, fused into one pass over the parameters."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdst_3dgs.parallel import split_work
from kdst_3dgs.simd import kernel


@kernel
def adam_rows(  # type: ignore[no-untyped-def]
    first, last, parameter, gradient, mean, square, visible, rates, beta1, beta2, bias2, eps
):
    """One Adam step (Kingma and Ba 2015, algorithm 1) on the visible rows of (N, D) arrays.

    `rates` (D,) is the learning rate of each column divided by 1 - β1^t; `bias2` is
    1 / sqrt(1 - β2^t).
    """
    one = np.float32(1)
    for n in range(first, last):
        if not visible[n]:
            continue
        for i in range(parameter.shape[1]):
            g = gradient[n, i]
            m = beta1 * mean[n, i] + (one - beta1) * g
            v = beta2 * square[n, i] + (one - beta2) * g * g
            mean[n, i] = m
            square[n, i] = v
            parameter[n, i] -= rates[i] * m / (np.sqrt(v) * bias2 + eps)


class VisibleAdam(torch.optim.Optimizer):
    """Adam over one parameter (N, …) that leaves rows of unseen Gaussians and their state alone.

    State has torch's names (`step`, `exp_avg`, `exp_avg_sq`), so that gsplat's strategies can
    edit it. `rest_factor` multiplies the learning rate of all but the first entry of the second
    axis: for SH, every coefficient above degree 0.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        lr: float,
        *,
        rest_factor: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-15,
        threads: int = 1,
    ) -> None:
        defaults = {"lr": lr, "rest_factor": rest_factor, "betas": betas, "eps": eps}
        super().__init__(parameters, defaults)
        self.threads = threads

    @torch.no_grad()
    def step(self, visible: Tensor | None = None) -> None:  # type: ignore[override]
        """Update the rows where `visible` (N,) holds, or all of them."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, visible)

    def _update(self, parameter: Tensor, group: dict[str, Any], visible: Tensor | None) -> None:
        state = self.count_step(parameter)
        if parameter.is_cuda:
            self.step_in_torch(parameter, group, visible)
            return
        t, (beta1, beta2) = int(state["step"]), group["betas"]
        count = len(parameter)
        rows = torch.ones(count, dtype=torch.bool) if visible is None else visible
        arrays = [parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]]
        flat = [a.detach().reshape(count, -1).numpy() for a in arrays if a is not None]
        rates = np.full(flat[0].shape[1], group["lr"] / (1 - beta1**t), np.float32)
        if parameter.ndim == 3:
            rates[parameter.shape[2] :] *= group["rest_factor"]
        scalars = (beta1, beta2, (1 - beta2**t) ** -0.5, group["eps"])
        constants = [np.float32(value) for value in scalars]
        split_work(adam_rows, count, self.threads, *flat, rows.numpy(), rates, *constants)

    def count_step(self, parameter: Tensor) -> dict[str, Any]:
        """Return the state of a parameter, made where it is new, with its step counted."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return state

    def step_in_torch(
        self, parameter: Tensor, group: dict[str, Any], visible: Tensor | None
    ) -> None:
        """Update the visible rows by torch's operations, on any device, the step being counted."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        t, (beta1, beta2) = int(state["step"]), group["betas"]
        rows = slice(None) if visible is None else visible
        g = gradient[rows]
        mean = beta1 * state["exp_avg"][rows] + (1 - beta1) * g
        square = beta2 * state["exp_avg_sq"][rows] + (1 - beta2) * g * g
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        rate = torch.full_like(parameter[:1], group["lr"] / (1 - beta1**t))
        if parameter.ndim == 3:
            rate[:, 1:] *= group["rest_factor"]
        parameter[rows] -= rate * mean / (square.sqrt() * (1 - beta2**t) ** -0.5 + group["eps"])
