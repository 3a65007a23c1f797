"""Gaussians to start from: SfM points, random points, or a file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import interpolate

from kdst_3dgs.harmonics import C0
from kdst_3dgs.options import Options
from kdst_3dgs.ply import Parameters, read_ply
from kdst_3dgs.views import Frame, View


def neighbour_distances(points: Tensor) -> Tensor:
    """Mean distance (N,) of points (N, 3) to their 3 nearest neighbours (fewer when there are)."""
    if len(points) < 2:
        return torch.full((len(points),), 0.1)
    found = min(4, len(points))
    distances = np.asarray(cKDTree(points.numpy()).query(points.numpy(), k=found)[0])
    return torch.from_numpy(distances[:, 1:].mean(1).astype(np.float32)).clamp_min(1e-7)


def from_points(points: Tensor, colors: Tensor, options: Options) -> Parameters:
    """Isotropic Gaussians at points (P, 3) with colours (P, 3) in [0, 1] (section 5.1)."""
    settings, count = options.scheduled(), len(points)
    sh = torch.zeros(count, (options.sh_degree + 1) ** 2, 3)
    sh[:, 0] = (colors - 0.5) / C0
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return {
        "means": points.clone(),
        "quats": quats,
        "scales": (neighbour_distances(points) * settings.init_scale).log()[:, None].repeat(1, 3),
        "opacities": torch.full(
            (count,), math.log(settings.init_opacity / (1 - settings.init_opacity))
        ),
        "sh": sh,
    }


_ROLL = 0.003
"""Mean square sine of the roll of hand-held cameras, 3 degrees."""


_LEVEL = math.radians(10)
"""Roll of the cameras against the horizon, root mean square, that makes their up doubtful."""
SKY = 0.7
"""Brightness, of 1, above which what has no points may be an open sky."""


NEIGHBOURS, BESIDE = 8, 5.0
"""Points that are looked at beside what is added to a ground, and how far, in its sizes."""


class Ground(NamedTuple):
    """The horizontal plane under nearly all SfM points; up is that of the photographs.

    confidence: from 0 to 1, that up is up.
    """

    up: Tensor  # (3,)
    height: float
    confidence: float


def ground_of(views: Sequence[View], points: Tensor) -> Ground:
    """Estimate the ground: lawns, roads and table tops have few points, but lie flat.

    Photographs are often pitched, seldom rolled: up is the mean up of the cameras, bent to be
    orthogonal to their horizontal axes where these differ. 2 % of the points may be strays below.
    It is doubtful where the cameras are rolled against it, where their own ups differ, and by half
    where all look the same way, so that a common pitch cannot be seen.
    """
    pitched = -torch.stack([view.viewmat[1, :3] for view in views]).mean(0)
    across = torch.stack([view.viewmat[0, :3] for view in views])
    spread = across.T @ across / len(views)
    up = torch.linalg.solve(spread + _ROLL * torch.eye(3), pitched)
    up = up / up.norm().clamp_min(1e-6)
    roll = float((across @ up).clamp(-1, 1).asin().square().mean())
    turned = float(torch.linalg.eigvalsh(spread)[1])
    agreed = float(pitched.norm()) * (0.5 + 0.5 * turned / (turned + _ROLL))
    confidence = math.exp(-roll / _LEVEL**2) * agreed
    return Ground(up, _quantile(points @ up, 0.02), confidence)


def _quantile(values: Tensor, share: float) -> float:
    """A quantile of any number of values, which torch's own takes only 16 million of."""
    return float(np.quantile(values.numpy(), share))


def fill_ground(
    parameters: Parameters, views: Sequence[View], points: Tensor, options: Options, cells: int
) -> Parameters:
    """Add Gaussians on the ground where photographs show it and SfM has no points on it.

    Each view is cut into square cells, `cells` across. A cell into which no point and no
    earlier addition projects, and which sees the ground nearer than the three nearest points in
    the image, gets a Gaussian there of its size and mean colour.
    """
    found = _unseen_ground(views, points, cells)
    if found is None:
        return parameters
    means, colors, sizes = found
    extra = from_points(means, colors, options)
    extra["scales"] = sizes.log()[:, None].repeat(1, 3)
    extra["opacities"] = torch.full((len(means),), 1.4)  # opacity .8: they must cover
    return {name: torch.cat([p, extra[name]]) for name, p in parameters.items()}


def _unseen_ground(
    views: Sequence[View], points: Tensor, cells: int
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Centres (M, 3), colours (M, 3) and sizes (M,) of what `fill_ground` adds, None for nothing."""
    ground = ground_of(views, points)
    added: list[tuple[Tensor, Tensor, Tensor]] = []
    occupying = points
    for view in views:
        found = _empty_cells(view, occupying, cells, ground)
        if found is not None:
            added.append(found)
            occupying = torch.cat([occupying, found[0]])
    if not added:
        return None
    means, colors, sizes = (torch.cat(parts) for parts in zip(*added, strict=True))
    return means, colors, sizes


def ground_seen(views: Sequence[View], points: Tensor, cells: int) -> float:
    """Return how far SfM's points bear out the ground that `fill_ground` adds, from 0 to 1.

    It is the share of what is added that stands next to points on the ground: of the NEIGHBOURS
    points that are nearest to it on the map, and not farther than BESIDE of its sizes, most lie within
    its size of the plane. A lawn or a road without points has no such neighbours.
    """
    found = _unseen_ground(views, points, cells)
    if found is None:
        return 0.0
    ground, (means, _, sizes) = ground_of(views, points), found
    heights = points @ ground.up - ground.height
    flat, at = (x - (x @ ground.up)[:, None] * ground.up for x in (points, means))
    near = min(NEIGHBOURS, len(points))
    distances, rows = cKDTree(flat.numpy()).query(at.numpy(), k=range(1, near + 1))
    beside = torch.from_numpy(distances).float() < BESIDE * sizes[:, None]
    level = beside & (heights[torch.from_numpy(rows)].abs() < sizes[:, None])
    return float((2 * level.sum(1) > beside.sum(1)).float().mean())


def _pixels(view: View, points: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel positions (M, 2) and depths (M,) of the points that fall into the photograph."""
    camera = points @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]
    camera = camera[camera[:, 2] > 0.01]
    pixels = (camera @ view.K.T)[:, :2] / camera[:, 2:]
    height, width = view.size
    inside = ((pixels >= 0) & (pixels < torch.tensor([width, height]))).all(-1)
    return pixels[inside], camera[inside, 2]


