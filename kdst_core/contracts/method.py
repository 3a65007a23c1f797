"""What a method says of itself, and the services that a run gives it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from attrs import field, frozen

Need = Literal["gradients", "source", "cuda", "text"]


@frozen(kw_only=True)
class Claim:
    """What a paper says of its method, and the runs that try it; options are as on the command line.

    source: section, table or figure. measure: a metric, or `a - b` for the difference of two of one run;
    with `*` all that fit, paired one by one. run: options of the method's own run. against: those of the
    run to do better than, with `method` where it is another; None to try the measure itself. least: the
    smallest effect that counts, above 0 for the better. quick, full: further options of every run, with
    `seeds`, how many. known_against: what speaks against it. known_to_fail: why it does not hold here.
    """

    name: str
    sentence: str
    source: str
    measure: str
    run: Mapping[str, Any] = field(factory=dict)
    against: Mapping[str, Any] | None = None
    better: Literal["higher", "lower"] = "higher"
    least: float = 0.0
    quick: Mapping[str, Any] = field(factory=dict)
    full: Mapping[str, Any] = field(factory=dict)
    known_against: str = ""
    known_to_fail: str = ""


@frozen(kw_only=True)
class Description:
    """What `describe` returns: enough to list a method, build its options and cite it.

    `options` is a frozen attrs class whose fields all have defaults. `needs` names what the method
    cannot do without: gradients of the model, source data, a CUDA device, a CLIP-like model's text
    tower. `random` says whether the method draws random numbers; one that draws none is run once for
    all seeds of a comparison. `expected_failures` names conformance checks that cannot hold for the
    method, each with the reason. `claims` are those of its paper.
    """

    summary: str
    options: type
    paper: str = ""
    url: str = ""
    citation: str = ""
    licence: str = ""
    needs: Collection[Need] = ()
    random: bool = True
    expected_failures: Mapping[str, str] = field(factory=dict)
    claims: Sequence[Claim] = ()


class RunServices(Protocol):
    """The `run` argument of every hook: where to write, how to log, what to resume from."""

    @property
    def dir(self) -> Path:
        """Directory that belongs to this run; nothing is written elsewhere."""

    @property
    def seed(self) -> int:
        """Seed of the run; requests hold generators made from it."""

    @property
    def device(self) -> str:
        """Device as torch names it: `cpu`, `cuda`, `cuda:1`, `mps`."""

    def progress(self, total: int, label: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show progress over `total` steps; call what it yields with the number of steps done."""

    def log(self, name: str, value: float, step: int) -> None:
        """Append one line to `events.jsonl`."""

    def checkpoint(self, state: Any) -> None:
        """Replace the run's checkpoint by `state`, atomically."""

    def restore(self) -> Any | None:
        """Return the state last given to `checkpoint`, or None in a fresh run."""


class Listener(Protocol):
    """What an observer returns for a run: it is told of every event, and of the end.

    A listener that raises is told no more, and the run goes on.
    """

    def logged(self, event: Mapping[str, Any]) -> None:
        """Take one line of `events.jsonl`: `name`, `step`, `value` (None where it is not finite)."""

    def finished(self, result: Mapping[str, Any]) -> None:
        """Take the content of `result.json`, once it is written."""

    def close(self) -> None:
        """Write what is left; the run has ended, with a result or without."""
