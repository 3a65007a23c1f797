"""A contact sheet of compared edits: a row a source and target, a column a method, failures first."""

import io
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from kdst_batch.comparable import Contender
from kdst_core.reports.blocks import Figure
from kdst_edit.compare.edits import MEASURE, Edited, edits_of

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 8
"""The most rows that are shown."""
Row = list[Edited]
"""The edits of one source towards one target, one a method."""


def rows(contenders: Sequence[Contender]) -> list[Row]:
    """Return the edits that all methods made of the same source, those that most failed first.

    An edit failed when it does not show what was asked. Where that cannot be told, and among equals,
    the edits come first that kept least. A method whose seed changes nothing stands beside each.
    """
    by_method = [edits_of(who) for who in contenders]
    count = max(map(len, by_method), default=0)
    alike = [seeds if len(seeds) == count else seeds[:1] * count for seeds in by_method]
    found = [list(row) for seed in zip(*alike, strict=True) for row in zip(*seed, strict=True)]
    return sorted(found, key=lambda row: (-sum(map(failed, row)), _kept(row)))


def failed(edit: Edited) -> bool:
    """Return whether an edit does not show what was asked; False where that cannot be told."""
    return edit.scores.get("success", 1.0) < 1.0


def _kept(row: Row) -> float:
    return fmean(edit.scores[MEASURE] for edit in row)


def contact_sheet(contenders: Sequence[Contender]) -> Figure | None:
    """Return the sheet; None where the runs hold no pictures."""
    found = rows(contenders)
    shown = [row for row in found[:ROWS] if all(_pictured(edit) for edit in row)]
    if not shown:
        return None
    from kdst_edit.pictures import drawing

    labels = [who.label for who in contenders]
    names = [
        [f"{n}. source", *(_label(*pair) for pair in zip(labels, row, strict=True))]
        for n, row in enumerate(shown, 1)
    ]
    images = [[_read(row[0], "source"), *(_read(edit, "edit") for edit in row)] for row in shown]
    if len({image.shape for row in images for image in row}) > 1:
        return None
    png = drawing.grid(images, names)
    return Figure("Contact sheet, failures first", _caption(shown, len(found)), png=png, wide=True)


def _pictured(edit: Edited) -> bool:
    return edit.picture("source").is_file() and edit.picture("edit").is_file()


def _label(label: str, edit: Edited) -> str:
    return f"! {label}" if failed(edit) else label


def _read(edit: Edited, stem: str) -> "Tensor":
    """Return a picture (3, H, W) in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    with Image.open(io.BytesIO(edit.picture(stem).read_bytes())) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255


def _caption(shown: Sequence[Row], count: int) -> str:
    """Say what each row was edited towards, and what is not shown."""
    told = "; ".join(
        f"{n}. “{row[0].target}” (seed {row[0].seed})" for n, row in enumerate(shown, 1)
    )
    rest = f" The first {len(shown)} of {count} rows." if count > len(shown) else ""
    missed = sum(any(map(failed, row)) for row in shown)
    mark = " !: the edit does not show what was asked." if missed else ""
    return (
        f"A row a source and target, those that most methods failed at first: {told}.{mark}{rest}"
    )
