"""The options of training, with the paper's names and defaults."""

from typing import Any, Literal

import attrs

from kdst_core import option
from kdst_reconstruct.options import FitOptions

PUBLISHED: dict[bool, dict[str, Any]] = {
    False: {"init_opacity": 0.1, "init_scale": 1.0, "opacity_reg": 0.0, "scale_reg": 0.0}
    | {"refine_stop_iter": 15_000},
    True: {"init_opacity": 0.5, "init_scale": 0.1, "opacity_reg": 0.01, "scale_reg": 0.01}
    | {"refine_stop_iter": 25_000},
}
"""Values of the papers for what depends on the strategy, by whether it is mcmc."""
IGNORED = {
    True: ("reset_every", "grow_grad2d", "grow_scale3d", "prune_scale3d"),
    False: ("noise_lr",),
}
"""Options that density control does not read, by whether it is mcmc."""


@attrs.frozen
class Options(FitOptions):
    """Options of 3D Gaussian Splatting (Kerbl et al. 2023, sections 5 and 6, and their code)."""

    sh_degree: int = option(3, "Highest degree of spherical harmonics.", min=0, max=3)
    sh_degree_interval: int = option(1000, "Iterations between degrees of the warm-up.", min=1)
    dssim_weight: float = option(0.2, "λ in the loss (1 - λ)·L1 + λ·(1 - SSIM).", min=0, max=1)
    num_downscales: int = option(0, "Start at 1/2^n of the resolution.", min=0, max=6)
    resolution_schedule: int = option(3000, "Iterations before the resolution doubles.", min=1)

    init: str = option(
        "sfm", "Start from: sfm (the capture's points), random points, or the path of a .ply."
    )
    init_num_points: int = option(100_000, "Points of a random start.", min=1)
    init_extent: float = option(3.0, "Half side of a random start, in scene extents.", above=0)
    init_opacity: float | None = option(
        None, "Opacity at the start. Default: .1, or .5 by mcmc.", above=0, max=0.99
    )
    init_scale: float | None = option(
        None,
        "Size at the start, in mean distances to 3 neighbours. Default: 1, or .1 by mcmc.",
        above=0,
    )
    init_fill: int | None = option(
        None,
        "Cells across a photograph; those that see the ground where SfM has no points start with a"
        " Gaussian on it. 0 for none, as in the paper. Default: 40 where a short fit shows that it"
        " helps.",
        min=0,
    )
    background: Literal["auto", "black", "white", "random"] = option(
        "auto",
        "Colour behind the scene; auto is that of a transparent capture, else white when the"
        " photographs are bright where SfM has no points, as under an open sky, and a short fit shows"
        " that it helps, and black otherwise (the paper's).",
    )

    strategy: Literal["default", "absgrad", "mcmc"] = option(
        "default",
        "Density control: clone, split, prune and reset by screen gradients; the same by absolute"
        " gradients; or Markov chain Monte Carlo.",
    )
    cap_max: int = option(1_000_000, "Most Gaussians, whatever the strategy.", min=1)
    refine_start_iter: int | None = option(
        None,
        "Density control starts after this iteration. Default: 500, or a third of a short run.",
        min=0,
    )
    refine_stop_iter: int | None = option(
        None,
        "Density control stops here, and at the latest after two thirds of the run, so that its last"
        " changes settle. Default: 15,000, or 25,000 by mcmc.",
        min=0,
    )
    refine_every: int | None = option(
        None,
        "Iterations between refinements. Default: 100, or a ninth of a short run.",
        min=1,
    )
    reset_every: int = option(3000, "Iterations between opacity resets; 0 for none.", min=0)
    grow_grad2d: float = option(
        0.0,
        "Screen gradient above which a Gaussian grows; 0 for .0002, or .0008 by absgrad.",
        min=0,
    )
    grow_scale3d: float = option(
        0.01, "Size, in scene extents, above which it is split rather than cloned.", above=0
    )
    prune_scale3d: float = option(0.1, "Size, in scene extents, above which it is pruned.", above=0)
    min_opacity: float = option(
        0.005, "Opacity below which it is pruned, or relocated by MCMC.", above=0, max=0.5
    )
    free_depth: float = option(
        0.3,
        "Gaussians in front of a camera are pruned up to this share of the depth of the nearest SfM"
        " points; 0 for none, as in the paper.",
        min=0,
        max=1,
    )
    noise_lr: float = option(5e5, "Noise of MCMC, in learning rates of the means.", min=0)

    antialiased: bool = option(
        False, "Lower opacities for what the screen filter adds (Mip-Splatting, eq. 9)."
    )
    opacity_reg: float | None = option(
        None, "Weight of the mean opacity in the loss. Default: 0, or .01 by mcmc.", min=0
    )
    scale_reg: float | None = option(
        None,
        "Weight of the mean scale, in scene extents, in the loss. Default: 0, or .01 by mcmc.",
        min=0,
    )
    drop_rate: float = option(
        0.0,
        "Share of Gaussians left out of an iteration, growing from 0 to this (DropGaussian,"
        " CVPR 2025); it keeps few views from being learnt by heart.",
        min=0,
        max=0.9,
    )
    depth_weight: float = option(
        0.0, "Weight of the inverse-depth error at SfM points in the loss.", min=0
    )
    exposure: bool = option(False, "Learn an affine colour change for each training view.")
    exposure_lr: float = option(1e-3, "Learning rate of the exposures.", above=0)
    appearance: Literal["none", "exposure", "bilateral"] = option(
        "none",
        "Learn how each training view changes the colours: not at all; exposure, one affine change, as"
        " --exposure; or bilateral, a grid of them by place and luminance (Wang et al. 2024). New views"
        " are rendered without.",
    )
    bilateral_lr: float | None = option(
        None,
        "Learning rate of the bilateral grids; it rises for a fifth of the fit and falls to a tenth."
        " Default: .001, the published one, or 3 / iterations where that is more, at most .01.",
        above=0,
    )
    bilateral_tv: float = option(
        10.0, "Weight of the bilateral grids' total variation in the loss.", min=0
    )

    refine_cameras: bool = option(
        False,
        "Refine the cameras first: poses and focal lengths, by their gradients, while the scene stays on"
        " its points.",
    )
    camera_lr: float = option(
        4e-3,
        "Learning rate of poses at first, in radians and scene extents; a tenth for focal lengths.",
        above=0,
    )

    means_lr: float = option(1.6e-4, "Learning rate of the means, in scene extents.", above=0)
    means_lr_final: float = option(0.01, "Share of it left at the end.", above=0, max=1)
    scales_lr: float = option(5e-3, "Learning rate of the log scales.", above=0)
    opacities_lr: float = option(5e-2, "Learning rate of the opacity logits.", above=0)
    quats_lr: float = option(1e-3, "Learning rate of the quaternions.", above=0)
    sh0_lr: float = option(
        2.5e-3, "Learning rate of the colours; a 20th of it for higher harmonics.", above=0
    )
    threads: int = option(0, "CPU threads; 0 for all there are.", min=0)

    @property
    def appears(self) -> str:
        """What is learnt of each photograph's colours: none, exposure or bilateral."""
        return "exposure" if self.exposure else self.appearance

    @property
    def density_control_end(self) -> int:
        """Iteration at which density control stops."""
        stop = self.refine_stop_iter
        limit = PUBLISHED[self.strategy == "mcmc"]["refine_stop_iter"] if stop is None else stop
        return min(int(limit), 2 * self.iterations // 3)

    def scheduled(self) -> Any:
        """Return the options, with nothing left open, that a run of `iterations` is carried out with.

        What was left open takes the strategy's published value (MCMC: Kheradmand et al. 2024,
        section 4), and density control begins after a third of a short run.
        """
        published = PUBLISHED[self.strategy == "mcmc"] | {
            "refine_start_iter": min(500, max(1, self.iterations // 3)),
            "refine_every": max(1, min(100, self.iterations // 9)),
            "bilateral_lr": min(0.01, max(0.001, 3 / self.iterations)),
        }
        left_open = {n: v for n, v in published.items() if getattr(self, n) is None}
        return attrs.evolve(self, **left_open) if left_open else self

    @property
    def refines(self) -> bool:
        """Whether density control acts at all in a run of `iterations`."""
        o = self.scheduled()
        first = (o.refine_start_iter // o.refine_every + 1) * o.refine_every
        return bool(first < min(o.density_control_end, o.iterations))

    def unused(self, points: int = 1) -> list[str]:
        """Return a sentence for every option that was set and never acts in this run.

        `iterations` is the number that the run has; points: how many structure from motion found.
        """
        mcmc, defaults = self.strategy == "mcmc", Options()
        reasons = dict.fromkeys(IGNORED[mcmc], f"--strategy {self.strategy} does not read it")
        if self.init != "random":
            reasons |= dict.fromkeys(("init_num_points", "init_extent"), "it is for --init random")
        if self.init != "sfm":
            reasons["init_fill"] = "it is for --init sfm"
        if self.init.lower().endswith(".ply"):
            reasons |= dict.fromkeys(("init_opacity", "init_scale"), "the .ply says it")
        if not points:
            reasons |= dict.fromkeys(
                ("free_depth", "depth_weight"), "the capture has no points of structure from motion"
            )
        if self.appears != "exposure":
            reasons["exposure_lr"] = "it is for --exposure"
        if self.appears != "bilateral":
            grids = ("bilateral_lr", "bilateral_tv")
            reasons |= dict.fromkeys(grids, "it is for --appearance bilateral")
        if not self.refine_cameras:
            reasons["camera_lr"] = "it is for --refine-cameras"
        if not self.num_downscales:
            reasons["resolution_schedule"] = "it is for --num-downscales"
        if self.sh_degree_interval >= self.iterations:
            reasons["sh_degree"] = (
                f"the harmonics begin at iteration {self.sh_degree_interval:,}"
                f" (--sh-degree-interval) of {self.iterations:,}"
            )
        if self.reset_every >= self.density_control_end:
            reasons["reset_every"] = (
                f"density control ends at iteration {self.density_control_end:,}"
            )
        changed = (n for n in reasons if getattr(self, n) != getattr(defaults, n))
        said = [f"--{n.replace('_', '-')} has no effect: {reasons[n]}." for n in changed]
        if not self.refines:
            said.append(
                f"Density control never acts in {self.iterations:,} iterations: the number of"
                " Gaussians stays that of the start."
            )
        return said

    def __attrs_post_init__(self) -> None:
        if self.init not in ("sfm", "random") and not self.init.lower().endswith(".ply"):
            raise ValueError(f"init {self.init}: give sfm, random or the path of a .ply")
        if self.exposure and self.appearance == "bilateral":
            raise ValueError(
                "exposure and appearance bilateral exclude each other: give one of them"
            )
