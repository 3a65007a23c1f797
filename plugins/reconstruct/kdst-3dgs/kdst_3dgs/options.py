"""The options of training, with the paper's names and defaults."""

import attrs
from attrs import validators

_POSITIVE = validators.gt(0)
_NOT_NEGATIVE = validators.ge(0)


def _option(default, help, *checks):  # type: ignore[no-untyped-def]
    """One attrs field with its help text and validators."""
    return attrs.field(default=default, validator=list(checks), metadata={"help": help})


@attrs.frozen(kw_only=True)
class Options:
    """Options of 3D Gaussian Splatting (Kerbl et al. 2023, section 5 and appendix B)."""

    iterations: int = _option(30_000, "Training iterations, one view each.", _POSITIVE)
    sh_degree: int = _option(
        3, "Highest degree of spherical harmonics, 0 to 3.", validators.in_(range(4))
    )
    sh_degree_interval: int = _option(1000, "Iterations between degrees of the warm-up.", _POSITIVE)
    dssim_weight: float = _option(
        0.2, "λ of the loss (1 - λ)·L1 + λ·(1 - SSIM).", validators.ge(0), validators.le(1)
    )
    num_downscales: int = _option(0, "Training starts at 1/2^n of the resolution.", _NOT_NEGATIVE)
    resolution_schedule: int = _option(3000, "Iterations before the resolution doubles.", _POSITIVE)
    init: str = _option(
        "sfm",
        "Start from SfM points, random points, or a .ply.",
        validators.in_(("sfm", "random", "ply")),
    )
    init_ply: str = _option("", "The .ply to start from.")
    init_num_points: int = _option(100_000, "Points of a random start.", _POSITIVE)
    init_extent: float = _option(3.0, "Half side of a random start, in scene extents.", _POSITIVE)
    init_opacity: float = _option(0.1, "Opacity at the start.", validators.gt(0), validators.lt(1))
    init_scale: float = _option(
        1.0, "Size at the start, in mean distances to 3 neighbours.", _POSITIVE
    )
    background: str = _option(
        "black", "Colour behind the scene.", validators.in_(("black", "white", "random"))
    )
    strategy: str = _option(
        "default",
        "Density control: clone, split and prune; by absolute gradients; or MCMC.",
        validators.in_(("default", "absgrad", "mcmc")),
    )
    cap_max: int = _option(1_000_000, "Most Gaussians, whatever the strategy.", _POSITIVE)
    refine_start_iter: int = _option(
        500, "Density control starts after this iteration.", _NOT_NEGATIVE
    )
    refine_stop_iter: int = _option(
        15_000, "Density control stops here (MCMC: 25,000 in the paper).", _NOT_NEGATIVE
    )
    refine_every: int = _option(100, "Iterations between refinements.", _POSITIVE)
    reset_every: int = _option(
        3000, "Iterations between opacity resets; 0 for none.", _NOT_NEGATIVE
    )
    grow_grad2d: float = _option(
        0.0,
        "Screen gradient above which a Gaussian grows; 0 means .0002, and .0008 for absgrad.",
        _NOT_NEGATIVE,
    )
    grow_scale3d: float = _option(
        0.01, "Above this size, in scene extents, a Gaussian is split, not cloned.", _POSITIVE
    )
    prune_scale3d: float = _option(
        0.1, "Above this size, in scene extents, a Gaussian is pruned.", _POSITIVE
    )
    min_opacity: float = _option(
        0.005, "Below this opacity a Gaussian is pruned or relocated.", _POSITIVE
    )
    noise_lr: float = _option(5e5, "Noise of MCMC, in learning rates of the means.", _NOT_NEGATIVE)
    antialiased: bool = _option(
        False, "Scale opacities for what the screen filter adds (Mip-Splatting)."
    )
    opacity_reg: float = _option(
        0.0, "Weight of the mean opacity in the loss (MCMC: .01 in the paper).", _NOT_NEGATIVE
    )
    scale_reg: float = _option(
        0.0,
        "Weight of the mean scale, in scene extents, in the loss (MCMC: .01 in the paper).",
        _NOT_NEGATIVE,
    )
    drop_rate: float = _option(
        0.0,
        "Share of Gaussians left out of an iteration, rising from 0 to this at the end (DropGaussian).",
        validators.ge(0),
        validators.lt(1),
    )
    depth_weight: float = _option(
        0.0, "Weight of the inverse-depth error at SfM points in the loss.", _NOT_NEGATIVE
    )
    exposure: bool = _option(False, "Learn an affine colour change of each training view.")
    exposure_lr: float = _option(1e-3, "Learning rate of the exposures.", _POSITIVE)
    means_lr: float = _option(1.6e-4, "Learning rate of the means, in scene extents.", _POSITIVE)
    means_lr_final: float = _option(0.01, "Share of it left at the end.", _POSITIVE)
    scales_lr: float = _option(5e-3, "Learning rate of the log scales.", _POSITIVE)
    opacities_lr: float = _option(5e-2, "Learning rate of the opacity logits.", _POSITIVE)
    quats_lr: float = _option(1e-3, "Learning rate of the quaternions.", _POSITIVE)
    sh0_lr: float = _option(
        2.5e-3, "Learning rate of the colours; a 20th for higher harmonics.", _POSITIVE
    )
    threads: int = _option(0, "CPU threads; 0 for all.", _NOT_NEGATIVE)
