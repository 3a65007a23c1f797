"""Photographs of the embedded solids with detail, by the rays of `default/solids.py` in one compiled loop.

The solids are as smooth as a fit needs them, and show structure from motion next to nothing. Grain adds
what photographs have: value noise of four sizes on every surface. Numpy takes ten times as long;
`placing.py` compares the two where there is no grain.
"""

import math
from typing import Any

import numba
import numpy as np

from kdst_reconstruct.default import solids

CENTRES = np.array([centre for centre, _ in solids.SPHERES])
RADII = np.array([radius for _, radius in solids.SPHERES])
LOW = np.array([low for low, _ in solids.BOXES])
HIGH = np.array([high for _, high in solids.BOXES])
TINTS = np.array([[1, 1, 1], [1, 0.45, 0.3], [0.35, 0.6, 1], [0.5, 0.85, 0.4], [1, 0.8, 0.3]])
FLOOR, LIGHT = solids.FLOOR_RADIUS**2, solids.LIGHT


@numba.njit
def nearest(o: Any, d: Any, normal: Any) -> tuple[float, int]:
    """Distance to the nearest solid along a ray, infinite where it misses, and which it is."""
    best, which = np.inf, -1
    t = -o[2] / (d[2] if abs(d[2]) >= 1e-12 else 1e-12)
    if t > 0 and (o[0] + t * d[0]) ** 2 + (o[1] + t * d[1]) ** 2 < FLOOR:
        best, which = t, 0
        normal[:] = 0.0
        normal[2] = 1.0
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    for k in range(len(RADII)):
        b, c = 0.0, -(RADII[k] ** 2)
        for i in range(3):
            b += d[i] * (o[i] - CENTRES[k, i])
            c += (o[i] - CENTRES[k, i]) ** 2
        root = b * b - a * c
        t = (-b - math.sqrt(root)) / a if root > 0 else np.inf
        if t < best:
            best, which = t, 1 + k
            for i in range(3):
                normal[i] = (o[i] - CENTRES[k, i] + t * d[i]) / RADII[k]
    for k in range(len(LOW)):
        near, far, axis = -np.inf, np.inf, 0
        for i in range(3):
            safe = d[i] if abs(d[i]) >= 1e-12 else 1e-12
            first, second = (LOW[k, i] - o[i]) / safe, (HIGH[k, i] - o[i]) / safe
            if min(first, second) > near:
                near, axis = min(first, second), i
            far = min(far, max(first, second))
        if 0 < near < far and near < best:
            best, which = near, 1 + len(RADII) + k
            normal[:] = 0.0
            normal[axis] = -np.sign(d[axis])
    return best, which


@numba.njit
def brightness(x: float, y: float, z: float) -> float:
    """Brightness of a place: a soft checkerboard under slow waves."""
    checks = math.tanh(4 * math.sin(5 * x + 0.3) * math.sin(5 * y + 0.1) * math.cos(6 * z))
    waves = math.sin(2.1 * x + 1.3 * y) + math.sin(1.7 * y - 2.3 * z + 1)
    return min(max(0.58 + 0.24 * checks + 0.08 * waves, 0.0), 1.0)


@numba.njit
def hashed(i: int, j: int, k: int) -> float:
    """A number in [-1, 1] that belongs to a corner of the grid."""
    h = (i * 73856093) ^ (j * 19349663) ^ (k * 83492791)
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 32767.5 - 1


@numba.njit
def detail(x: float, y: float, z: float) -> float:
    """Value noise at a place, in [-1, 1]: the mean over cells of a fifth of a unit, and of halves of it."""
    found, cells = 0.0, 5.0
    for _ in range(4):
        i, j, k = math.floor(x * cells), math.floor(y * cells), math.floor(z * cells)
        u, v, w = x * cells - i, y * cells - j, z * cells - k
        for corner in range(8):
            a, b, c = corner & 1, corner >> 1 & 1, corner >> 2
            share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
            found += share * hashed(i + a, j + b, k + c)
        cells *= 2
    return found / 4


@numba.njit
def photograph(K: Any, pose: Any, width: int, height: int, samples: int, grain: float) -> Any:
    """Image (H, W, 3), the mean of samples² rays a pixel; surfaces are up to `grain` times brighter."""
    turn = pose[:3, :3].copy()
    o = -(turn.T @ pose[:3, 3].copy())
    image, normal = np.zeros((height, width, 3)), np.zeros(3)
    d, ray = np.zeros(3), np.zeros(3)
    for row in range(height * samples):
        for column in range(width * samples):
            ray[0] = ((column + 0.5) / samples - K[0, 2]) / K[0, 0]
            ray[1] = ((row + 0.5) / samples - K[1, 2]) / K[1, 1]
            ray[2] = 1.0
            for i in range(3):
                d[i] = ray[0] * turn[0, i] + ray[1] * turn[1, i] + turn[2, i]
            t, which = nearest(o, d, normal)
            shade = 1.0
            if which >= 0:
                lit = normal[0] * LIGHT[0] + normal[1] * LIGHT[1] + normal[2] * LIGHT[2]
                x, y, z = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
                shade = brightness(x, y, z)
                if grain:
                    shade = min(max(shade * (1 + grain * detail(x, y, z)), 0.0), 1.0)
                shade *= 0.55 + 0.45 * min(max(lit, 0.0), 1.0)
            for i in range(3):
                tint = TINTS[which, i] if which >= 0 else 1.0
                image[row // samples, column // samples, i] += shade * tint
    return image / samples**2
