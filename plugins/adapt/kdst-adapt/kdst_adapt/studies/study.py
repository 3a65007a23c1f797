"""Studies of TEA's paper: energy (section 5.2), generation (5.3) and calibration (5.4)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kdst_adapt import measures
from kdst_adapt.asked import check_method
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.measures import Trace
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream
from kdst_adapt.studies import generation, selection, separation
from kdst_adapt.studies.probe import Probe
from kdst_batch.statistics import fisher
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure
from kdst_show.artifacts import Artifacts

LEAST = 4
"""Streams from which on a correlation has an interval."""


def check(study: str, shifts: Sequence[Shift], method: str) -> None:
    """Raise KdstError for a study that these inputs cannot give."""
    if study == "energy" and len(shifts) < LEAST:
        raise KdstError(
            f"--study energy needs {LEAST} streams or more, these are {len(shifts)}: --severity 1-5"
        )
    check_method(study, method)


def probe(inputs: AdaptInputs, stream: Stream, num_classes: int) -> Probe:
    """Return what measures the networks as they are adapted; KdstError for unfit images."""
    shifts = stream.shifts
    if inputs.study == "selection":
        return selection.Selection(seed=stream.seed)
    if inputs.study == "energy":
        return separation.Separation(
            stream=stream, kinds=separation.kinds(inputs, shifts, stream.seed)
        )
    if inputs.study == "generation":
        streams, shape = [s.key for s in shifts], shifts[0].input_shape
        return generation.Generation(
            streams=streams, shape=shape, num_classes=num_classes, seed=stream.seed
        )
    return Probe()


def metrics(
    study: str,
    traces: Mapping[str, Trace],
    method: str,
    shifts: Sequence[Shift],
    found: Mapping[str, Tensor],
) -> Mapping[str, float | None]:
    """Return the figures of a study, under `study.`; found: what its probe measured."""
    if study == "energy":
        apart = separation.metrics(found, [s.key for s in shifts], method)
        return _energy(traces[method], traces["norm"], shifts) | apart
    if study == "generation":
        return generation.metrics(found)
    if study == "selection":
        return selection.metrics(found)
    if study == "calibration":
        return {
            f"study.mce.{name}": maximum_calibration_error(trace) for name, trace in traces.items()
        }
    return {}


def _energy(ours: Trace, before: Trace, shifts: Sequence[Shift]) -> dict[str, float]:
    """Return the reduction of energy, of loss and the gain of accuracy on each stream, and how the
    first goes with the others (Pearson's r over the streams)."""
    found: dict[str, float] = {}
    names = {"energy": measures.ENERGY, "loss": measures.NLL, "accuracy": measures.CORRECT}
    columns: dict[str, list[float]] = {name: [] for name in names}
    for number, shift in enumerate(shifts):
        mine, other = ours.pooled()[number].double(), before.pooled()[number].double()
        for name, column in names.items():
            change = (mine[:, column].mean() - other[:, column].mean()).item()
            value = change if name == "accuracy" else -change
            columns[name].append(value)
            found[f"study.{name}.{shift.key}"] = value
    for name in ("loss", "accuracy"):
        r, low, high = correlation(columns["energy"], columns[name])
        key = f"study.correlation.{name}"
        found |= {key: r, f"{key}.low": low, f"{key}.high": high}
    return found


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Return Pearson's r and its 95 % interval (Fisher's z); 0 and (-1, 1) where one does not vary."""
    count = len(x)
    mx, my = sum(x) / count, sum(y) / count
    vx, vy = sum((a - mx) ** 2 for a in x), sum((b - my) ** 2 for b in y)
    if vx <= 0 or vy <= 0:
        return 0.0, -1.0, 1.0
    r = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / math.sqrt(vx * vy)
    r = max(-1.0, min(1.0, r))
    return r, *fisher(r, count)


def maximum_calibration_error(trace: Trace) -> float:
    """Return the MCE over all streams: the largest gap of accuracy and confidence in a filled bin."""
    import torch

    bins = measures.reliability(torch.cat(trace.pooled()))
    triples = zip(bins.counts, bins.accuracy, bins.confidence, strict=True)
    return max(abs(a - c) for n, a, c in triples if n)


def lines(study: str, found: Mapping[str, float], shifts: Sequence[Shift]) -> list[str]:
    """Return what the terminal says of a study."""
    if study == "generation":
        return generation.lines(found, [s.key for s in shifts])
    if study == "energy":
        return separation.lines(found) + [
            f"reduction of energy with {what}: r = {found[key]:+.2f},"
            f" 95 % interval {found[key + '.low']:+.2f} to {found[key + '.high']:+.2f}"
            for what, key in (
                ("reduction of loss", "study.correlation.loss"),
                ("gain of accuracy", "study.correlation.accuracy"),
            )
        ]
    if study == "selection":
        return selection.lines(found)
    if study == "calibration":
        names = [k.removeprefix("study.mce.") for k in found if k.startswith("study.mce.")]
        return ["MCE, %: " + ", ".join(f"{n} {100 * found['study.mce.' + n]:.1f}" for n in names)]
    return []


def figures(result: Mapping[str, Any], shifts: Sequence[str], artifacts: Artifacts) -> list[Figure]:
    """Return the pictures of a study; calibration is in the reliability diagram."""
    study = result["input"].get("study")
    if study == "generation":
        png = artifacts.bytes("generation.png")
        classes = result["input"]["num_classes"]
        return generation.figures(result["metrics"], shifts, classes, png)
    if study != "energy":
        return []
    return [
        _scatter(result, shifts, "accuracy", "gain of accuracy, points", 100),
        _scatter(result, shifts, "loss", "reduction of loss, nats", 1),
        *separation.figure(result["metrics"], shifts),
    ]


def _scatter(
    result: Mapping[str, Any], shifts: Sequence[str], what: str, label: str, scale: float
) -> Figure:
    """Draw the reduction of energy of each stream against what it brought, a colour a type."""
    found = result["metrics"]
    types = list(dict.fromkeys(s.rpartition(".")[0] for s in shifts))
    with charts.figure(4.8, 3.8) as (fig, axes):
        for number, name in enumerate(types):
            mine = [s for s in shifts if s.rpartition(".")[0] == name]
            x = [found[f"study.energy.{s}"] for s in mine]
            y = [scale * found[f"study.{what}.{s}"] for s in mine]
            colour = charts.SERIES[(number + 1) % len(charts.SERIES)]
            axes.plot(x, y, color=colour, lw=0.8, marker="o", ms=5, label=name.replace("_", " "))
            for s, a, b in zip(mine, x, y, strict=True):
                axes.annotate(
                    s.rpartition(".")[2],
                    (a, b),
                    xytext=(4, 3),
                    textcoords="offset points",
                    fontsize=8,
                )
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("reduction of energy against norm, mean over the images")
        axes.set_ylabel(label)
        if len(types) <= 8:
            fig.legend(loc="outside upper left", ncols=4, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, f"study-{what}")
    r, low, high = (found[f"study.correlation.{what}{k}"] for k in ("", ".low", ".high"))
    caption = (
        f"A point a stream, its severity beside it. Correlation r = {r:+.2f}, 95 % interval"
        f" {low:+.2f} to {high:+.2f} over {len(shifts)} streams."
    )
    return Figure(f"Reduction of energy and {label.partition(',')[0]}", caption, svg=picture)
