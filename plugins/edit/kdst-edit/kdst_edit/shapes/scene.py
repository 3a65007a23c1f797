"""Scenes: what an image shows, drawn at random as tensors, and the caption that describes it.

A caption tells colour, shape, size, texture, background and relation. It does not tell position,
gradient and texture angle, so the seed of a sample decides the layout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (45, 80, 225),
    "yellow": (245, 215, 40),
    "purple": (150, 50, 195),
    "cyan": (40, 205, 215),
}
BACKGROUNDS = {
    "white": (236, 236, 236),
    "gray": (140, 140, 140),
    "black": (26, 26, 26),
    "pink": (245, 170, 190),
    "brown": (125, 85, 55),
}
SHAPES = ("disc", "ring", "cross", "bar", "triangle")
SIZES = ("small", "", "large")
TEXTURES = ("", "striped", "dotted")
RELATIONS = ("left of", "above")

RADIUS = ((6.5, 8.0), (8.5, 10.0), (10.5, 12.5))
PAIR_RADIUS = (6.0, 7.0)
SHIFT = 3.0
PAIR_SHIFT = (1.0, 3.0)
TILT = torch.pi / 18

WORDS = ("a", "on", "background", "left", "of", "above", "small", "large", "striped", "dotted")
VOCABULARY = (*WORDS, *COLOURS, *BACKGROUNDS, *SHAPES)


@dataclass(frozen=True)
class Scenes:
    """B scenes. Object fields are (B, 2); the second object counts only where `pair` is true.

    Integers index the tuples above; `centre` (B, 2, 2) holds x and y and `radius` (B, 2) the
    half-extent, both in pixels of a 32×32 image; angles are in radians. `texture_angle` is that of
    stripes; dots are always upright.
    """

    pair: Tensor
    relation: Tensor
    background: Tensor
    slope: Tensor
    slope_angle: Tensor
    size: Tensor
    colour: Tensor
    shape: Tensor
    texture: Tensor
    centre: Tensor
    radius: Tensor
    texture_angle: Tensor

    def __len__(self) -> int:
        return self.pair.shape[0]

    def select(self, index: Tensor | slice) -> Scenes:
        """The scenes at `index`: a slice, a boolean mask (B,) or integers."""
        values = {f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)}
        return Scenes(**values)


@dataclass(frozen=True)
class Mix:
    """How often a scene holds two objects, a single object a texture, and a texture is dots."""

    pair: float = 0.35
    textured: float = 0.6
    dotted: float = 0.5


def held_out(shape: Tensor, colour: Tensor, background: Tensor) -> Tensor:
    """True for the fifth of all triples that training never shows, so that scores can ask it."""
    return (shape + colour + background) % len(BACKGROUNDS) == 0


def sample_scenes(
    count: int, generator: torch.Generator, mix: Mix | None = None, *, fresh: bool = False
) -> Scenes:
    """Draw `count` scenes; `fresh` draws held-out (shape, colour, background) triples alone.

    In pairs only the first object's triple is held out when `fresh`; without it, neither's is.
    """
    mix = mix or Mix()

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    def choice(options: int, *shape: int) -> Tensor:
        return (uniform(*shape) * options).long().clamp_(max=options - 1)

    pair, relation, size = uniform() < mix.pair, choice(2), choice(len(SIZES))
    shape, colour = choice(len(SHAPES), 2), choice(len(COLOURS), 2)
    repeated = colour[:, 0] == colour[:, 1]
    colour[:, 1] = (colour[:, 1] + repeated) % len(COLOURS)
    dotted = uniform(2) < mix.dotted
    texture = torch.where(uniform(2) < mix.textured, 1 + dotted.long(), 0)
    texture = torch.where(pair[:, None], 0, texture)
    background = _background(choice(len(BACKGROUNDS)), shape, colour, pair, fresh)
    centre, radius = _layout(pair, relation, size, uniform)
    return Scenes(
        pair=pair,
        relation=relation,
        background=background,
        slope=0.25 * uniform(),
        slope_angle=2 * torch.pi * uniform(),
        size=size,
        colour=colour,
        shape=shape,
        texture=texture,
        centre=centre,
        radius=radius,
        texture_angle=torch.pi / 4 + TILT * (2 * uniform(2) - 1),
    )


def _background(
    background: Tensor, shape: Tensor, colour: Tensor, pair: Tensor, fresh: bool
) -> Tensor:
    """Move `background` (B,) to one that is held out for the first object, or for no object."""
    if fresh:
        return -(shape[:, 0] + colour[:, 0]) % len(BACKGROUNDS)
    for _ in range(2):  # each object forbids one background, so two moves always suffice
        for k in (0, 1):
            seen = pair if k else torch.ones_like(pair)
            background = background + (seen & held_out(shape[:, k], colour[:, k], background))
            background = background % len(BACKGROUNDS)
    return background


def _layout(
    pair: Tensor, relation: Tensor, size: Tensor, uniform: Callable[..., Tensor]
) -> tuple[Tensor, Tensor]:
    """Centres (B, 2, 2) and radii (B, 2): near the middle alone, in opposite halves as a pair."""
    low, high = torch.tensor(RADIUS).T
    single_radius = low[size, None] + (high - low)[size, None] * uniform(2)
    pair_radius = PAIR_RADIUS[0] + (PAIR_RADIUS[1] - PAIR_RADIUS[0]) * uniform(2)
    radius = torch.where(pair[:, None], pair_radius, single_radius)
    jitter = 2 * uniform(2, 2) - 1
    single = 16 + SHIFT * jitter
    along = 16 + torch.tensor([-8.0, 8.0]) + PAIR_SHIFT[0] * jitter[..., 0]
    across = 16 + PAIR_SHIFT[1] * jitter[..., 1]
    beside = torch.stack([along, across], -1)
    both = torch.where(relation[:, None, None] == 0, beside, beside.flip(-1))
    return torch.where(pair[:, None, None], both, single), radius


def captions(scenes: Scenes) -> list[str]:
    """The captions of `scenes`, for example "a large striped red ring on a pink background"."""
    colours, backgrounds = tuple(COLOURS), tuple(BACKGROUNDS)
    fields = (scenes.pair, scenes.relation, scenes.background, scenes.size)
    objects = (scenes.colour, scenes.shape, scenes.texture)
    lines = []
    for (pair, relation, background, size), (colour, shape, texture) in zip(
        zip(*(f.tolist() for f in fields), strict=True),
        zip(*(f.tolist() for f in objects), strict=True),
        strict=True,
    ):
        if pair:
            first, second = (
                f"a {colours[c]} {SHAPES[s]}" for c, s in zip(colour, shape, strict=True)
            )
            what = f"{first} {RELATIONS[relation]} {second}"
        else:
            adjectives = (SIZES[size], TEXTURES[texture[0]], colours[colour[0]], SHAPES[shape[0]])
            what = " ".join(["a", *filter(None, adjectives)])
        lines.append(f"{what} on a {backgrounds[background]} background")
    return lines
