"""The report of a run: headline numbers, charts and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_adapt.audit import findings
from kdst_adapt.compare.pairing import stream_label
from kdst_adapt.drawing import MUTED, Chart, Key, series, span
from kdst_adapt.outcome.alarms import ONLY_UPDATE
from kdst_adapt.studies import study
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
    rows, pitch = [*shifts, "mean"], len(names) + 0.9
    centre = (len(names) - 1) / 2
    chart = Chart(
        72 * (0.9 + 0.19 * len(rows) * pitch),
        (0, 108),
        (len(rows) * pitch - 0.9, -1),
        "accuracy, %",
        rows=[
            (k * pitch + centre, stream_label(row) if row != "mean" else "mean")
            for k, row in enumerate(rows)
        ],
    )
    for number, name in enumerate(names):
        for k, row in enumerate(rows):
            value = 100 * _value(result, name, f"accuracy.{row}")
            chart.bar(k * pitch + number, value, 0.86, series(number))
    chart.legend([Key(name, series(k), "bar") for k, name in enumerate(names)])
    caption = (
        "Each method sees the same batches in the same order. Logits as the method returns them."
    )
    return Figure("Accuracy by corruption", caption, svg=chart.svg())


def _stream(curves: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Accuracy along the stream, averaged over the shifts batch by batch."""
    lines = []
    for name in names:
        by_shift = curves["methods"][name]["accuracy"]
        length = min(map(len, by_shift))
        mean = [100 * sum(s[k] for s in by_shift) / len(by_shift) for k in range(length)]
        lines.append([*enumerate(mean, start=1)])
    across, up = (span([p[axis] for line in lines for p in line]) for axis in (0, 1))
    chart = Chart(230.4, across, up, "batch of the stream", "accuracy, %", whole=True)
    _draw(chart, lines, 1.8)
    chart.legend([Key(name, series(k), "line") for k, name in enumerate(names)])
    caption = "Mean over the corruptions of each batch's accuracy, in the order of the stream."
    return Figure("Accuracy along the stream", caption, svg=chart.svg())


def _draw(chart: Chart, lines: Sequence[Sequence[tuple[float, float]]], radius: float) -> None:
    """Draw a line with dots for each series."""
    for number, line in enumerate(lines):
        chart.line(line, series(number))
        chart.dots(line, series(number), radius)


def _reliability(curves: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Reliability diagram before (source, norm) and after adaptation."""
    chart = Chart(259.2, (0, 1), (0, 1), "confidence", "accuracy")
    chart.line([(0, 0), (1, 1)], MUTED, 1, "4 3")
    lines = []
    for name in names:
        bins = curves["methods"][name]["reliability"]
        points = zip(bins["counts"], bins["confidence"], bins["accuracy"], strict=True)
        lines.append([(x, y) for count, x, y in points if count])
    _draw(chart, lines, 2.2)
    keys = [Key(name, series(k), "line") for k, name in enumerate(names)]
    chart.legend([Key("calibrated", MUTED, "dashed"), *keys])
    caption = (
        "Ten bins of confidence over all streams; below the dashed line a model is over-confident."
    )
    return Figure("Reliability before and after adaptation", caption, svg=chart.svg())


def _energy(result: Mapping[str, Any], curves: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Energy of the test data before and after adaptation against accuracy, a line a shift."""
    before = "norm" if "norm" in names and names[-1] != "norm" else "source"
    methods = curves["methods"]
    start, end = methods.get(before, methods[names[-1]]), methods[names[-1]]
    first: list[tuple[float, float]] = []
    last: list[tuple[float, float]] = []
    for number, shift in enumerate(curves["shifts"]):
        accuracy = f"accuracy.{shift}"
        first.append((start["energy"][number], 100 * _value(result, before, accuracy)))
        last.append((end["energy"][number], 100 * _value(result, names[-1], accuracy)))
    across, up = (span([p[k] for p in (*first, *last)], m) for k, m in ((0, 0.3), (1, 0.12)))
    chart = Chart(
        259.2, across, up, "energy of the test data, mean of -logsumexp f(x)", "accuracy, %"
    )
    for a, b in zip(first, last, strict=True):
        chart.line([a, b], MUTED, 1)
    if len(last) <= 15:
        _annotate(chart, [stream_label(s) for s in curves["shifts"]], last)
    colours = [series(names.index(before)) if before in names else MUTED, series(len(names) - 1)]
    for points, colour in zip((first, last), colours, strict=True):
        chart.dots(points, colour, 3)
    chart.legend([Key(n, c, "point") for n, c in zip((before, names[-1]), colours, strict=True)])
    caption = f"Each line joins one corruption under {before} and under {names[-1]}."
    return Figure("Energy before and after adaptation", caption, svg=chart.svg())


def _annotate(chart: Chart, labels: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    """Write a label left of each point, moved up where it would cover the one below."""
    heights = [y for _, y in points]
    gap = max(0.055 * (max(heights) - min(heights)), 0.1)
    floor = float("-inf")
    for label, (x, y) in sorted(zip(labels, points, strict=True), key=lambda p: p[1][1]):
        floor = max(floor + gap, y)
        chart.text((x, floor), label, (-7, 3.2), "end")


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
