"""Charts: laid out once, to the picture that `savefig` draws when it lays them out itself."""

from typing import Any

import pytest

from kdst_core.reports import charts

pytest.importorskip("matplotlib")


def drawn() -> str:
    """Return a chart with all that a layout places: a legend outside, labels, bars, an image, an axis."""
    with charts.figure(4.8, 3.6) as (fig, axes):
        axes.plot([1, 2, 3], [10, 1000, 20], label="a line", marker="o", color=charts.SERIES[1])
        axes.bar([1, 2], [300, 200], label="bars")
        axes.imshow([[0, 1, 2], [3, 4, 5]], extent=(0, 1, 0, 400), aspect="auto")
        axes.set_xticks(
            [1, 2, 3], ["a long name", "another long name", "x"], rotation=30, ha="right"
        )
        axes.set_ylabel("accuracy, %")
        axes.twinx().set_ylabel("seconds")
        axes.text(2, 500, "bold", fontweight="bold")
        fig.legend(loc="outside upper left", ncols=2)
        return charts.svg(fig, "chart")


def test_a_chart_is_laid_out_as_savefig_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = drawn()
    monkeypatch.setattr(charts, "_lay_out", lambda fig: fig.dpi)
    assert ours == drawn()


def test_a_chart_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    times: list[Any] = []
    draw = Axes.draw

    def counted(axes: Any, renderer: Any) -> None:
        times.append(axes)
        draw(axes, renderer)

    monkeypatch.setattr(Axes, "draw", counted)
    drawn()
    assert len(times) == len(set(times)) == 2


def test_a_chart_without_a_layout_is_drawn() -> None:
    with charts.figure() as (fig, axes):
        fig.set_layout_engine(None)
        axes.plot([1, 2], [1, 2])
        assert charts.svg(fig, "plain").startswith("<svg")
