"""The images that a word is learned from, and what is said of each."""

from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.models.latents import native_size, size_multiple
from kdst_edit.pictures import reading

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CONTEXTS = ("a photo of a {}", "a close view of a {}", "a picture of the {}", "one {}")
"""What is said of an image without a caption; neutral, as in the paper."""
AZURE = (40, 140, 225)
"""Between the colours that the embedded model calls blue and cyan."""


@frozen
class Concept:
    """images: (n, 3, H, W) in [0, 1]. captions: for each image what may be said of it, with {}."""

    images: Tensor
    captions: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def read(folder: Path, pipeline: Any) -> Concept:
    """Read a directory of images, cut to squares of the model's size.

    Raises KdstError when there is no image, one cannot be read, or a caption lacks {}.
    """
    if not folder.is_dir():
        raise KdstError(f"--concept {folder} is not a directory; give one with 3 to 5 images")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise KdstError(f"--concept {folder} has no images ({', '.join(SUFFIXES)})")
    notes = []
    if not 3 <= len(paths) <= 5:
        notes.append(f"The word is learned from {len(paths)} images; 3 to 5 are known to work.")
    multiple, side = size_multiple(pipeline), native_size(pipeline)
    pictures = [reading.read(path, multiple, side) for path in paths]
    notes += [
        f"{p.name}: {n}" for p, shown in zip(paths, pictures, strict=True) for n in shown.notes
    ]
    squares = torch.stack([_square(shown.image) for shown in pictures])
    return Concept(squares, tuple(_captions(path) for path in paths), tuple(notes))


def _square(image: Tensor) -> Tensor:
    """The middle square of an image (3, H, W)."""
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side]


def _captions(path: Path) -> tuple[str, ...]:
    """The caption beside an image, or the neutral contexts."""
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return CONTEXTS
    try:
        caption = " ".join(beside.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as e:
        raise KdstError(f"caption {beside} cannot be read as text") from e
    if caption.count("{}") != 1:
        raise KdstError(f"caption {beside} must hold {{}} once, where the new word stands")
    return (caption,)


def embedded(pipeline: Any) -> Concept:
    """Four pictures for the embedded model, of objects in a colour that it has no word for.

    Raises KdstError for another model.
    """
    from kdst_edit.shapes.render import SIZE, object_masks, render
    from kdst_edit.shapes.scene import COLOURS, Mix, captions, sample_scenes

    if native_size(pipeline) != SIZE or "triangle" not in pipeline.tokenizer.get_vocab():
        raise KdstError("give --concept, a directory with 3 to 5 images, or --learned, a word")
    scenes = sample_scenes(4, torch.Generator().manual_seed(5), Mix(pair=0.0, textured=0.0))
    drawn = (render(scenes) + 1) / 2
    cover = object_masks(scenes)[:, :1]
    old = torch.tensor(list(COLOURS.values()))[scenes.colour[:, 0]] / 255
    new = torch.tensor(AZURE) / 255
    drawn = (drawn + cover * (new - old)[:, :, None, None]).clamp(0, 1)
    names = tuple(COLOURS)
    said = [
        (caption.replace(names[int(colour)], "{}"),)
        for caption, colour in zip(captions(scenes), scenes.colour[:, 0], strict=True)
    ]
    return Concept(drawn, tuple(said))
