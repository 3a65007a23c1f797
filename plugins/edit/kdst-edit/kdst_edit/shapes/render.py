"""Render scenes to 32×32 images with antialiased edges, in plain torch, many at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from kdst_edit.shapes.scene import BACKGROUNDS, COLOURS, SHAPES, Scenes

SIZE = 32
PERIOD = 6.0
DARK = 0.35
PALE = 0.5
CHUNK = 128


def render(scenes: Scenes) -> Tensor:
    """Images (B, 3, 32, 32) of `scenes`, float32 in [-1, 1]."""
    images = torch.empty(len(scenes), 3, SIZE, SIZE)
    for start in range(0, len(scenes), CHUNK):  # a chunk stays in the processor's cache
        chunk = slice(start, start + CHUNK)
        _render_into(images[chunk], scenes.select(chunk))
    return images


def object_masks(scenes: Scenes) -> Tensor:
    """Coverage (B, 2, 32, 32) in [0, 1] of each object; zero for an object that is not there."""
    first = silhouettes(scenes.shape[:, 0], scenes.centre[:, 0], scenes.radius[:, 0])
    second = silhouettes(scenes.shape[:, 1], scenes.centre[:, 1], scenes.radius[:, 1])
    return torch.stack([first, second * scenes.pair[:, None, None]], 1)


def _render_into(images: Tensor, scenes: Scenes) -> None:
    _fill_background(images, scenes)
    _paint(images, scenes, 0)
    pairs = scenes.pair.nonzero()[:, 0]
    if len(pairs):
        both = images[pairs]
        _paint(both, scenes.select(pairs), 1)
        images[pairs] = both


def palette(table: dict[str, tuple[int, int, int]]) -> Tensor:
    """The colours (K, 3) of `table` in [-1, 1]."""
    return torch.tensor(list(table.values())) / 127.5 - 1


def _pixels() -> Tensor:
    return torch.arange(SIZE) + 0.5


def _fill_background(images: Tensor, scenes: Scenes) -> None:
    """Overwrite `images` with a plain colour under a linear slope of brightness."""
    along_x = scenes.slope * scenes.slope_angle.cos()
    along_y = scenes.slope * scenes.slope_angle.sin()
    ramp = (_pixels() - SIZE / 2) / SIZE
    slope = along_y[:, None, None] * ramp[:, None] + along_x[:, None, None] * ramp
    flat = palette(BACKGROUNDS)[scenes.background]
    torch.add(flat[:, :, None, None], slope[:, None], out=images).clamp_(-1, 1)


def _paint(images: Tensor, scenes: Scenes, k: int) -> None:
    """Lay object `k` of every scene over `images`, in place."""
    colour = palette(COLOURS)[scenes.colour[:, k]]
    coverage = silhouettes(scenes.shape[:, k], scenes.centre[:, k], scenes.radius[:, k])
    images.lerp_(colour[:, :, None, None].expand_as(images), coverage[:, None])
    textured = scenes.texture[:, k].nonzero()[:, 0]
    if len(textured):
        scenes, colour = scenes.select(textured), colour[textured]
        dotted = (scenes.texture[:, k] == 2)[:, None]
        shift = torch.where(dotted, PALE * (1 - colour), (DARK - 1) * (colour + 1))
        ink = _ink(scenes, k).mul_(coverage[textured])
        images[textured] += shift[:, :, None, None] * ink[:, None]


def _ink(scenes: Scenes, k: int) -> Tensor:
    """How much ink (B, 32, 32) the texture lays, 0 to 1: dark stripes, or pale dots.

    Stripes turn about the object's centre with its angle; dots stand still, on a lattice that the
    centre mirrors.
    """
    angle = torch.where(scenes.texture[:, k] == 2, torch.pi / 4, scenes.texture_angle[:, k])
    cos, sin = (2 * torch.pi / PERIOD * f(angle)[:, None] for f in (torch.cos, torch.sin))
    dx, dy = _pixels() - scenes.centre[:, k, :1], _pixels() - scenes.centre[:, k, 1:]
    u = (sin * dy)[:, :, None] + (cos * dx)[:, None, :]
    ink = u.sin()
    dotted = (scenes.texture[:, k] == 2).nonzero()[:, 0]
    if len(dotted):
        v = (cos * dy)[dotted, :, None] - (sin * dx)[dotted, None, :]
        ink[dotted] = -u[dotted].cos_() - v.cos_() - 0.4
    return ink.mul_(1.5).add_(0.5).clamp_(0, 1)


def silhouettes(shape: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Share (B, 32, 32) of each pixel that the silhouette covers, from its signed distance."""
    dx = (_pixels() - centre[:, :1]) / radius[:, None]
    dy = (_pixels() - centre[:, 1:]) / radius[:, None]
    distance = torch.empty(len(shape), SIZE, SIZE)
    for index, signed_distance in enumerate(_SIGNED_DISTANCES):
        chosen = (shape == index).nonzero()[:, 0]
        if len(chosen):
            distance[chosen] = signed_distance(dx[chosen, None, :], dy[chosen, :, None])
    return distance.mul_(-radius[:, None, None]).add_(0.5).clamp_(0, 1)


def _disc(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt_().sub_(0.95)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt_().sub_(0.78).abs_().sub_(0.22)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    across = torch.maximum(x.abs() - 1, y.abs() - 0.3)
    return torch.minimum(across, torch.maximum(x.abs() - 0.3, y.abs() - 1))


def _bar(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs() - 1, y.abs() - 0.36)


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(y - 0.8, 0.884 * x.abs() - 0.467 * (y + 1))


_SIGNED_DISTANCES = (_disc, _ring, _cross, _bar, _triangle)
assert len(_SIGNED_DISTANCES) == len(SHAPES)