def _empty_cells(
    view: View, occupying: Tensor, cells: int, ground: Ground | None = None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Centres (M, 3), colours (M, 3) and sizes (M,) of what fills the empty cells of a view."""
    height, width = view.size
    side = width / cells
    rows = math.ceil(height / side)
    pixels, _ = _pixels(view, occupying)
    taken = torch.zeros(rows, cells, dtype=torch.bool)
    index = (pixels / side).long()
    taken[index[:, 1].clamp(max=rows - 1), index[:, 0].clamp(max=cells - 1)] = True
    known, depths = _pixels(view, view.seen)
    ys, xs = (~taken).nonzero().unbind(-1)
    centres = torch.stack([xs + 0.5, ys + 0.5], -1) * side
    centres[:, 1].clamp_(max=height - 0.5)
    x, y = centres.long().unbind(-1)
    shown = torch.ones(len(centres), dtype=torch.bool)
    for layer in (view.mask, view.alpha):
        if layer is not None:
            shown &= layer[y, x] > 0.5
    centres, ys, xs = centres[shown], ys[shown], xs[shown]
    if len(known) < 3 or len(centres) == 0:
        return None
    _, nearest = cKDTree(known.numpy()).query(centres.numpy(), k=3)
    z = 1 / (1 / depths[torch.from_numpy(nearest)]).mean(-1)
    planes = view.image.permute(2, 0, 1)[None]
    colors = interpolate(planes, (rows, cells), mode="area")[0].permute(1, 2, 0)[ys, xs]
    rays = torch.cat([centres, torch.ones(len(centres), 1)], -1) @ view.K.inverse().T
    R, t = view.viewmat[:3, :3], view.viewmat[:3, 3]
    if ground is not None:
        fall = rays @ R @ ground.up
        below = (ground.height + R.T @ t @ ground.up) / fall  # depth at which a ray meets it
        meets = (fall < 0) & (below > 0) & (below < z)
        rays, colors, z = rays[meets], colors[meets], below[meets]
    world = (rays * z[:, None] - t) @ R
    return world, colors / view.gain, 0.8 * side * z / view.K[0, 0]


def empty_brightness(views: Sequence[View], points: Tensor) -> float:
    """Median brightness, in [0, 1], of what SfM has no points on; 0 where it has them all over."""
    if len(points) == 0 or any(view.transparent for view in views):
        return 0.0
    found = (_empty_cells(view, points, 40) for view in views)
    colors = [cells[1].mean(-1) for cells in found if cells is not None]
    return float(torch.cat(colors).median()) if colors else 0.0


def start(
    options: Options,
    frame: Frame,
    shades: Tensor,
    generator: torch.Generator,
    ground: bool,
) -> Parameters:
    """Return the Gaussians that a fit starts from: those of a file, random ones, or those of SfM with
    colours `shades` (P, 3) in [0, 1], and with `ground` what `fill_ground` adds.

    Raises ValueError where there is nothing to start from.
    """
    if options.init.lower().endswith(".ply"):
        return from_file(options, frame.origin, frame.unit)
    if options.init == "random":
        return from_points(*random_points(options, generator), options)
    if len(frame.points) == 0:
        raise ValueError("The capture has no SfM points; start from random ones: --init random.")
    parameters = from_points(frame.points, shades, options)
    if not (options.init_fill and ground):
        return parameters
    return fill_ground(parameters, frame.views, frame.points, options, options.init_fill)


def random_points(options: Options, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points uniform in a cube of half side `init_extent`, in the unit frame, and colours."""
    size = (options.init_num_points, 3)
    points = options.init_extent * (2 * torch.rand(size, generator=generator) - 1)
    return points, torch.rand(size, generator=generator)


def from_file(options: Options, origin: Tensor, unit: float) -> Parameters:
    """Gaussians of the .ply `options.init` moved to the unit frame, SH cut or padded to the degree."""
    path = Path(options.init).expanduser()
    if not path.is_file():
        raise ValueError(f"init {options.init}: no such file.")
    parameters = read_ply(path)
    parameters["means"] = (parameters["means"] - origin) / unit
    parameters["scales"] = parameters["scales"] - math.log(unit)
    sh = torch.zeros(len(parameters["means"]), (options.sh_degree + 1) ** 2, 3)
    shared = min(sh.shape[1], parameters["sh"].shape[1])
    sh[:, :shared] = parameters["sh"][:, :shared]
    parameters["sh"] = sh
    return parameters
