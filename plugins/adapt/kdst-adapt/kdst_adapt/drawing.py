"""Charts of a run's report as SVG in the colours of the page: bars, lines and points under a legend.

A comparison has a report for each of its runs. Matplotlib, which draws all other charts, needs 30 times
as long for these few lines.
"""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from attrs import define, field, frozen

Point = tuple[float, float]

INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--grid)"
WIDTH, SIZE, SMALL = 345.6, 10.0, 9.0
"""Width of a chart and sizes of its text, in points."""
LETTER = 0.56
"""Width of a letter in sizes of its text."""
TOP, BOTTOM, RIGHT = 27.0, 34.0, 9.0
"""Margins in points: the legend is in the first, the label of the axis in the second."""
STEPS = (1, 2, 2.5, 5, 10)
FINEST = 1e-6
"""Part of its values that an axis reaches beyond them at least, so that they have ticks."""
LARGE = 1e6
"""From this value on numbers of an axis have a power of ten."""


def series(number: int) -> str:
    """Return the colour of a series; the page says what it looks like."""
    return f"var(--series-{number})"


def span(values: Sequence[float], margin: float = 0.05) -> tuple[float, float]:
    """Return the ends of an axis for values, with a margin in parts of their range."""
    seen = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(seen), max(seen)
    space = margin * (high - low) or 0.5
    space = max(space, FINEST * max(abs(low), abs(high)))
    return low - space, high + space


