"""The report of a run: headline numbers, charts and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_adapt.audit import findings
from kdst_adapt.compare.pairing import stream_label
from kdst_adapt.outcome.alarms import ONLY_UPDATE
from kdst_adapt.studies import study
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, ReportContent, Stat, Table
from kdst_show.artifacts import Artifacts

LABELS = {"source": "as trained", "norm": "batch statistics"}


def content(result: Mapping[str, Any], directory: Path) -> ReportContent:
    """Return the content of a report from a result and the artifacts beside it."""
    artifacts = Artifacts(result, directory)
    curves = artifacts.json("curves.json")
    names = list(curves["methods"])
    blocks: list[Figure | Table] = [
        _bars(result, curves["shifts"], names),
        _stream(curves, names),
        _reliability(curves, names),
        _energy(result, curves, names),
        _inputs(result, artifacts),
    ]
    blocks += study.figures(result, curves["shifts"], artifacts)
    blocks += _samples(artifacts)
    blocks.append(_table(result, curves["shifts"], names))
    if result.get("audit"):
        blocks.append(findings.table(result["audit"]))
    return ReportContent(_subtitle(result), _stats(result, names), blocks)


def _prefix(result: Mapping[str, Any], name: str) -> str:
    """Return the prefix of a method's metrics."""
    return "" if name == result["method"] else f"baseline.{name}."


def _value(result: Mapping[str, Any], name: str, metric: str) -> float:
    """Return a metric of a method."""
    value: float = result["metrics"][_prefix(result, name) + metric]
    return value


def _subtitle(result: Mapping[str, Any]) -> str:
    """Say in one sentence what was measured."""
    protocol = result["input"]
    total = sum(protocol["images_per_shift"])
    reset = "at every shift" if protocol["reset"] == "shift" else "never"
    named = protocol.get("protocol", "none")
    by = f" Protocol {named}: {protocol['protocol_source']}." if named != "none" else ""
    amp = protocol.get("amp", "no")
    by += f" Forward passes in {amp}." if amp != "no" else ""
    return (
        f"Test-time adaptation on {protocol['data']}, model {protocol['model']}: {total:,} images in"
        f" {len(protocol['shifts'])} streams, batches of {protocol['batch_size']}, reset {reset}.{by}"
    )


def _stats(result: Mapping[str, Any], names: Sequence[str]) -> list[Stat]:
    """Return accuracy from source to the method, the gain over norm with its interval, and the cost."""
    stats = [
        Stat(
            name,
            f"{100 * _value(result, name, 'accuracy.mean'):.1f} %",
            f"mean accuracy, {LABELS.get(name, 'adapted')}",
            strong=name == result["method"],
        )
        for name in names
    ]
    only_update = ONLY_UPDATE.format(names[-1])
    if only_update in result["warnings"]:
        stats.append(Stat(f"{names[-1]} over norm", "–", only_update))
    elif names[-1] != "norm":
        gap, low, high = (
            100 * result["metrics"][f"difference.norm.accuracy.{k}"]
            for k in ("mean", "low", "high")
        )
        note = f"points of accuracy, 95 % interval {low:+.2f} to {high:+.2f}"
        stats.append(Stat(f"{names[-1]} over norm", f"{gap:+.2f}", note))
    seconds = _value(result, names[-1], "seconds_per_batch")
    note = f"the time of source; {seconds:.3g} s a batch"
    cost = result["metrics"][_prefix(result, names[-1]) + "cost_x_source"]
    stats.append(Stat("cost", "–" if cost is None else f"{cost:.1f}×", note))
    return stats


def _bars(result: Mapping[str, Any], shifts: Sequence[str], names: Sequence[str]) -> Figure:
    """Accuracy by corruption: horizontal bars with numbers."""
    rows = [*shifts, "mean"]
    height = 0.9 + 0.19 * len(rows) * (len(names) + 0.9)
    with charts.figure(4.8, height) as (fig, axes):
        for number, name in enumerate(names):
            values = [100 * _value(result, name, f"accuracy.{row}") for row in rows]
            at = [k * (len(names) + 0.9) + number for k in range(len(rows))]
            axes.barh(at, values, 0.86, color=charts.SERIES[number], label=name)
            for y, value in zip(at, values, strict=True):
                axes.text(value + 1, y, f"{value:.1f}", va="center", fontsize=9)
        centre = (len(names) - 1) / 2
        axes.set_yticks(
            [k * (len(names) + 0.9) + centre for k in range(len(rows))],
            [stream_label(r) if r != "mean" else "mean" for r in rows],
        )
        axes.invert_yaxis()
        axes.set_xlim(0, 108)
        axes.set_xticks(range(0, 101, 20))
        axes.grid(axis="y", visible=False)
        axes.tick_params(left=False)
        axes.set_xlabel("accuracy, %")
        fig.legend(loc="outside upper left", ncols=len(names), handlelength=1)
        picture = charts.svg(fig, "bars")
    caption = (
        "Each method sees the same batches in the same order. Logits as the method returns them."
    )
    return Figure("Accuracy by corruption", caption, svg=picture)


