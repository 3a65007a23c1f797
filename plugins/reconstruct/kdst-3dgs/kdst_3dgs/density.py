"""Density control: gsplat's strategies, with what they lack on the CPU or at all."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gsplat.strategy import DefaultStrategy, MCMCStrategy  # type: ignore[import-untyped]
from gsplat.strategy.ops import remove, reset_opa  # type: ignore[import-untyped]
from torch import Tensor

from kdst_3dgs.options import Options
from kdst_3dgs.ply import Parameters
from kdst_3dgs.reference import rotations

Optimizers = dict[str, torch.optim.Optimizer]
_COPIES = 51  # most copies of one Gaussian that the MCMC formula is evaluated for
GRADIENT = {"default": 2e-4, "absgrad": 8e-4}  # thresholds of the paper and of AbsGS


@dataclass
class _CappedStrategy(DefaultStrategy):  # type: ignore[misc]
    """gsplat's strategy that grows those of the largest gradients when not all fit the cap."""

    grow_grad2d: float = GRADIENT["default"]
    cap_max: int = 1_000_000

    def _grow_gs(self, params: Any, optimizers: Any, state: Any, step: int) -> tuple[int, int]:
        threshold, room = self.grow_grad2d, self.cap_max - len(params["means"])
        mean = state["grad2d"] / state["count"].clamp_min(1)
        if room <= 0:
            return 0, 0
        if int((mean > threshold).sum()) > room:
            self.grow_grad2d = float(mean.topk(room + 1).values[-1])
        grown: tuple[int, int] = super()._grow_gs(params, optimizers, state, step)
        self.grow_grad2d = threshold
        return grown


class GradientControl:
    """Clone, split, prune and reset (Kerbl et al. 2023, section 5.2) by gsplat's DefaultStrategy.

    Adds a cap on Gaussians, and the opacity reset, which gsplat 1.5.3 never reaches: its condition
    `step % n == 0 & step > 0` is always false.
    """

    def __init__(self, options: Options, scene_scale: float) -> None:
        options = options.scheduled()
        self.options: Any = options
        self.strategy = _CappedStrategy(
            cap_max=options.cap_max,
            prune_opa=options.min_opacity,
            grow_grad2d=options.grow_grad2d or GRADIENT[options.strategy],
            grow_scale3d=options.grow_scale3d,
            prune_scale3d=options.prune_scale3d,
            refine_start_iter=options.refine_start_iter,
            refine_stop_iter=options.density_control_end,
            refine_every=options.refine_every,
            reset_every=options.reset_every or options.iterations + 1,
            absgrad=options.strategy == "absgrad",
        )
        self.state: dict[str, Any] = self.strategy.initialize_state(scene_scale)

    def after_step(
        self, params: Parameters, optimizers: Optimizers, step: int, info: dict[str, Any], lr: float
    ) -> None:
        """Account for one backward pass and refine when it is time."""
        if step >= self.options.density_control_end:
            return
        self.strategy.step_post_backward(params, optimizers, self.state, step, info)
        if self.options.reset_every and step > 0 and step % self.options.reset_every == 0:
            value = 2 * self.options.min_opacity
            reset_opa(params=params, optimizers=optimizers, state=self.state, value=value)

    def discard(self, params: Parameters, optimizers: Optimizers, unwanted: Tensor) -> None:
        """Remove the Gaussians where `unwanted` (N,) holds, unless that is all of them."""
        if unwanted.any() and not unwanted.all():
            remove(params=params, optimizers=optimizers, state=self.state, mask=unwanted)


