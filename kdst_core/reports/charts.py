"""Charts for reports: matplotlib figures as inline SVG that follow the reader's theme."""

import importlib.util
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = ("#a3a3a2", "#5b8fd1", "#d1660b", "#2f8f5b", "#8a5bd1", "#c23b6b")
"""Colours of series; each is a theme variable in the page, `--series-0` onwards."""
INK, MUTED, GRID = "#1f1f1e", "#6b6b6a", "#dededd"
"""Colours of text, secondary text and grid; `--ink`, `--muted`, `--grid` in the page."""


def available() -> bool:
    """Return whether charts can be drawn: matplotlib comes with benches, not with the core."""
    return importlib.util.find_spec("matplotlib") is not None


@contextmanager
def figure(width: float = 4.8, height: float = 3.2) -> "Iterator[tuple[Figure, Any]]":
    """Yield (figure, axes) of a size in inches, in the style of the reports."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": f"{width}x{height}"}
    style |= {"font.family": "sans-serif", "font.size": 10, "grid.linewidth": 0.8}
    style |= {"text.color": INK, "axes.edgecolor": GRID, "grid.color": GRID}
    style |= dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), MUTED)
    style |= dict.fromkeys(("axes.grid", "axes.axisbelow"), True)
    style |= dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False)
    with matplotlib.rc_context(style):
        fig = Figure(figsize=(width, height), layout="constrained")
        yield fig, fig.add_subplot()


def svg(fig: "Figure", name: str) -> str:
    """Return a figure as inline SVG with theme variables for colours; `name` makes its ids unique."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        resolution = _lay_out(fig)
        fig.savefig(buffer, format="svg", dpi=resolution, transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for number, colour in enumerate(SERIES):
        text = text.replace(colour, f"var(--series-{number})")
    for variable, colour in (("ink", INK), ("muted", MUTED), ("grid", GRID)):
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--font)", text)
    prefix = re.sub(r"\W+", "-", name)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    head, rest = text.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest


def _lay_out(fig: "Figure") -> float:
    """Place the parts of a figure, for which `savefig` would draw all of it once more; return its dpi."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    dpi, engine = fig.dpi, fig.get_layout_engine()
    FigureCanvasSVG(fig)
    if engine is not None:
        fig.dpi = 72  # as `savefig` does: the points of an SVG
        engine.execute(fig)
        fig.set_layout_engine(None)
    return dpi
