"""Cameras on an orbit: around what the photographs look at, or around a scene without any."""

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch

from kdst_core.contracts import Camera, Splats

Array = np.ndarray[Any, np.dtype[np.float64]]

ROUND = 2 * np.pi / 3
"""Cameras go round a place when no gap between their directions is wider than this angle."""
SWAY = 0.5
"""Angle of the smallest arc that an orbit swings over."""


def axis(name: str) -> Array:
    """Return the unit vector (3,) of an axis, such as `-y`."""
    return np.eye(3)["xyz".index(name[-1])] * (-1 if name.startswith("-") else 1)


def placement(cameras: Sequence[Camera]) -> tuple[Array, Array]:
    """Return centres (V, 3) and rotations (V, 3, 3), camera to world, of cameras."""
    poses = np.stack([c.viewmat.double().numpy() for c in cameras])
    rotations = poses[:, :3, :3].transpose(0, 2, 1)
    return -(rotations @ poses[:, :3, 3:])[..., 0], rotations


def upward(cameras: Sequence[Camera]) -> Array:
    """Return the unit vector (3,) that is up: across the photographs' horizontal edges.

    Where these all point the same way, it is what is up in most of the photographs.
    """
    _, rotations = placement(cameras)
    mean = -rotations[:, :, 1].mean(0)
    right = rotations[:, :, 0]
    spread, axes = np.linalg.eigh(right.T @ right / len(right))
    if spread[1] > 0.01 and spread[0] < spread[1] / 4:
        return axes[:, 0] * (1.0 if axes[:, 0] @ mean >= 0 else -1.0)
    length = np.linalg.norm(mean)
    return mean / length if length > 1e-6 else -rotations[0, :, 1]


def focus(cameras: Sequence[Camera], middle: Array) -> Array:
    """Return the point (3,) nearest to all optical axes; `middle` where most of them look away."""
    centres, rotations = placement(cameras)
    forward = rotations[:, :, 2]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    system = across.sum(0)
    if np.linalg.cond(system) > 1e4:
        return middle
    point = np.linalg.solve(system, (across @ centres[:, :, None]).sum(0))[:, 0]
    ahead = ((point - centres) * forward).sum(1) > 0
    return point if ahead.mean() > 0.5 else middle


def extent(splats: Splats) -> tuple[Array, float]:
    """Return the middle (3,) of a scene, and the distance that holds 9 of 10 Gaussians of it."""
    solid = splats.opacities > 0.3
    means = splats.means[solid if bool(solid.any()) else slice(None)].double().cpu().numpy()
    middle = np.median(means, axis=0)
    spread = float(np.quantile(np.linalg.norm(means - middle, axis=1), 0.9))
    return middle, spread or 1.0


def around_views(
    cameras: Sequence[Camera], middle: Array, frames: int, up: Array | None = None
) -> list[Camera]:
    """Return `frames` cameras at the photographs' usual distance and height from what they show.

    Where the photographs do not go round, the orbit swings over the arc that they cover. up (3,)
    overrides what the photographs say.
    """
    up = upward(cameras) if up is None else up
    centre = focus(cameras, middle)
    offsets = placement(cameras)[0] - centre
    height = offsets @ up
    flat = offsets - height[:, None] * up
    east = _across(up, flat.mean(0) if len(cameras) > 1 else flat[0])
    north = np.cross(up, east)
    angles = np.sort(np.arctan2(flat @ north, flat @ east))
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    widest = int(gaps.argmax())
    turn = np.arange(frames) / frames
    if gaps[widest] < ROUND:
        at = angles[0] + 2 * np.pi * turn
    else:
        span = 2 * np.pi - gaps[widest]
        start = angles[(widest + 1) % len(angles)]
        at = start + span / 2 + max(span, SWAY) / 2 * np.sin(2 * np.pi * turn)
    radius = float(np.median(np.linalg.norm(flat, axis=1))) or 1.0
    level = centre + float(np.median(height)) * up
    ring = np.cos(at)[:, None] * east + np.sin(at)[:, None] * north
    return [looking(cameras[0], level + radius * r, centre, up) for r in ring]


def around_scene(splats: Splats, up: Array, frames: int, size: tuple[int, int]) -> list[Camera]:
    """Return `frames` cameras of (width, height) pixels on a circle around a scene.

    The first looks along z where y is up or down, as COLMAP's first camera does; else along y.
    """
    middle, spread = extent(splats)
    width, height = size
    K = torch.tensor([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    first = Camera(K, torch.eye(4), width, height)
    east = _across(up, -np.eye(3)[2 if abs(up[1]) > abs(up[2]) else 1])
    north = np.cross(up, east)
    at = 2 * np.pi * np.arange(frames) / frames
    ring = 1.9 * spread * (np.cos(at)[:, None] * east + np.sin(at)[:, None] * north)
    return [looking(first, middle + r + 0.4 * spread * up, middle, up) for r in ring]


def looking(first: Camera, place: Array, at: Array, up: Array) -> Camera:
    """Return a camera with the intrinsics of `first` that looks from a place at a point."""
    forward = (at - place) / np.linalg.norm(at - place)
    right = _across(forward, np.cross(forward, up))
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ place
    return attrs.evolve(first, viewmat=torch.from_numpy(pose).float(), exposure=None)


def _across(axis: Array, wish: Array) -> Array:
    """Return the unit vector across `axis` that is nearest to a wish; any where that is along it."""
    for choice in (wish, *np.eye(3)):
        flat = choice - (choice @ axis) * axis
        length = np.linalg.norm(flat)
        if length > 1e-6:
            return flat / length
    raise AssertionError("one of three axes lies across any other")
