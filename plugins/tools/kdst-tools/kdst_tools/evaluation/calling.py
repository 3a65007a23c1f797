"""How good the calls are that a model makes on problems: made, right, and their results written."""

from collections.abc import Mapping, Sequence

from kdst_batch.statistics import wilson
from kdst_core.contracts import Generation
from kdst_tools.evaluation.answers import is_right
from kdst_tools.evaluation.problems import Problem

SCORES = {
    "made": "problems with a call that was answered",
    "right": "of those, answered with the problem's answer",
    "copied": "of those, continued with the call's result",
}
"""What is scored of the last answered call of each problem, with its denominator in words."""


def scores(
    outputs: Sequence[Generation], problems: Sequence[Problem], name: str
) -> dict[str, float]:
    """Return `calls.NAME.made`, `.right` and `.copied` with 95 % intervals, for one model.

    `made` is a share of the problems, each of which needs one call; the others are shares of the calls
    that were made, and are left out where none was.
    """
    right, copied, made = 0, 0, 0
    for output, problem in zip(outputs, problems, strict=True):
        result = next((c.result for c in reversed(output.calls) if c.result is not None), None)
        if result is None:
            continue
        made += 1
        right += is_right(result, problem)
        copied += is_right(output.text, Problem(problem.prompt, result))
    found = _share(f"calls.{name}.made", made, len(problems))
    if made:
        found |= _share(f"calls.{name}.right", right, made)
        found |= _share(f"calls.{name}.copied", copied, made)
    return found


def rows(metrics: Mapping[str, float], names: Sequence[str]) -> list[list[str]]:
    """Return a line a model: the three shares with their intervals, a dash where there is none."""
    return [
        [name, *(_shown(metrics, f"calls.{name}.{score}") for score in SCORES)]
        for name in names
        if f"calls.{name}.made" in metrics
    ]


def _share(name: str, count: int, total: int) -> dict[str, float]:
    """A share and its interval, as metrics."""
    low, high = wilson(count, total)
    return {name: count / total, f"{name}.low": low, f"{name}.high": high}


def _shown(metrics: Mapping[str, float], name: str) -> str:
    """A share with its interval in words."""
    if name not in metrics:
        return "–"
    return f"{metrics[name]:.1%} ({metrics[f'{name}.low']:.1%} to {metrics[f'{name}.high']:.1%})"
