"""What the core and a bench owe each other.

A bench knows how a run of one capability is fed, carried out and measured. Its entry point in the
group `kdst.benches`, named after the capability, is an object with the attributes of `Bench`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from attrs import field, frozen

from kdst_core.codecs import Codec
from kdst_core.method import Method
from kdst_core.progress import Mode
from kdst_core.rundir import Run


@frozen
class Job:
    """One run to prepare: a method, its options, the bench's options and live objects from Python.

    show: how progress of a long preparation is shown.
    """

    method: Method
    options: Any
    inputs: Any
    seed: int
    device: str
    objects: Mapping[str, Any] = field(factory=dict)
    show: Mode = "auto"


@frozen
class Outcome:
    """What a run measured.

    metrics: flat, name to number; None where a figure cannot be told. One that is not finite is kept as
    null, with a warning. artifacts: name to path relative to the run directory.
    input: the whole protocol, for the result. warnings: sentences for terminal, result and report.
    summary: lines for the terminal. extra: further keys of the result, such as what was checked.
    """

    metrics: Mapping[str, float | None]
    artifacts: Mapping[str, str]
    input: Mapping[str, Any]
    warnings: Sequence[str] = ()
    summary: Sequence[str] = ()
    extra: Mapping[str, Any] = field(factory=dict)


@frozen
class Stat:
    """One headline number of a report."""

    label: str
    value: str
    note: str = ""
    strong: bool = False


@frozen
class Figure:
    """A picture of a report: an inline SVG (made by `kdst_core.charts`), PNG bytes or an mp4 video.

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


@frozen
class Check:
    """One named check of the conformance kit; `run` raises AssertionError when it fails.

    follows: checks whose failure makes this one fail too; it is not tried after one of them.
    """

    name: str
    run: Callable[[], None]
    follows: Collection[str] = ()


class Prepared(Protocol):
    """A validated job: data and model are loaded, nothing is written yet."""

    device: str

    def execute(self, run: Run) -> Outcome:
        """Carry out the run, from `run.restore()` where it returns a state."""


@runtime_checkable
class Extends(Protocol):
    """What a bench may have besides: `--resume` with other options goes on from a finished run.

    The checkpoint of such a bench is kept when a run finishes.
    """

    def extends(self, result: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
        """Return whether a finished run can go on with changed options of the method, name to old
        and new value; KdstError that says why not, where a plain refusal would not."""


class Bench(Protocol):
    """The bench of one capability; one with `Extends` lets finished runs grow."""

    capability: str
    package: str
    inputs: type
    """Frozen attrs class of the bench's own options: data, protocol, measures."""
    live: frozenset[str]
    """Input options that also take a Python object from `kdst_core.run`."""
    codec: Codec

    def prepare(self, job: Job) -> Prepared:
        """Load and validate everything; raises KdstError for bad input and starts no run."""

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report from a result and the artifacts beside it."""

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Carry out a run of a few seconds and return a digest of what the method returned."""

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the capability's part of the conformance kit."""


@frozen
class Column:
    """A metric in the table of a comparison: shown times `scale`, with `digits` decimals.

    short: shown in the terminal too, where there is little room.
    """

    metric: str
    label: str
    scale: float = 1.0
    digits: int = 2
    better: Literal["higher", "lower"] = "higher"
    short: bool = True


@frozen
class Contender:
    """What a comparison has of one method: its results and their directories, one a seed."""

    label: str
    results: Sequence[Mapping[str, Any]]
    directories: Sequence[Path]


@runtime_checkable
class Refusing(Protocol):
    """What a bench may add, so that a comparison ends before its first run where a later one cannot begin."""

    def refuse(self, method: Method, inputs: Any) -> None:
        """Raise KdstError for inputs that a method cannot run on, before anything is loaded."""


class Comparable(Protocol):
    """What a bench adds to be compared by; a bench without it gets a table of its metrics."""

    def seeded(self, inputs: Any) -> bool:
        """Return whether the seed changes what a method is fed."""

    def columns(self, result: Mapping[str, Any]) -> Sequence[Column]:
        """Return the columns of the table; the first is the one that methods are ranked by."""

    def mismatch(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
        """Return how the protocols of two results differ, '' where they can be compared."""

    def paired(self, ours: Contender, theirs: Contender) -> tuple[float, float]:
        """Return the difference in the first column's metric, and its standard error."""

    def comparison(
        self, contenders: Sequence[Contender]
    ) -> tuple[Sequence[Stat], Sequence[Figure]]:
        """Return headline numbers and figures of the report, contenders in the order given."""
