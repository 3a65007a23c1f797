"""What `kdst compare` needs of runs of tool use: columns, and a paired test on the same problems."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_batch.comparable import Column, Contender, first_difference
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Stat
from kdst_show.artifacts import Artifacts
from kdst_tools.inputs import ToolsInputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RANKED = "exact.after"
"""What methods are ranked by."""
PROTOCOL = (
    *("model", "parameters", "vocabulary", "texts", "documents", "tool_names", "day"),
    *("problems", "problems_used", "held_out", "held_out_used"),
)
"""What must be equal in the inputs of results that are compared."""


def seeded(inputs: ToolsInputs) -> bool:
    """Return whether the seed changes what is annotated: it draws the generated texts."""
    return inputs.texts is None


def columns(result: Mapping[str, Any]) -> list[Column]:
    """Return the columns: problems solved, calls, what the filter keeps, and what it costs the text."""
    known = [
        Column(RANKED, "exact match, %", 100, 1),
        Column("calls.after.made", "calls made, %", 100, 1),
        Column("calls.after.right", "calls right, %", 100, 1, short=False),
        Column("false_calls", "false calls, %", 100, 1, "lower"),
        Column("filter.precision", "filter precision, %", 100, 1, short=False),
        Column("filter.recall", "filter recall, %", 100, 1, short=False),
        Column("perplexity.plain.after", "perplexity", digits=2, better="lower"),
    ]
    found = [column for column in known if column.metric in result["metrics"]]
    return found or [Column("count.kept", "calls kept", digits=0)]


def mismatch(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the first part of the protocol in which two results differ, '' where they agree."""
    return first_difference(ours, theirs, PROTOCOL)


def paired(ours: Contender, theirs: Contender) -> tuple[float, float]:
    """Return the difference in problems solved, a share, and its standard error, paired by problem.

    Seeds have the same problems, so the error is that of the mean over them, and that of the seeds.
    KdstError where the runs have no problems, or not the same ones.
    """
    import numpy as np

    mine, others = (
        [solved(r, d) for r, d in zip(c.results, c.directories, strict=True)]
        for c in (ours, theirs)
    )
    count = max(len(mine), len(others))
    mine, others = (x if len(x) == count else x[:1] * count for x in (mine, others))
    gaps = []
    for (prompts, one), (same, other) in zip(mine, others, strict=True):
        if prompts != same:
            raise KdstError(f"{ours.label} and {theirs.label} were measured on other problems")
        gaps.append(one - other)
    means = [float(gap.mean()) for gap in gaps]
    of_seeds = float(np.var(means, ddof=1)) / count if count > 1 else 0.0
    return float(np.mean(means)), (_variance(np.mean(gaps, axis=0)) + of_seeds) ** 0.5


def solved(result: Mapping[str, Any], directory: Path) -> "tuple[list[str], Array]":
    """Return the prompts of a run's problems, and 1.0 for each that the trained model solved, else 0.0.

    KdstError where the run was not measured on problems.
    """
    import numpy as np

    files = Artifacts(result, directory)
    rows = files.json("evaluation.json")["problems"] if "evaluation.json" in files else []
    if not rows or any("after" not in row for row in rows):
        raise KdstError(
            f"{directory} was not measured on problems, so there is nothing to pair by.\n"
            "Run with --problems, up to --stage evaluate"
        )
    return [row["prompt"] for row in rows], np.array([float(row["after"]["right"]) for row in rows])


def _variance(gap: "Array") -> float:
    """Return the variance of the mean of one difference a problem."""
    return float(gap.var(ddof=1) / len(gap)) if len(gap) > 1 else 0.0


def comparison(contenders: Sequence[Contender]) -> tuple[list[Stat], list[Figure]]:
    """Return who solved most, and what each solved before and after; nothing where none was measured."""
    measured = [c for c in contenders if all(RANKED in r["metrics"] for r in c.results)]
    if not measured:
        return [], []
    best = max(measured, key=lambda c: _mean(c, RANKED))
    note = f"{_mean(best, RANKED):.1%} of the problems"
    return [Stat("solved most", best.label, note, strong=True)], [_gains(measured)]


def _mean(who: Contender, name: str) -> float:
    """Return the mean of a metric over seeds."""
    return sum(r["metrics"][name] for r in who.results) / len(who.results)


def _gains(contenders: Sequence[Contender]) -> Figure:
    """Return bars of what each method's model solved, and a mark where it began."""
    with charts.figure(5.4, 1.2 + 0.4 * len(contenders)) as (fig, axes):
        rows = range(len(contenders))
        axes.barh(rows, [_mean(c, RANKED) for c in contenders], color=charts.SERIES[2], height=0.6)
        for row, who in zip(rows, contenders, strict=True):
            if all("exact.before" in r["metrics"] for r in who.results):
                axes.plot([_mean(who, "exact.before")], [row], "|", color=charts.INK, ms=14)
        axes.set_yticks(rows, [c.label for c in contenders])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("exact match")
        picture = charts.svg(fig, "solved")
    caption = "Means over seeds. The mark is the model before finetuning."
    return Figure("Problems solved", caption, svg=picture)
