"""What `kdst compare` needs of fits: columns, and a paired comparison over the same held-out views."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_batch.comparable import Column, Contender
from kdst_batch.statistics import Z_975, student_quantile
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Stat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

COLUMNS = (
    Column("psnr.holdout", "PSNR, dB"),
    Column("ssim.holdout", "SSIM", digits=4),
    Column("psnr.aligned", "PSNR aligned, dB"),
    Column("lpips.holdout", "LPIPS", digits=4, better="lower"),
    Column("gaussians", "Gaussians", digits=0, better="lower", short=False),
    Column("iterations_per_second", "iterations / s", digits=1, short=False),
    Column("render_fps", "frames / s", digits=1, short=False),
    Column("peak_memory_mb", "memory, MiB", digits=0, better="lower", short=False),
)
"""Methods are ranked by the first."""
PROTOCOL = {
    "views": "views",
    "held_out": "held-out views",
    "sizes": "sizes of the photographs",
    "masks": "numbers of masks",
}
"""What must be equal in the inputs of results that are compared, and its name."""


def seeded(inputs: Any) -> bool:
    """Return whether the seed changes what a method is fed: the capture is the same for all."""
    return False


def columns(result: Mapping[str, Any]) -> Sequence[Column]:
    """Return the columns of a comparison."""
    return COLUMNS


def mismatch(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return how the protocols of two results differ, '' where they can be compared."""
    mine, other = ours["input"], theirs["input"]
    if not mine["held_out"] or not other["held_out"]:
        return "no view was held out, so nothing can be compared; give --holdout auto"
    for key, name in PROTOCOL.items():
        if mine.get(key) != other.get(key):
            return f"the {name} are {_said(mine.get(key))} and {_said(other.get(key))}"
    if mine.get("capture_digest") != other.get("capture_digest"):
        return "their photographs or cameras differ"
    return ""


def _said(value: Any) -> str:
    """Return a value of the protocol as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def paired(ours: Contender, theirs: Contender) -> tuple[float, float]:
    """Return the difference of mean PSNR in dB and its standard error.

    Views are paired, each by its mean over the seeds. The table takes the error for that of a normal
    distribution; of few views Student's t has a wider interval, so the error is widened to give it.
    With one view there is none to tell, and it is infinite. To the error of the choice of views comes that
    of the seeds, by the differences from seed to seed.
    """
    import numpy as np

    mine, others = (_by_seed(c) for c in (ours, theirs))
    if mine.shape[1] != others.shape[1]:
        raise KdstError("the runs of two methods scored different numbers of held-out views")
    gaps = mine.mean(0) - others.mean(0)
    count = len(gaps)
    if count < 2:
        return float(gaps.mean()), math.inf
    of_views = float(gaps.std(ddof=1)) / math.sqrt(count) * student_quantile(count - 1) / Z_975
    return float(gaps.mean()), float(np.hypot(of_views, _of_seeds(mine, others)))


def _of_seeds(mine: "Array", others: "Array") -> float:
    """Return the standard error by seeds of the mean difference, widened as that of few views; one
    run stands for every seed."""
    import numpy as np

    a, b = np.broadcast_arrays(mine.mean(1), others.mean(1)) if _alike(mine, others) else ((), ())
    count = len(a)
    if count < 2:
        return 0.0
    spread = float(np.std(np.subtract(a, b), ddof=1))
    return spread / math.sqrt(count) * student_quantile(count - 1) / Z_975


def _alike(mine: "Array", others: "Array") -> bool:
    """Return whether two methods have as many seeds, or one of them a single run."""
    return len(mine) == len(others) or 1 in (len(mine), len(others))


def _by_seed(contender: Contender) -> "Array":
    """Return the PSNR (seeds, views) of every held-out view."""
    import numpy as np

    runs = [psnr_of_views(directory) for directory in contender.directories]
    if len(set(map(len, runs))) > 1:
        raise KdstError("the runs of one method scored different numbers of held-out views")
    return np.array(runs, dtype=np.float64)


def psnr_of_views(directory: Path) -> list[float]:
    """Return the PSNR of every held-out view of a run at its end; KdstError where they are gone."""
    return [float(view["psnr"]) for view in _trace(directory)["views"]]


def _trace(directory: Path) -> dict[str, Any]:
    """Return the scores that a run keeps; KdstError where they cannot be read."""
    path = directory / "artifacts" / "trace.json"
    try:
        trace = json.loads(path.read_text(encoding="utf-8"))
        return {"views": [*trace["views"]], **{k: trace[k] for k in ("iterations", "psnr")}}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise KdstError(f"cannot read {path}, which a comparison needs: {e}") from e


def stats(contenders: Sequence[Contender]) -> list[Stat]:
    """Return the headline numbers: what was held out, and the best method."""
    first = contenders[0].results[0]["input"]
    best = max(contenders, key=_mean_psnr)
    held = len(first["held_out"])
    return [
        Stat("Held-out views", str(held), f"of {first['views']}, the same for all"),
        Stat("Best PSNR, dB", f"{_mean_psnr(best):.2f}", best.label, strong=True),
    ]


def _mean_psnr(contender: Contender) -> float:
    """Return a method's PSNR, mean over its seeds."""
    values = [float(r["metrics"]["psnr.holdout"]) for r in contender.results]
    return sum(values) / len(values)


def figures(contenders: Sequence[Contender]) -> list[Figure]:
    """Return the figures: PSNR of each held-out view, and along the fits."""
    return [_by_view(contenders), _along_the_fit(contenders)]


def _by_view(contenders: Sequence[Contender]) -> Figure:
    """PSNR of every held-out view, means over seeds."""
    names = [Path(view["name"]).name for view in _trace(contenders[0].directories[0])["views"]]
    with charts.figure(7.2, 3.2) as (fig, axes):
        for number, who in enumerate(contenders):
            color = charts.SERIES[number % len(charts.SERIES)]
            axes.plot(names, _by_seed(who).mean(0), "o", color=color, ms=5, label=who.label)
        axes.set_ylabel("PSNR, dB")
        axes.tick_params(axis="x", rotation=60)
        axes.legend()
        picture = charts.svg(fig, "psnr-by-view")
    caption = "At the end of each fit, mean over seeds. Differences are paired by view."
    return Figure("PSNR of each held-out view", caption, svg=picture)


def _along_the_fit(contenders: Sequence[Contender]) -> Figure:
    """PSNR of the held-out views along the first fit of each method."""
    with charts.figure(7.2, 3.2) as (fig, axes):
        for number, who in enumerate(contenders):
            trace = _trace(who.directories[0])
            color = charts.SERIES[number % len(charts.SERIES)]
            axes.plot(trace["iterations"], trace["psnr"], color=color, label=who.label)
        axes.set_xlabel("iteration")
        axes.set_ylabel("PSNR of held-out views, dB")
        axes.legend()
        picture = charts.svg(fig, "psnr-along-fits")
    return Figure("PSNR along the fits", "First seed of each method.", svg=picture)


def comparison(
    contenders: Sequence[Contender],
) -> tuple[Sequence[Stat], Sequence[Figure]]:
    """Return headline numbers and figures of a comparison's report."""
    return stats(contenders), figures(contenders)
