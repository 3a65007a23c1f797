"""What the core and a bench owe each other.

A bench knows how a run of one capability is fed, carried out and measured. Its entry point in the
group `kdst.benches`, named after the capability, is an object with the attributes of `Bench`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from kdst_core.plugins.method import Method
from kdst_core.progress import Mode
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import Codec
from kdst_core.runs.rundir import Run


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
