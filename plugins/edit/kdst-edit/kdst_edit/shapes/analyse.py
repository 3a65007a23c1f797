"""Read an image back: background, and for each object its place, colour, shape and texture.

Nothing here is learned: silhouettes are compared with rendered templates, colours with the palette,
textures by their spectrum. The accuracy on real renders is measured, see `score.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.shapes.render import DARK, PALE, PERIOD, SIZE, palette, silhouettes
from kdst_edit.shapes.scene import BACKGROUNDS, COLOURS, SHAPES

CONTRAST = 0.2
MIN_FIT = 0.6
"""A silhouette that fits its best template worse is none of the shapes."""
BORDER = 2
EDGE = 0.35
_WIDE = (2 * SIZE, 2 * SIZE)
RADII = tuple(5.0 + 0.5 * i for i in range(17))


@dataclass(frozen=True)
class Reading:
    """What N regions show: indices (N,) into the scene's tuples, place (N, 2) and fit (N,).

    `fit` is the intersection over union of the silhouette with the best template: 1 is perfect,
    0 means that nothing stands out from the background. `mask` (N, 32, 32) is the silhouette.
    """

    colour: Tensor
    shape: Tensor
    texture: Tensor
    centre: Tensor
    fit: Tensor
    mask: Tensor


def read_background(images: Tensor) -> Tensor:
    """Index (B,) of the background whose hue fits the outermost pixels of `images` (B, 3, 32, 32).

    The median over the border ignores an object that touches it.
    """
    return _nearest(_border(images).median(-1).values, palette(BACKGROUNDS))


def read_object(images: Tensor) -> Reading:
    """The one object in each of `images` (B, 3, 32, 32)."""
    return _read(images, torch.ones(len(images), SIZE, SIZE, dtype=torch.bool))


def read_pair(images: Tensor, relation: Tensor) -> tuple[Reading, Reading]:
    """The objects in the left and right halves, or top and bottom where `relation` (B,) is 1."""
    low = torch.arange(SIZE) < SIZE // 2
    first = torch.where(relation[:, None, None] == 0, low[None, None, :], low[None, :, None])
    first = first.expand(-1, SIZE, SIZE)
    return _read(images, first), _read(images, ~first)


def _read(images: Tensor, region: Tensor) -> Reading:
    mask = object_mask(images) & region
    shape, fit, centre, template = _best_template(mask)
    colour = _colour(images, mask)
    texture = _texture(images, colour, _inner(mask, template))
    return Reading(colour, shape, texture, centre, fit, mask)


def object_mask(images: Tensor) -> Tensor:
    """Pixels (B, 32, 32) that differ from the plane of brightness fitted to the border."""
    ramp = (torch.arange(SIZE) + 0.5 - SIZE / 2) / SIZE
    y, x = torch.meshgrid(ramp, ramp, indexing="ij")
    plane = torch.stack([torch.ones_like(x), x, y], -1).flatten(0, 1)
    edge = _border_index()
    pixels = images.flatten(2)
    backdrop = _nearest_colour(images)[..., None].expand_as(pixels)
    weight = ((pixels - backdrop).abs().amax(1) < 2 * CONTRAST)[:, edge].float()
    design = plane[edge]
    normal = torch.einsum("bn,ni,nj->bij", weight, design, design) + 1e-3 * torch.eye(3)
    moment = torch.einsum("bn,ni,bcn->bic", weight, design, (pixels - backdrop)[..., edge])
    fitted = torch.einsum("ni,bic->bcn", plane, torch.linalg.solve(normal, moment)) + backdrop
    difference = (pixels - fitted.clamp(-1, 1)).abs().amax(1)
    return (difference > CONTRAST).reshape(-1, SIZE, SIZE)


@cache
def _border_index() -> Tensor:
    inner = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    return (~inner).flatten().nonzero()[:, 0]


def _border(images: Tensor) -> Tensor:
    return images.flatten(2)[..., _border_index()]


def _nearest_colour(images: Tensor) -> Tensor:
    return palette(BACKGROUNDS)[read_background(images)]


def _nearest(colours: Tensor, table: Tensor) -> Tensor:
    """Index of the entry of `table` (K, 3) nearest to each of `colours` (B, 3)."""
    return torch.cdist(colours, table).argmin(-1)


def _colour(images: Tensor, mask: Tensor) -> Tensor:
    """The palette entry, as it is or under a texture's ink, that most pixels are nearest to."""
    plain = palette(COLOURS)
    table = torch.cat([plain, (plain + 1) * DARK - 1, plain + PALE * (1 - plain)])
    nearest = torch.cdist(images.flatten(2).mT, table).argmin(-1) % len(plain)
    votes = F.one_hot(nearest, len(plain)) * mask.flatten(1)[..., None]
    return votes.sum(1).argmax(-1)


