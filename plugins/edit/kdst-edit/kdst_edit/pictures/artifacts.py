"""The files of a run: source, edits, masks, maps, contact sheets, and what the report draws from."""

import json
from collections.abc import Sequence
from pathlib import Path

import attrs
from torch import Tensor
from torch.nn import functional as F

from kdst_core.contracts import Edit
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import slug
from kdst_edit.measures import PromptedImage
from kdst_edit.pictures import drawing

COLUMNS = 4
"""Words in a row of words.png."""


def write(
    folder: Path,
    source: PromptedImage,
    edit: Edit,
    edits: Sequence[PromptedImage],
    plain: Sequence[PromptedImage],
    region: Tensor | None,
) -> list[str]:
    """Write all files into `folder`; return their names."""
    files = {"source.png": drawing.image_png(source.image)}
    for number, shown in enumerate(edits):
        files[_numbered("edit", number)] = drawing.image_png(shown.image)
    for number, shown in enumerate(plain):
        files[_numbered("plain", number)] = drawing.image_png(shown.image)
    mask = _mask(edit, region, source.image)
    if mask is not None:
        files["mask.png"] = drawing.image_png(mask)
    files["comparison.png"] = _comparison(source, edits, plain)
    files |= _attention(source)
    for number, sheet in enumerate(edit.sheets):
        rows = [list(row) for row in sheet.images]
        labels = [[" / ".join(filter(None, (r, c))) for c in sheet.columns] for r in sheet.rows]
        files[_numbered("sheet", number)] = drawing.grid(rows, labels)
    files["alignment.json"] = json.dumps(
        {
            "alignments": [attrs.asdict(a) for a in edit.alignments],
            "notes": list(edit.notes),
            "sheets": [sheet.title for sheet in edit.sheets],
        }
    ).encode()
    (folder / "attention").mkdir(exist_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)
    return list(files)


def _numbered(stem: str, number: int) -> str:
    """`edit.png`, `edit-2.png`, …"""
    return f"{stem}.png" if number == 0 else f"{stem}-{number + 1}.png"


def _mask(edit: Edit, region: Tensor | None, like: Tensor) -> Tensor | None:
    """What the first edit could change, as its method says, or the region that is measured."""
    shown = edit.images[0].mask
    if shown is None:
        return None if region is None else region.float()
    return F.interpolate(shown[None, None].float().cpu(), size=like.shape[-2:])[0, 0]


def _comparison(
    source: PromptedImage, edits: Sequence[PromptedImage], plain: Sequence[PromptedImage]
) -> bytes:
    """Source, edit and difference of each target, and below them the same without control."""
    rows, labels = [], []
    for number, shown in enumerate(edits):
        rows.append([source.image, shown.image, drawing.difference(source.image, shown.image)])
        labels.append(["source", "edit", "difference"])
        if plain:
            image = plain[number].image
            rows.append([source.image, image, drawing.difference(source.image, image)])
            labels.append(["source", "without control", "difference"])
    return drawing.grid(rows, labels)


def _attention(source: PromptedImage) -> dict[str, bytes]:
    """One picture a word of the source prompt, and all of them together."""
    files: dict[str, bytes] = {}
    panels = {word: drawing.overlay(source.image, heat) for word, heat in source.attention.items()}
    for number, (word, panel) in enumerate(panels.items()):
        try:
            name = slug(word)
        except KdstError:
            name = f"word-{number}"
        taken = f"attention/{name}.png" in files
        files[f"attention/{name}{f'-{number}' if taken else ''}.png"] = drawing.image_png(panel)
    words = list(panels)
    if words:
        parts = [words[i : i + COLUMNS] for i in range(0, len(words), COLUMNS)]
        files["words.png"] = drawing.grid([[panels[w] for w in part] for part in parts], parts)
    return files
