"""Read a folder in PIE-Bench's layout: images, prompts, and masks of what is to be edited."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from kdst_core.errors import KdstError

MAPPING, IMAGES, SIDE = "mapping_file.json", "annotation_images", 512
KINDS = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change colour",
    "change material",
    "change background",
    "change style",
)
"""Names of the editing types 0 to 9."""

Image = NDArray[np.float64]
"""(H, W, 3) in [0, 1]."""
Pixels = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


@frozen
class Item:
    """One edit of the benchmark.

    source, target: prompts without the brackets that mark changed words. words: pairs of a source
    word and the target word in its place, as the authors chose them for blending; may be empty.
    mask: (512, 512), true where the edit is wanted, its border always.
    """

    name: str
    image: Path
    source: str
    target: str
    instruction: str
    kind: int
    words: tuple[str, ...]
    mask: Pixels


def read(folder: Path, kinds: Sequence[int] = range(10)) -> list[Item]:
    """The items of some editing types, in the order of their names.

    Raises KdstError in one line when the folder, its mapping file or an entry of it is not as
    PIE-Bench's, or an image is missing.
    """
    path = folder / MAPPING
    if not path.is_file():
        raise KdstError(
            f"{folder} is not PIE-Bench: it has no {MAPPING} (beside the folder {IMAGES})"
        )
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise KdstError(f"{path} cannot be read as JSON") from e
    if not isinstance(mapping, dict) or not mapping:
        raise KdstError(f"{path} holds no items")
    found = [_item(folder, name, mapping[name]) for name in sorted(mapping)]
    return [item for item in found if item.kind in kinds]


def _item(folder: Path, name: str, entry: Any) -> Item:
    """One entry of the mapping file, checked."""
    if name in ("", "..") or Path(name).name != name:
        raise KdstError(f"{folder / MAPPING}: {name!r} is no name of an item")
    try:
        image = folder / IMAGES / str(entry["image_path"])
        found = Item(
            name,
            image,
            plain(entry["original_prompt"]),
            plain(entry["editing_prompt"]),
            str(entry.get("editing_instruction", "")),
            int(entry["editing_type_id"]),
            tuple(str(entry.get("blended_word") or "").split()),
            decode(entry["mask"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise KdstError(f"{folder / MAPPING}: entry {name!r} is not as PIE-Bench's: {e}") from e
    inside = image.resolve().is_relative_to(folder.resolve())
    if not inside or not image.is_file():
        raise KdstError(f"{folder / MAPPING}: entry {name!r} names {image}, which is not there")
    return found


def plain(prompt: str) -> str:
    """A prompt without the brackets around its changed words, with single spaces."""
    return " ".join(prompt.replace("[", "").replace("]", "").split())


def decode(runs: Sequence[int], side: int = SIDE) -> Pixels:
    """The mask of a run-length code: start, length, start, length, … in the order of rows.

    The border is always inside, as published, because annotations are unsure there. Raises ValueError
    for a code that no mask has.
    """
    if len(runs) % 2 or any(not isinstance(n, int) or n < 0 for n in runs):
        raise ValueError("mask must be pairs of a start and a length")
    flat = np.zeros(side * side, dtype=bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        if start >= side * side:
            raise ValueError(f"a run of the mask starts at {start}, beyond {side}×{side}")
        flat[start : start + length] = True
    mask: Pixels = flat.reshape(side, side)
    mask[[0, -1]] = mask[:, [0, -1]] = True
    return mask


def encode(mask: Pixels) -> list[int]:
    """The run-length code of a mask; `decode` gives it back with its border set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel().astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    return [int(n) for pair in zip(starts, ends - starts, strict=True) for n in pair]


def entry(item: Item) -> Mapping[str, Any]:
    """An item as the mapping file holds it."""
    return {
        "image_path": f"{item.image.parent.name}/{item.image.name}",
        "original_prompt": item.source,
        "editing_prompt": item.target,
        "editing_instruction": item.instruction,
        "editing_type_id": str(item.kind),
        "blended_word": " ".join(item.words),
        "mask": encode(item.mask),
    }
