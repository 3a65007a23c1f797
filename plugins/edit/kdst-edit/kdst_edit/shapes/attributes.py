"""Exact checks on images of the tiny model: does an image show what a prompt of its words says?"""

from collections.abc import Mapping

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.shapes.analyse import (
    MIN_FIT,
    Reading,
    object_mask,
    read_background,
    read_object,
    read_pair,
)
from kdst_edit.shapes.render import SIZE
from kdst_edit.shapes.scene import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, TEXTURES

Attributes = Mapping[str, int]


@frozen
class Said:
    """What a prompt says: `objects` of one or two, each with colour, shape and texture, as indices."""

    background: int
    objects: tuple[Attributes, ...]
    relation: int = 0

    def attributes(self) -> dict[str, int]:
        """All attributes by name; the second object's end in 2."""
        found = {"background": self.background}
        for number, seen in enumerate(self.objects):
            found |= {
                f"{name}{number + 1 if number else ''}": value for name, value in seen.items()
            }
        return found


def parse(prompt: str) -> Said | None:
    """Read a prompt of the tiny model's grammar; None for any other."""
    body, on, place = prompt.lower().partition(" on a ")
    background, _, last = place.partition(" ")
    if not on or last != "background" or background not in BACKGROUNDS:
        return None
    relation = next((i for i, r in enumerate(RELATIONS) if f" {r} " in body), None)
    parts = [body] if relation is None else body.split(f" {RELATIONS[relation]} ")
    objects = [_object(part) for part in parts]
    if len(objects) > 2 or any(seen is None for seen in objects):
        return None
    found = tuple(seen for seen in objects if seen is not None)
    return Said(list(BACKGROUNDS).index(background), found, relation or 0)


def _object(phrase: str) -> Attributes | None:
    """Read `a [size] [texture] COLOUR SHAPE`."""
    words = phrase.split()
    if len(words) < 3 or words[0] != "a":
        return None
    *adjectives, colour, shape = words[1:]
    textures = [word for word in adjectives if word in TEXTURES]
    rest = [word for word in adjectives if word not in TEXTURES and word not in SIZES]
    if rest or len(textures) > 1 or colour not in COLOURS or shape not in SHAPES:
        return None
    texture = TEXTURES.index(textures[0]) if textures else 0
    return {
        "colour": list(COLOURS).index(colour),
        "shape": SHAPES.index(shape),
        "texture": texture,
    }


def follows(images: Tensor, said: Said) -> dict[str, Tensor]:
    """Whether each of `images` (B, 3, 32, 32) in [0, 1] shows each attribute that a prompt names.

    A silhouette counts as its shape only with an intersection over union of at least 0.6. Textures
    of two objects are not read.
    """
    pixels = 2 * images.float().cpu() - 1
    readings: tuple[Reading, ...] = (read_object(pixels),)
    if len(said.objects) == 2:
        readings = read_pair(pixels, torch.full((len(pixels),), said.relation))
    right = {"background": read_background(pixels) == said.background}
    for number, (seen, reading) in enumerate(zip(said.objects, readings, strict=True)):
        end = str(number + 1) if number else ""
        right[f"colour{end}"] = reading.colour == seen["colour"]
        right[f"shape{end}"] = (reading.shape == seen["shape"]) & (reading.fit >= MIN_FIT)
        if len(said.objects) == 1:
            right["texture"] = reading.texture == seen["texture"]
    return right


def success(images: Tensor, source: Said, target: Said) -> Tensor:
    """Whether each of `images` (B, 3, 32, 32) shows what the target says and the source does not.

    Where both say the same, whether it shows all of it.
    """
    right = follows(images, target)
    before, after = source.attributes(), target.attributes()
    changed = [name for name in right if before.get(name) != after.get(name)]
    return torch.stack([right[name] for name in changed or right]).all(0)


def silhouettes(images: Tensor) -> Tensor:
    """Where (B, 32, 32) the objects of `images` (B, 3, 32, 32) in [0, 1] are."""
    return object_mask(2 * images.float().cpu() - 1)


def widened(region: Tensor) -> Tensor:
    """A region (H, W) with a border of one pixel, whose edge pixels show object and background."""
    return F.max_pool2d(region[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


def places(images: Tensor) -> Tensor:
    """Centres (B, 2), x and y in pixels, of the object of each of `images` (B, 3, 32, 32)."""
    return read_object(2 * images.float().cpu() - 1).centre


def applies(image: Tensor) -> bool:
    """Whether an image (3, H, W) has the size that these checks are made for."""
    return tuple(image.shape) == (3, SIZE, SIZE)