class McmcControl:
    """3D Gaussian Splatting as Markov chain Monte Carlo (Kheradmand et al. 2024).

    gsplat's MCMCStrategy where there is CUDA; its kernels' formulas in torch elsewhere.
    """

    def __init__(self, options: Options, generator: torch.Generator, device: str) -> None:
        options = options.scheduled()
        self.options: Any = options
        self.generator = generator
        self.strategy = MCMCStrategy(
            cap_max=options.cap_max,
            noise_lr=options.noise_lr,
            refine_start_iter=options.refine_start_iter,
            refine_stop_iter=options.density_control_end,
            refine_every=options.refine_every,
            min_opacity=options.min_opacity,
        )
        self.state: dict[str, Any] = (
            self.strategy.initialize_state() if torch.device(device).type == "cuda" else {}
        )

    def after_step(
        self, params: Parameters, optimizers: Optimizers, step: int, info: dict[str, Any], lr: float
    ) -> None:
        """Relocate, add and jitter Gaussians after one optimiser step at means' rate `lr`."""
        if params["means"].is_cuda:
            self.strategy.step_post_backward(params, optimizers, self.state, step, info, lr)
            return
        o = self.options
        due = o.refine_start_iter < step < o.density_control_end and step % o.refine_every == 0
        if due:
            self._relocate(params, optimizers)
            self._add(params, optimizers)
        self._jitter(params, lr * o.noise_lr)

    def discard(self, params: Parameters, optimizers: Optimizers, unwanted: Tensor) -> None:
        """Make the Gaussians where `unwanted` (N,) holds transparent, to be relocated."""
        params["opacities"].data[unwanted] = -20.0

    @torch.no_grad()
    def _relocate(self, params: Parameters, optimizers: Optimizers) -> None:
        """Move the dead onto living Gaussians drawn by opacity (section 3.3)."""
        opacity = torch.sigmoid(params["opacities"])
        dead = (opacity <= self.options.min_opacity).nonzero()[:, 0]
        if len(dead) == 0 or len(dead) == len(opacity):
            return
        weights = opacity.clone()
        weights[dead] = 0
        source = torch.multinomial(weights, len(dead), replacement=True, generator=self.generator)
        self._share(params, source)

        def move(name: str, p: Tensor) -> Tensor:
            p[dead] = p[source]
            return p

        def forget(state: Tensor) -> Tensor:
            state[source] = 0
            return state

        replace_parameters(params, optimizers, move, forget)

    @torch.no_grad()
    def _add(self, params: Parameters, optimizers: Optimizers) -> None:
        """Grow by 5 % up to the cap, copies drawn by opacity."""
        count = len(params["means"])
        new = min(self.options.cap_max, int(1.05 * count)) - count
        if new <= 0:
            return
        weights = torch.sigmoid(params["opacities"])
        source = torch.multinomial(weights, new, replacement=True, generator=self.generator)
        self._share(params, source)
        replace_parameters(
            params,
            optimizers,
            lambda name, p: torch.cat([p, p[source]]),
            lambda state: torch.cat([state, torch.zeros_like(state[source])]),
        )

    def _share(self, params: Parameters, source: Tensor) -> None:
        """Give every Gaussian in `source`, in place, the opacity and scale of its copies."""
        copies = torch.bincount(source, minlength=len(params["means"])) + 1
        chosen = torch.unique(source)
        opacity, factor = relocation(torch.sigmoid(params["opacities"][chosen]), copies[chosen])
        floor = self.options.min_opacity
        params["opacities"].data[chosen] = torch.logit(opacity.clamp(floor, 1 - 1e-7))
        params["scales"].data[chosen] += factor.log()[:, None]

    @torch.no_grad()
    def _jitter(self, params: Parameters, scale: float) -> None:
        """Noise Σ·ε on the means of the transparent (eq. 8)."""
        opacity = torch.sigmoid(params["opacities"])
        faint = (opacity < 0.2).nonzero()[:, 0]  # the factor is below 1e-8 above
        if len(faint) == 0:
            return
        noise = torch.randn(len(faint), 3, generator=self.generator)
        noise *= scale * torch.sigmoid(100 * (0.005 - opacity[faint]))[:, None]
        axes = rotations(params["quats"][faint]) * params["scales"][faint].exp()[:, None, :]
        params["means"].data[faint] += (axes @ (axes.mT @ noise[..., None]))[..., 0]


def relocation(opacity: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity (N,) and scale factor (N,) of each of `copies` (N,) Gaussians that replace one of
    opacity (N,), so that together they look the same (Kheradmand et al. 2024, eq. 9)."""
    count = copies.clamp(1, _COPIES)
    new = 1 - (1 - opacity.double()) ** (1 / count)
    total = torch.zeros_like(new)
    for i in range(1, int(count.max()) + 1):
        terms = [
            math.comb(i - 1, k) * (-1) ** k / math.sqrt(k + 1) * new ** (k + 1) for k in range(i)
        ]
        total += torch.where(i <= count, torch.stack(terms).sum(0), torch.zeros_like(new))
    return new.float(), (opacity.double() / total).float()


def replace_parameters(
    params: Parameters,
    optimizers: Optimizers,
    change: Callable[[str, Tensor], Tensor],
    change_state: Callable[[Tensor], Tensor],
) -> None:
    """Replace every parameter and its optimiser's moments by changed copies."""
    for name in list(params):
        old = params[name]
        params[name] = torch.nn.Parameter(change(name, old.detach()))
        state = optimizers[name].state.pop(old, {})
        for key in ("exp_avg", "exp_avg_sq"):
            if key in state:
                state[key] = change_state(state[key])
        optimizers[name].param_groups[0]["params"] = [params[name]]
        optimizers[name].state[params[name]] = state
