"""The embedded capture: textured solids on a patterned floor, ray-cast in numpy."""

from typing import Any, NamedTuple

import numpy as np
import torch

from kdst_core.bench.sealed import withhold
from kdst_core.contracts import Camera, Capture

Array = np.ndarray[Any, np.dtype[np.float64]]

VIEWS, WIDTH, HEIGHT, POINTS = 32, 160, 120, 6000
ITERATIONS = 1500
FLOOR_RADIUS = 2.0
SPHERES = (((0.75, 0.2, 0.5), 0.5), ((-0.7, 0.75, 0.35), 0.35))
BOXES = (((-0.95, -0.85, 0.0), (-0.25, -0.15, 0.7)), ((0.35, -1.1, 0.0), (0.9, -0.6, 0.4)))
LIGHT = np.array([0.4, -0.3, 0.87])


class Hits(NamedTuple):
    """Where rays meet a surface: positions (R, 3), colours (R, 3) in [0, 1], which rays do (R,)."""

    positions: Array
    colors: Array
    found: Any


def capture(
    views: int = VIEWS, width: int = WIDTH, height: int = HEIGHT, points: int = POINTS
) -> Capture:
    """Photograph the solids from a circle of cameras, and sample points on what they see.

    World z points up; the background is white. The same arguments give the same capture. RuntimeError
    while a method works: it is judged by some of the views.
    """
    withhold("the embedded capture")
    K = np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    poses = [_pose(2 * np.pi * k / views) for k in range(views)]
    rng = np.random.default_rng(0)
    positions, colors = _sample_points(K, poses, (width, height), points, rng)
    return Capture(
        images=[torch.from_numpy(_photograph(K, p, width, height)).float() for p in poses],
        cameras=[
            Camera(torch.from_numpy(K).float(), torch.from_numpy(p).float(), width, height)
            for p in poses
        ],
        names=[f"{k:02d}.png" for k in range(views)],
        masks=None,
        points=torch.from_numpy(positions).float(),
        colors=torch.from_numpy(colors).float(),
    )


def _pose(angle: float) -> Array:
    """World to camera (4, 4) of a camera on the circle that looks at the middle of the floor."""
    centre = np.array([3.6 * np.cos(angle), 3.6 * np.sin(angle), 1.8 + 0.5 * np.sin(3 * angle)])
    forward = np.array([0, 0, 0.25]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ centre
    return pose


def _photograph(K: Array, pose: Array, width: int, height: int, samples: int = 3) -> Array:
    """Image (H, W, 3), the mean of samples² rays a pixel."""
    fine = samples * np.array([width, height])
    x, y = np.meshgrid((np.arange(fine[0]) + 0.5) / samples, (np.arange(fine[1]) + 0.5) / samples)
    hits = _cast(K, pose, x.ravel(), y.ravel())
    shown = np.where(hits.found[:, None], hits.colors, 1.0)
    return shown.reshape(height, samples, width, samples, 3).mean((1, 3))


def _sample_points(
    K: Array, poses: list[Array], size: tuple[int, int], count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Positions and colours (count, 3) of surface points that the cameras see."""
    share = -(-2 * count // len(poses))
    hits = [_cast(K, p, *(rng.uniform(0, side, share) for side in size)) for p in poses]
    positions = np.concatenate([h.positions[h.found] for h in hits])
    colors = np.concatenate([h.colors[h.found] for h in hits])
    chosen = rng.permutation(len(positions))[:count]
    return positions[chosen], colors[chosen]


def _cast(K: Array, pose: Array, x: Array, y: Array) -> Hits:
    """Follow the rays through pixel positions x, y (R,) to the nearest surface."""
    in_camera = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], 1)
    direction = in_camera @ pose[:3, :3]
    origin = -pose[:3, :3].T @ pose[:3, 3]
    distance = np.full(len(x), np.inf)
    normal = np.zeros((len(x), 3))
    tint = np.zeros((len(x), 3))
    solids = [_floor(origin, direction)]
    solids += [_sphere(origin, direction, np.array(c), r) for c, r in SPHERES]
    solids += [_box(origin, direction, np.array(low), np.array(high)) for low, high in BOXES]
    tints = np.array([[1, 1, 1], [1, 0.45, 0.3], [0.35, 0.6, 1], [0.5, 0.85, 0.4], [1, 0.8, 0.3]])
    for number, (t, n) in enumerate(solids):
        nearer = t < distance
        distance[nearer], normal[nearer], tint[nearer] = t[nearer], n[nearer], tints[number]
    found = np.isfinite(distance)
    positions = origin + np.where(found, distance, 0.0)[:, None] * direction
    shade = 0.55 + 0.45 * np.clip(normal @ LIGHT, 0, 1)
    return Hits(positions, tint * (_texture(positions) * shade)[:, None], found)


def _texture(position: Array) -> Array:
    """Brightness (R,) in [0, 1] at positions (R, 3): a soft checkerboard under slow waves."""
    x, y, z = position.T
    checks = np.tanh(4 * np.sin(5 * x + 0.3) * np.sin(5 * y + 0.1) * np.cos(6 * z))
    waves = np.sin(2.1 * x + 1.3 * y) + np.sin(1.7 * y - 2.3 * z + 1)
    return np.clip(0.58 + 0.24 * checks + 0.08 * waves, 0, 1)


def _floor(origin: Array, direction: Array) -> tuple[Array, Array]:
    """Distances (R,) and normals (R, 3) on the round floor, infinite where a ray misses."""
    t = -origin[2] / np.where(np.abs(direction[:, 2]) < 1e-12, 1e-12, direction[:, 2])
    place = origin[:2] + t[:, None] * direction[:, :2]
    hit = (t > 0) & ((place**2).sum(1) < FLOOR_RADIUS**2)
    return np.where(hit, t, np.inf), np.broadcast_to([0.0, 0.0, 1.0], direction.shape)


def _sphere(origin: Array, direction: Array, centre: Array, radius: float) -> tuple[Array, Array]:
    """Distances and normals on a sphere."""
    offset = origin - centre
    a, b = (direction**2).sum(1), direction @ offset
    root = b**2 - a * (offset @ offset - radius**2)
    t = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    place = origin + np.where(np.isfinite(t), t, 0)[:, None] * direction
    return t, (place - centre) / radius


def _box(origin: Array, direction: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Distances and normals on an upright box."""
    safe = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    near, far = np.sort([(low - origin) / safe, (high - origin) / safe], axis=0)
    t, end = near.max(1), far.min(1)
    normal = np.zeros_like(direction)
    axis = near.argmax(1)
    rows = np.arange(len(direction))
    normal[rows, axis] = -np.sign(direction[rows, axis])
    return np.where((t < end) & (t > 0), t, np.inf), normal
