"""What `kdst compare` needs of edits: columns, and a paired test on the same targets and noise."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from kdst_core.bench.compare import Column, Contender
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Stat
from kdst_edit.inputs import EditInputs

MEASURE = "background_psnr"
"""What methods are ranked by: how far the rest of the picture stays what it was."""
SHOWN = {"success": ("success, %", 100.0), "mask_iou": ("IoU of source and edit", 1.0)}
"""What else an edit is judged by, the first that every run has: keeping everything is no edit."""
PROTOCOL = (
    *("source", "target", "negative_prompt", "image", "mask", "confine", "model_digest", "size"),
    *("steps", "guidance", "guidance_rescale", "scheduler", "dtype", "inversion_kind"),
    *("inversion_prompt", "substeps", "fixed_point", "skip", "region"),
)
"""What must be equal in the inputs of results that are compared."""
Gains = list[list[float]]
"""Differences of two methods: a list for each seed, with a number for each target."""


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
    mine, others = ([_values(d) for d in c.directories] for c in (ours, theirs))
    count = max(len(mine), len(others))
    mine, others = (x if len(x) == count else x[:1] * count for x in (mine, others))
    if {len(x) for x in (*mine, *others)} != {len(mine[0])}:
        raise KdstError(f"{ours.label} and {theirs.label} edited towards other numbers of targets")
    gains = [[a - b for a, b in zip(m, o, strict=True)] for m, o in zip(mine, others, strict=True)]
    return fmean(map(fmean, gains)), standard_error(gains)


def standard_error(gains: Gains) -> float:
    """Return the standard error of the mean of differences, by seed and target; inf for a single one."""
    by_seed = [fmean(row) for row in gains]
    by_target = [fmean(column) for column in zip(*gains, strict=True)]
    parts = [variance(x) / len(x) for x in (by_seed, by_target) if len(x) > 1]
    return math.sqrt(sum(parts)) if parts else math.inf


def _values(directory: Path) -> list[float]:
    """Return the measure of every target of a run; KdstError when the run does not hold it."""
    path = directory / "artifacts" / "scores.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["edit"]
        return [float(row[MEASURE]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise KdstError(f"cannot read {path}, which a comparison needs: {e}") from e


def comparison(contenders: Sequence[Contender]) -> tuple[list[Stat], list[Figure]]:
    """Return who kept most and who did most of what was asked, and both in one picture."""
    kept = max(contenders, key=lambda c: _mean(c, MEASURE))
    stats = [Stat("kept most", kept.label, f"{_mean(kept, MEASURE):.1f} dB", strong=True)]
    metrics = [r["metrics"] for c in contenders for r in c.results]
    other = next((name for name in SHOWN if all(name in m for m in metrics)), None)
    if other is None:
        return stats, []
    label, scale = SHOWN[other]
    most = max(contenders, key=lambda c: _mean(c, other))
    stats.append(Stat(f"highest {label}", most.label, f"{scale * _mean(most, other):.3g}"))
    return stats, [_picture(contenders, other)]


def _mean(who: Contender, name: str) -> float:
    """Return the mean of a metric over seeds; NaN where it could not be told."""
    values = [result["metrics"][name] for result in who.results]
    return math.nan if None in values else fmean(values)


def _picture(contenders: Sequence[Contender], other: str) -> Figure:
    """Return what was kept over what was asked, a point a method, and sampling without control."""
    label, scale = SHOWN[other]
    with charts.figure(5.4, 3.4) as (fig, axes):
        for number, who in enumerate(contenders):
            colour = charts.SERIES[(number + 1) % len(charts.SERIES)]
            at = scale * _mean(who, other), _mean(who, MEASURE)
            axes.plot([at[0]], [at[1]], "o", color=colour, label=who.label)
        plain = f"plain.{other}", f"plain.{MEASURE}"
        first = contenders[0]
        if all(name in r["metrics"] for name in plain for r in first.results):
            at = scale * _mean(first, plain[0]), _mean(first, plain[1])
            axes.plot([at[0]], [at[1]], "x", color=charts.MUTED, label="without control")
        axes.set_xlabel(label)
        axes.set_ylabel("outside the region, dB")
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "kept")
    caption = "Means over targets and seeds. An edit that changes nothing keeps everything."
    return Figure("What was kept, and what was asked", caption, svg=picture)
