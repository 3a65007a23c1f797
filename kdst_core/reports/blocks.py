"""What a report is made of: headline numbers, pictures, tables and marked texts."""

from collections.abc import Collection, Sequence

from attrs import frozen


@frozen
class Stat:
    """One headline number of a report."""

    label: str
    value: str
    note: str = ""
    strong: bool = False


@frozen
class Figure:
    """A picture of a report: an inline SVG (made by `kdst_core.reports.charts`), PNG bytes or an mp4 video.

    pixelated: enlarge without smoothing. wide: give it the whole width of the page.
    """

    title: str
    caption: str
    svg: str = ""
    png: bytes = b""
    pixelated: bool = False
    mp4: bytes = b""
    wide: bool = False


@frozen
class Table:
    """A table of a report; cells are text. strong: (row, column) of the cells that stand out."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: Collection[tuple[int, int]] = ()


@frozen
class Span:
    """A piece of marked text.

    series: number of the colour behind it, 0 to 5 as in charts; None for plain text. weight: how
    strong the colour is, from 0 to 1. title: shown when the pointer rests on it.
    """

    text: str
    series: int | None = None
    weight: float = 1.0
    title: str = ""


@frozen
class Marked:
    """Texts with marked pieces, one paragraph each. key: what the colours mean, one span each."""

    title: str
    paragraphs: Sequence[Sequence[Span]]
    caption: str = ""
    key: Sequence[Span] = ()


@frozen
class ReportContent:
    """What a bench adds to a report: headline numbers, then figures, tables and texts in order."""

    subtitle: str
    stats: Sequence[Stat]
    blocks: Sequence[Figure | Table | Marked]