def _stream(curves: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Accuracy along the stream, averaged over the shifts batch by batch."""
    with charts.figure(4.8, 3.2) as (fig, axes):
        for number, name in enumerate(names):
            by_shift = curves["methods"][name]["accuracy"]
            length = min(map(len, by_shift))
            mean = [100 * sum(s[k] for s in by_shift) / len(by_shift) for k in range(length)]
            axes.plot(
                range(1, length + 1),
                mean,
                color=charts.SERIES[number],
                label=name,
                marker="o",
                ms=3,
            )
        axes.set_xlabel("batch of the stream")
        axes.set_ylabel("accuracy, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        fig.legend(loc="outside upper left", ncols=len(names), handlelength=1)
        picture = charts.svg(fig, "stream")
    caption = "Mean over the corruptions of each batch's accuracy, in the order of the stream."
    return Figure("Accuracy along the stream", caption, svg=picture)


def _reliability(curves: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Reliability diagram before (source, norm) and after adaptation."""
    with charts.figure(4.8, 3.6) as (fig, axes):
        axes.plot([0, 1], [0, 1], color=charts.MUTED, lw=1, ls=(0, (4, 3)), label="calibrated")
        for number, name in enumerate(names):
            bins = curves["methods"][name]["reliability"]
            kept = [k for k, n in enumerate(bins["counts"]) if n]
            axes.plot(
                [bins["confidence"][k] for k in kept],
                [bins["accuracy"][k] for k in kept],
                color=charts.SERIES[number],
                label=name,
                marker="o",
                ms=4,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        fig.legend(loc="outside upper left", ncols=len(names) + 1, handlelength=1)
        picture = charts.svg(fig, "reliability")
    caption = (
        "Ten bins of confidence over all streams; below the dashed line a model is over-confident."
    )
    return Figure("Reliability before and after adaptation", caption, svg=picture)


def _energy(result: Mapping[str, Any], curves: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Energy of the test data before and after adaptation against accuracy, an arrow a shift."""
    before = "norm" if "norm" in names and names[-1] != "norm" else "source"
    start = curves["methods"].get(before, curves["methods"][names[-1]])
    end = curves["methods"][names[-1]]
    colours = {before: charts.SERIES[names.index(before)] if before in names else charts.MUTED}
    with charts.figure(4.8, 3.6) as (fig, axes):
        first: list[tuple[float, float]] = []
        last: list[tuple[float, float]] = []
        for number, shift in enumerate(curves["shifts"]):
            a = (start["energy"][number], 100 * _value(result, before, f"accuracy.{shift}"))
            b = (end["energy"][number], 100 * _value(result, names[-1], f"accuracy.{shift}"))
            axes.plot([a[0], b[0]], [a[1], b[1]], color=charts.MUTED, lw=1, zorder=1)
            first.append(a)
            last.append(b)
        if len(last) <= 15:
            _annotate(axes, [stream_label(s) for s in curves["shifts"]], last)
        axes.scatter(*zip(*first, strict=True), color=colours[before], s=26, label=before, zorder=2)
        after = charts.SERIES[len(names) - 1]
        axes.scatter(*zip(*last, strict=True), color=after, s=26, label=names[-1], zorder=3)
        axes.margins(x=0.3, y=0.12)
        axes.set_xlabel("energy of the test data, mean of -logsumexp f(x)")
        axes.set_ylabel("accuracy, %")
        fig.legend(loc="outside upper left", ncols=2, handletextpad=0.1)
        picture = charts.svg(fig, "energy")
    caption = f"Each line joins one corruption under {before} and under {names[-1]}."
    return Figure("Energy before and after adaptation", caption, svg=picture)


def _annotate(axes: Any, labels: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    """Write a label left of each point, moved up where it would cover the one below."""
    heights = [y for _, y in points]
    gap = max(0.055 * (max(heights) - min(heights)), 0.1)
    floor = float("-inf")
    for label, (x, y) in sorted(zip(labels, points, strict=True), key=lambda p: p[1][1]):
        floor = max(floor + gap, y)
        place = {"textcoords": ("offset points", "data"), "ha": "right", "va": "center"}
        axes.annotate(label, (x, floor), (-7, floor), fontsize=9, **place)


def _inputs(result: Mapping[str, Any], artifacts: Artifacts) -> Figure:
    """Thumbnails of the corrupted inputs."""
    rows = ", ".join(map(stream_label, result["input"]["shifts"]))
    return Figure(
        "What the model sees",
        f"First images of each stream, one row a stream: {rows}.",
        png=artifacts.bytes("inputs.png"),
        pixelated=True,
    )


def _samples(artifacts: Artifacts) -> list[Figure]:
    """What the method showed: a row of pictures each."""
    if "samples.png" not in artifacts:
        return []
    names = artifacts.json("samples.json")
    return [
        Figure(
            "Samples of the model before and after adaptation",
            f"Rows: {'; '.join(names)}. First batch: the model before any update; last batch: adapted.",
            png=artifacts.bytes("samples.png"),
            pixelated=True,
        )
    ]


def _table(result: Mapping[str, Any], shifts: Sequence[str], names: Sequence[str]) -> Table:
    """All measures, with both readings of the method's logits."""
    readings = [("", n, n) for n in names]
    if result["metrics"]["updates"]:
        readings += [
            ("before_update.", names[-1], f"{names[-1]}, before its update"),
            ("after_update.", names[-1], f"{names[-1]}, after its update"),
        ]
    rows = []
    for prefix, name, label in readings:
        found = {
            m: _value(result, name, f"{prefix}{m}.mean")
            for m in ("accuracy", "ece", "ece_batch", "nll")
        }
        per_shift = [f"{100 * _value(result, name, f'{prefix}accuracy.{s}'):.2f}" for s in shifts]
        rows.append(
            [
                label,
                *per_shift,
                f"{100 * found['accuracy']:.2f}",
                f"{100 * found['ece']:.2f}",
                f"{100 * found['ece_batch']:.2f}",
                f"{found['nll']:.3f}",
            ]
        )
    header = ["", *map(stream_label, shifts), "mean", "ECE pooled", "ECE by batch", "NLL"]
    caption = (
        "Accuracy and expected calibration error (10 bins) in %, negative log-likelihood in nats."
        " Published methods differ in whether they return logits before or after their update;"
        " compare methods by the same reading."
    )
    return Table("All figures", header, rows, caption)