def ticks(low: float, high: float, most: int = 8, *, whole: bool = False) -> list[float]:
    """Return round values between two, at most `most` + 1, with steps of 1, 2, 2.5 or 5 times 10^k."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    sizes = [power * s for s in STEPS if not whole or (power * s).is_integer()] or [1.0]
    step = next((s for s in sizes if s >= rough * (1 - 1e-9)), sizes[-1])
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def named(values: Sequence[float]) -> list[tuple[float, str]]:
    """Return values with their texts, all with as many decimals as one needs; large ones in short."""
    if max(map(abs, values), default=0.0) >= LARGE:
        texts = [f"{v:.4g}" for v in values]
    else:
        digits = max((len(f"{v:.9f}".rstrip("0").partition(".")[2]) for v in values), default=0)
        texts = [f"{v:.{digits}f}" for v in values]
    return [(v, t.replace("-", "\N{MINUS SIGN}")) for v, t in zip(values, texts, strict=True)]


@frozen
class Key:
    """An entry of a legend. kind: `bar`, `line`, `dashed` or `point`."""

    label: str
    colour: str
    kind: str


@define
class Chart:
    """A chart that is drawn part by part; what is not finite is left out.

    height: in points. x, y: values at the left and right, lower and upper end of the axes. rows: names
    of places along y in the place of numbers. whole: ticks of x at whole numbers only.
    """

    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    xlabel: str
    ylabel: str = ""
    rows: Sequence[tuple[float, str]] = ()
    whole: bool = False
    parts: list[str] = field(factory=list, init=False)
    left: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Draw the axes."""
        marked = self.rows or named(ticks(*self.y))
        longest = max((len(name) for _, name in marked), default=0)
        self.left = longest * SIZE * LETTER + (28 if self.ylabel else 10)
        for value, name in named(ticks(*self.x, whole=self.whole)):
            self._tick(self.at((value, self.y[0])), name)
        for value, name in marked:
            x, y = self.at((self.x[0], value))
            if not self.rows:
                self._stroke((x - 3.5, y), (x, y), MUTED)
                self._stroke((x, y), (WIDTH - RIGHT, y), GRID)
            self._text((x - 7, y + 3.5), name, MUTED, "end")
        corner, right = (self.left, self.height - BOTTOM), (WIDTH - RIGHT, self.height - BOTTOM)
        self._stroke((self.left, TOP), corner, GRID)
        self._stroke(corner, right, GRID)
        middle = (self.left + right[0]) / 2
        self._text((middle, self.height - 6), self.xlabel, MUTED, "middle")
        if self.ylabel:
            y = (TOP + corner[1]) / 2
            turned = f' transform="rotate(-90 11 {y:.2f})"'
            self._text((11, y), self.ylabel, MUTED, "middle", more=turned)

    def _tick(self, place: Point, name: str) -> None:
        """Draw a tick of x with its line over the chart."""
        x, y = place
        self._stroke((x, TOP), (x, y), GRID)
        self._stroke((x, y), (x, y + 3.5), MUTED)
        self._text((x, y + 14.5), name, MUTED, "middle")

    def at(self, point: Point) -> Point:
        """Return where a point of the axes is, in points from the upper left."""
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        up = (point[1] - self.y[0]) / (self.y[1] - self.y[0])
        right, bottom = WIDTH - RIGHT, self.height - BOTTOM
        return self.left + across * (right - self.left), bottom - up * (bottom - TOP)

    def bar(self, y: float, value: float, thickness: float, colour: str) -> None:
        """Draw a bar from 0 to a value, with the number behind it."""
        if math.isfinite(value):
            (x0, y0), (x1, y1) = (
                self.at((0, y - thickness / 2)),
                self.at((value, y + thickness / 2)),
            )
            self._box((x0, min(y0, y1)), x1 - x0, abs(y1 - y0), colour)
            self.text((value, y), f"{value:.1f}", (4, 3.2))

    def line(
        self, points: Sequence[Point], colour: str, width: float = 1.5, dash: str = ""
    ) -> None:
        """Draw a line through points, with a gap where one is not finite."""
        for a, b in pairwise(points):
            if all(map(math.isfinite, (*a, *b))):
                self._stroke(self.at(a), self.at(b), colour, width, dash)

    def dots(self, points: Sequence[Point], colour: str, radius: float) -> None:
        """Draw a dot at each point."""
        self.parts += [
            _dot(self.at(p), colour, radius) for p in points if all(map(math.isfinite, p))
        ]

    def text(self, point: Point, text: str, off: Point = (0, 0), anchor: str = "start") -> None:
        """Write a text beside a point; off: from it to the right and down, in points."""
        if all(map(math.isfinite, point)):
            x, y = self.at(point)
            self._text((x + off[0], y + off[1]), text, INK, anchor, SMALL)

    def legend(self, keys: Sequence[Key]) -> None:
        """Write a line of keys above the chart."""
        x, y = 9.0, 13.0
        for key in keys:
            if key.kind == "bar":
                self._box((x, y - 3.5), 10, 7, key.colour)
            if key.kind in ("line", "dashed"):
                self._stroke((x, y), (x + 10, y), key.colour, 1.5, "4 3" * (key.kind == "dashed"))
            if key.kind in ("line", "point"):
                self.parts.append(_dot((x + 5, y), key.colour, 2.0 if key.kind == "line" else 2.6))
            self._text((x + 18, y + 3.5), key.label, INK)
            x += 38 + len(key.label) * SIZE * LETTER

    def svg(self) -> str:
        """Return the chart as an SVG element as wide as what holds it."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {self.height:g}"'
        return f'{head} style="font-family: var(--font)">\n' + "\n".join(self.parts) + "\n</svg>"

    def _stroke(self, a: Point, b: Point, colour: str, width: float = 0.8, dash: str = "") -> None:
        """Draw a straight line between two places."""
        ends = f'x1="{a[0]:.2f}" y1="{a[1]:.2f}" x2="{b[0]:.2f}" y2="{b[1]:.2f}"'
        style = f"stroke: {colour}; stroke-width: {width:g}; stroke-linecap: round"
        style += f"; stroke-dasharray: {dash}; stroke-linecap: butt" if dash else ""
        self.parts.append(f'<line {ends} style="{style}"/>')

    def _box(self, corner: Point, width: float, height: float, colour: str) -> None:
        """Draw a filled box; corner: its upper left."""
        place = f'x="{corner[0]:.2f}" y="{corner[1]:.2f}"'
        size = f'width="{width:.2f}" height="{height:.2f}"'
        self.parts.append(f'<rect {place} {size} style="fill: {colour}"/>')

    def _text(
        self,
        place: Point,
        text: str,
        colour: str,
        anchor: str = "start",
        size: float = SIZE,
        more: str = "",
    ) -> None:
        """Write a text; place: of the end of its base line that `anchor` names."""
        where = f'x="{place[0]:.2f}" y="{place[1]:.2f}"{more}'
        style = f"font-size: {size:g}px; text-anchor: {anchor}; fill: {colour}"
        self.parts.append(f'<text {where} style="{style}">{escape(text)}</text>')


def _dot(place: Point, colour: str, radius: float) -> str:
    """Return a dot."""
    where = f'cx="{place[0]:.2f}" cy="{place[1]:.2f}" r="{radius:g}"'
    return f'<circle {where} style="fill: {colour}"/>'
