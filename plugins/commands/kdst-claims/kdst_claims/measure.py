"""From the results of a trial's runs to the effect that its claim is about."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from attrs import frozen

from kdst_batch.comparable import Comparable, Contender
from kdst_batch.results import Finished, finished
from kdst_batch.table import figure
from kdst_claims.plan import Trial
from kdst_claims.statistics import Effect, Table, of_table
from kdst_core.errors import KdstError

MINUS = " - "
"""Stands between two metrics whose difference is a measure."""


@frozen
class Measured:
    """What a trial measured: the effect, above 0 for the better, and what it was taken over.

    seeds, parts: how many there were. pairing: what the error is taken over, in words.
    """

    effect: Effect
    seeds: int
    parts: int
    pairing: str


def measured(trial: Trial) -> Measured:
    """Return the effect of a trial whose runs are all done; KdstError where a metric is not there.

    Two sides are paired by the bench where the claim is about the metric that it ranks methods by and
    both are fed alike, else seed by seed and part by part.
    """
    ours, theirs = finished(trial.ours), finished(trial.theirs)
    _refuse_other_protocol(trial, ours, theirs)
    sign = 1 if trial.claim.better == "higher" else -1
    bench = _pairing(trial, ours)
    if bench is not None:
        value, error = bench.paired(_contender(trial, ours), _contender(trial, theirs))
        seeds = max(len(ours), len(theirs))
        return Measured(Effect(sign * value, error), seeds, 1, "as kdst compare pairs")
    table = _table(trial, ours)
    if theirs:
        table = _difference(table, _table(trial, theirs))
    effect = of_table([[sign * x for x in row] for row in table])
    seeds, parts = len(table), len(table[0])
    return Measured(effect, seeds, parts, _words(seeds, parts))


def _refuse_other_protocol(
    trial: Trial, ours: Sequence[Finished], theirs: Sequence[Finished]
) -> None:
    """Raise KdstError where two sides that should be fed alike were not."""
    bench: Any = trial.setup.bench
    if theirs and not trial.by_input and hasattr(bench, "mismatch"):
        difference = bench.mismatch(ours[0].result, theirs[0].result)
        if difference:
            raise KdstError(f"the two sides cannot be compared: {difference}")


def _words(seeds: int, parts: int) -> str:
    """Return what an error is taken over."""
    several = [f"{n} {name}" for n, name in ((seeds, "seeds"), (parts, "parts")) if n > 1]
    return " and ".join(several) or "a single run"


def _pairing(trial: Trial, ours: Sequence[Finished]) -> Comparable | None:
    """Return the bench where it can pair the two sides in what the claim is about."""
    bench: Any = trial.setup.bench
    if not trial.theirs or trial.by_input or not hasattr(bench, "comparison"):
        return None
    first = bench.columns(ours[0].result)[0].metric
    return bench if first == trial.claim.measure else None


def _contender(trial: Trial, found: Sequence[Finished]) -> Contender:
    """Return one side as the bench pairs it."""
    directories = [f.case.directory for f in found]
    return Contender(found[0].case.method, [f.result for f in found], directories)


def _table(trial: Trial, found: Sequence[Finished]) -> Table:
    """Return the measure of every run, a row a seed, with a column for each part."""
    rows = [values(f.result["metrics"], trial.claim.measure) for f in found]
    if len(set(map(len, rows))) > 1:
        raise KdstError(f"the seeds have other numbers of {trial.claim.measure}")
    return rows


def values(metrics: Mapping[str, float | None], measure: str) -> list[float]:
    """Return what a measure is in one result: a number, or one for each part that `*` stands for.

    KdstError where a metric is missing or could not be told.
    """
    first, minus, second = measure.partition(MINUS)
    found = _matching(metrics, first)
    if not minus:
        return list(found.values())
    others = _matching(metrics, second)
    if list(found) != list(others):
        raise KdstError(f"{first} and {second} have other parts")
    return [a - b for a, b in zip(found.values(), others.values(), strict=True)]


def _matching(metrics: Mapping[str, float | None], pattern: str) -> dict[str, float]:
    """Return the metrics of a pattern by what `*` stands for in them; means are no parts."""
    head, star, tail = pattern.partition("*")
    names = [pattern] if not star else [n for n in sorted(metrics) if fnmatchcase(n, pattern)]
    parts = {n.removeprefix(head).removesuffix(tail) if star else "": n for n in names}
    found = {part: name for part, name in parts.items() if part not in ("mean", "low", "high")}
    for name in found.values():
        if metrics.get(name) is None:
            why = "was not told" if name in metrics else "is no metric of the run"
            raise KdstError(f"{name} {why}")
    if not found:
        raise KdstError(f"no metric of the run fits {pattern}")
    return {part: figure(metrics[name]) for part, name in found.items()}


def _difference(ours: Table, theirs: Table) -> Table:
    """Return ours minus theirs, seed by seed and part by part; one run stands for every seed."""
    count = max(len(ours), len(theirs))
    a, b = (list(x) * count if len(x) == 1 else list(x) for x in (ours, theirs))
    if len(a) != len(b) or len(a[0]) != len(b[0]):
        raise KdstError("the two sides have other numbers of seeds or parts")
    return [[x - y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]
