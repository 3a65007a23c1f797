"""What `kdst compare` needs of edits: columns, and a paired test on the same targets and noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from kdst_batch.comparable import Column, Contender
from kdst_core.errors import KdstError
from kdst_core.reports.blocks import Figure, Stat, Table
from kdst_edit.compare import kinds, sheet
from kdst_edit.compare.edits import MEASURE, Gains, edits_of, standard_error
from kdst_edit.compare.frontier import SHOWN, asked, first_of, picture, points
from kdst_edit.inputs import EditInputs

PROTOCOL = (
    *("source", "target", "negative_prompt", "image", "mask", "confine", "model_digest", "size"),
    *("steps", "guidance", "guidance_rescale", "scheduler", "dtype", "inversion_kind"),
    *("inversion_prompt", "substeps", "fixed_point", "skip", "region"),
)
"""What must be equal in the inputs of results that are compared."""


def seeded(inputs: EditInputs) -> bool:
    """Return whether the seed changes what is edited: it draws the noise of a source, or ddpm's."""
    return inputs.image is None or inputs.inversion == "ddpm"


def columns(result: Mapping[str, Any]) -> list[Column]:
    """Return the columns: what is kept outside the region, what was asked, and what lies inside."""
    return [
        Column(MEASURE, "outside the region, dB", digits=1),
        Column("success", "success, %", 100, 0),
        Column("mask_iou", "IoU of source and edit"),
        Column("beyond_edge_psnr", "one pixel further, dB", digits=1, short=False),
        Column("background_ssim", "SSIM outside the region", digits=3, short=False),
        Column("reconstruction_psnr", "reconstruction, dB", digits=1, short=False),
    ]


def mismatch(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the first part of the protocol in which two results differ, '' where they agree."""
    for key in PROTOCOL:
        a, b = (_comparable(key, result["input"].get(key)) for result in (ours, theirs))
        if key == "inversion_kind" and None in (a, b):
            continue  # a method that needs no inversion, of the same photograph
        if a != b:
            return f"{key} is {a} in one and {b} in the other"
    return ""


def _comparable(key: str, value: Any) -> Any:
    """Return a value of the protocol; files by name, wherever they lie."""
    return Path(value).name if key in ("image", "mask") and value else value


def paired(ours: Contender, theirs: Contender) -> tuple[float, float]:
    """Return the difference of the first column's metric and its standard error, paired.

    Targets are paired within a seed, which gives both methods one noise. To the error of the choice of
    targets comes that of the seeds. A single pair tells nothing of either: its error is infinite.
    """
    mine, others = (_kept(who) for who in (ours, theirs))
    count = max(len(mine), len(others))
    mine, others = (x if len(x) == count else x[:1] * count for x in (mine, others))
    if {len(x) for x in (*mine, *others)} != {len(mine[0])}:
        raise KdstError(f"{ours.label} and {theirs.label} edited towards other numbers of targets")
    gains = [[a - b for a, b in zip(m, o, strict=True)] for m, o in zip(mine, others, strict=True)]
    return fmean(map(fmean, gains)), standard_error(gains)


def _kept(who: Contender) -> Gains:
    """Return the measure by seed and target; KdstError when a run does not hold it."""
    return [[float(edit.scores[MEASURE]) for edit in seed] for seed in edits_of(who)]


def comparison(contenders: Sequence[Contender]) -> tuple[list[Stat], list[Figure | Table]]:
    """Return who kept most and who did most of what was asked; failures, the frontier, kinds of edit."""
    kept, most = first_of(contenders, MEASURE)
    stats = [Stat("kept most", kept, f"{most:.1f} dB", strong=True)]
    first: list[Figure | Table] = [
        block for block in [sheet.contact_sheet(contenders)] if block is not None
    ]
    last = [block for block in [kinds.table(contenders)] if block is not None]
    other = asked(contenders)
    if other is None:
        return stats, [*first, *last]
    label, scale = SHOWN[other]
    best, most = first_of(contenders, other)
    stats.append(Stat(f"highest {label}", best, f"{scale * most:.3g}"))
    return stats, [*first, picture(points(contenders, other), other), *last]
