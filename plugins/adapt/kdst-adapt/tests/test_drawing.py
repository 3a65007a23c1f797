"""Charts of a run's report: where ticks, bars and lines stand, and what a broken figure leaves out."""

import math
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from kdst_adapt.drawing import WIDTH, Chart, Key, named, series, span, ticks

SVG = "{http://www.w3.org/2000/svg}"


def parts(chart: Chart, kind: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(chart.svg()).findall(SVG + kind)


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 108, False, ["0", "20", "40", "60", "80", "100"]),
        (0.85, 4.15, True, ["1", "2", "3", "4"]),
        (-10.3, -9.1, False, ["−10.2", "−10.0", "−9.8", "−9.6", "−9.4", "−9.2"]),
        (-4.2e7, 0, False, ["−4e+07", "−3e+07"]),
        (1, 41, True, ["5", "10", "15", "20", "25", "30", "35", "40"]),
        (0, 0.02, False, ["0.0000", "0.0025", "0.0050", "0.0075", "0.0100"]),
    ],
)
def test_ticks_are_round_values(low: float, high: float, whole: bool, expected: list[str]) -> None:
    found = named(ticks(low, high, whole=whole))
    assert [text for _, text in found][: len(expected)] == expected
    assert all(low - 1e-9 <= value <= high + 1e-9 for value, _ in found)
    assert len(found) <= 9


def test_an_axis_holds_its_values_with_a_margin() -> None:
    assert span([2.0, 4.0], 0.25) == (1.5, 4.5)
    assert span([3.0, 3.0]) == (2.5, 3.5)
    assert span([math.nan, 1.0, math.inf, 2.0], 0.25) == (0.75, 2.25)
    assert all(map(math.isfinite, span([math.nan])))


@pytest.mark.parametrize("values", [[-1e30, -1e30], [3e8, 3e8 + 1e-3], [0.0, 3e38], [-5e-324, 0.0]])
def test_values_of_any_size_have_an_axis_with_ticks(values: list[float]) -> None:
    low, high = span(values)
    assert low < high
    assert ticks(low, high)


def test_bars_are_as_long_as_their_values() -> None:
    chart = Chart(100, (0, 100), (2, -1), "accuracy, %", rows=[(0, "a & b"), (1, "c")])
    for row, value in enumerate((50.0, 25.0)):
        chart.bar(row, value, 0.8, series(row))
    chart.bar(1, math.nan, 0.8, series(2))
    first, second = parts(chart, "rect")
    assert float(first.attrib["width"]) == pytest.approx(
        2 * float(second.attrib["width"]), abs=0.02
    )
    assert float(first.attrib["y"]) < float(second.attrib["y"]), "rows go down"
    assert float(first.attrib["x"]) == pytest.approx(chart.left, abs=0.01)
    assert first.attrib["style"] == "fill: var(--series-0)"
    texts = [t.text for t in parts(chart, "text")]
    assert {"a & b", "c", "50.0", "25.0", "accuracy, %"} <= set(texts)


def test_a_line_has_a_gap_where_a_figure_is_not_finite() -> None:
    chart = Chart(100, (0, 4), (0, 1), "x", "y")
    axes = len(parts(chart, "line"))
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, math.nan), (3.0, 0.5), (4.0, 0.0)]
    chart.line(points, series(0))
    chart.dots(points, series(0), 2)
    chart.text((math.inf, 0.0), "nowhere")
    drawn = parts(chart, "line")[axes:]
    assert len(drawn) == 2
    assert len(parts(chart, "circle")) == 4
    assert float(drawn[1].attrib["x2"]) == pytest.approx(WIDTH - 9)
    assert "nowhere" not in chart.svg()


def test_a_legend_has_a_key_for_each_series() -> None:
    chart = Chart(100, (0, 1), (0, 1), "x")
    chart.legend([Key("<i>", series(0), "line"), Key("b", series(1), "bar")])
    texts = [(t.text, float(t.attrib["x"])) for t in parts(chart, "text")]
    (first,) = (x for text, x in texts if text == "<i>")
    (second,) = (x for text, x in texts if text == "b")
    assert first < second


def test_a_comparison_is_planned_and_refused_without_torch() -> None:
    code = """
import sys
from pathlib import Path
from kdst_batch.entrants import entrants
from kdst_batch.plan import of_comparison
from kdst_core.options import Given
import kdst_adapt.compare
given = {"--severity": [Given(s, "--severity", Path()) for s in "45"]}
assert len(of_comparison(entrants(["norm", "source"]), given, [0], Path("runs"))) == 4
assert not {"torch", "numba", "matplotlib"} & sys.modules.keys(), sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