@dataclass(frozen=True)
class _Templates:
    """Silhouettes (T, 32, 32) of every shape, radius and half-pixel offset, and what made them."""

    masks: Tensor
    spectra: Tensor
    shape: Tensor
    centre: Tensor
    radius: Tensor


@cache
def _templates() -> _Templates:
    offsets = torch.tensor([16.0, 16.5])
    grid = torch.cartesian_prod(
        torch.arange(len(SHAPES)).float(), torch.tensor(RADII), offsets, offsets
    )
    shape, radius, centre = grid[:, 0].long(), grid[:, 1], grid[:, 2:]
    masks = (silhouettes(shape, centre, radius) > EDGE).float()
    return _Templates(masks, torch.fft.rfft2(masks, _WIDE).conj(), shape, centre, radius)


def _best_template(mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape (B,), intersection over union (B,), centre (B, 2) and coverage (B, 32, 32) at best.

    All shapes, sizes and half-pixel places are tried at once, by Fourier correlation.
    """
    templates = _templates()
    area = templates.masks.sum((1, 2))[:, None, None]
    best: list[tuple[float, int, int]] = []
    for spectrum, pixels in zip(
        torch.fft.rfft2(mask.float(), _WIDE), mask.sum((1, 2)).tolist(), strict=True
    ):
        overlap = torch.fft.irfft2(spectrum * templates.spectra, _WIDE)
        score, at = (overlap / (area + pixels - overlap)).flatten(1).max(1)
        winner = int(score.argmax())
        best.append((float(score[winner]), winner, int(at[winner])))
    fit, winners, at = (torch.tensor(column) for column in zip(*best, strict=True))
    shift = torch.stack([at % _WIDE[1], at // _WIDE[1]], -1)
    centre = templates.centre[winners] + torch.where(shift >= SIZE, shift - 2 * SIZE, shift)
    shape = templates.shape[winners]
    return shape, fit, centre, silhouettes(shape, centre, templates.radius[winners])


def _inner(mask: Tensor, coverage: Tensor) -> Tensor:
    """Pixels (B, 32, 32) that no edge touches: whole under the template, neighbours in the mask."""
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
    neighbours = F.conv2d(mask[:, None].float(), cross, padding=1)[:, 0]
    return (neighbours > 4.5) & (coverage > 0.99)


def _texture(images: Tensor, colour: Tensor, inside: Tensor) -> Tensor:
    """0 plain, 1 striped, 2 dotted, from the spectrum of the tone inside the silhouette.

    Stripes have one direction at the texture's frequency, dots two at right angles.
    """
    tone = _tone(images, palette(COLOURS)[colour])
    weight = inside.float()
    total = weight.sum((1, 2)).clamp(min=1)
    mean = (tone * weight).sum((1, 2)) / total
    wave = (tone - mean[:, None, None]) * weight
    spread = (wave.square().sum((1, 2)) / total).sqrt()
    cosines, sines = _waves()
    power = torch.einsum("byx,ayx->ba", wave, cosines).square()
    power = power + torch.einsum("byx,ayx->ba", wave, sines).square()
    across = power + power.roll(len(cosines) // 2, 1)
    at = across.argmax(1, keepdim=True)
    pair = torch.cat([power, power], 1).gather(1, torch.cat([at, at + len(cosines) // 2], 1))
    ratio = pair.amin(1) / pair.amax(1).clamp(min=1e-9)
    textured = 1 + (ratio > 0.25).long()
    return torch.where(spread < 0.12, 0, textured)


def _tone(images: Tensor, colour: Tensor) -> Tensor:
    """How far (B, 32, 32) each pixel is from `colour` (B, 3): -1 black, 0 the colour, 1 white."""
    axes = torch.stack([colour + 1, 1 - colour], 2)
    shares = torch.linalg.pinv(axes) @ (images + 1).flatten(2)
    return (shares.sum(1) - 1).clamp(-1, 1).reshape(-1, SIZE, SIZE)


@cache
def _waves(angles: int = 36) -> tuple[Tensor, Tensor]:
    """Cosines and sines (A, 32, 32) at the texture's period, over half a turn."""
    angle = torch.arange(angles) * torch.pi / angles
    x = torch.arange(SIZE) + 0.5
    k = 2 * torch.pi / PERIOD
    phase = k * (angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * x[:, None])
    return phase.cos(), phase.sin()
