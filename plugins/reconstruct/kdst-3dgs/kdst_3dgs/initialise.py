"""Gaussians to start from: SfM points, random points, or a file."""

import math
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from kdst_3dgs.harmonics import C0
from kdst_3dgs.options import Options
from kdst_3dgs.ply import Parameters, read_ply


def neighbour_distances(points: Tensor) -> Tensor:
    """Mean distance (N,) of points (N, 3) to their 3 nearest neighbours (fewer when there are)."""
    if len(points) < 2:
        return torch.full((len(points),), 0.1)
    found = min(4, len(points))
    distances, _ = cKDTree(points.numpy()).query(points.numpy(), k=found)
    return torch.from_numpy(distances[:, 1:].mean(1).astype(np.float32)).clamp_min(1e-7)


def from_points(points: Tensor, colors: Tensor, options: Options) -> Parameters:
    """Isotropic Gaussians at points (P, 3) with colours (P, 3) in [0, 1] (section 5.1)."""
    count = len(points)
    sh = torch.zeros(count, (options.sh_degree + 1) ** 2, 3)
    sh[:, 0] = (colors - 0.5) / C0
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return {
        "means": points.clone(),
        "quats": quats,
        "scales": (neighbour_distances(points) * options.init_scale).log()[:, None].repeat(1, 3),
        "opacities": torch.full(
            (count,), math.log(options.init_opacity / (1 - options.init_opacity))
        ),
        "sh": sh,
    }


def random_points(options: Options, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points uniform in a cube of half side `init_extent`, in the unit frame, and colours."""
    size = (options.init_num_points, 3)
    points = options.init_extent * (2 * torch.rand(size, generator=generator) - 1)
    return points, torch.rand(size, generator=generator)


def from_file(options: Options, origin: Tensor, unit: float) -> Parameters:
    """Gaussians of `options.init_ply` moved to the unit frame, SH cut or padded to the degree."""
    parameters = read_ply(Path(options.init_ply))
    parameters["means"] = (parameters["means"] - origin) / unit
    parameters["scales"] = parameters["scales"] - math.log(unit)
    sh = torch.zeros(len(parameters["means"]), (options.sh_degree + 1) ** 2, 3)
    shared = min(sh.shape[1], parameters["sh"].shape[1])
    sh[:, :shared] = parameters["sh"][:, :shared]
    parameters["sh"] = sh
    return parameters
