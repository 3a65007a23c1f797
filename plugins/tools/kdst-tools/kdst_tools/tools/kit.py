"""What authors make tools of: a function with the facts that a run needs to know about it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import field, frozen

from kdst_core.contracts import Document
from kdst_core.errors import KdstError

Example = tuple[str, str]
"""A plain text, and the same text with calls."""


class GaveUp(ValueError):
    """A tool gave no answer before its timeout, and what it did was ended."""


def _as_tuple(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Return examples as a tuple."""
    return tuple(examples)


@frozen
class FunctionTool:
    """A tool made of a function (input, document) -> answer, which raises ValueError for a bad input.

    name: as the model writes it. description: what an input is and what the answer. examples: few-shot
    pairs of a plain text and the same text with calls `[Name(input)]`. timeout: seconds.
    deterministic: same input and document, same answer. network: reaches beyond this machine.
    """

    name: str
    description: str
    answer: Callable[[str, Document], str]
    examples: Sequence[Example] = field(default=(), converter=_as_tuple)
    timeout: float = 5.0
    deterministic: bool = True
    network: bool = False

    def __call__(self, argument: str, document: Document) -> str:
        """Answer one call; raises ValueError for an argument that it cannot answer."""
        return self.answer(argument, document)


def refuse_argument(name: str, argument: str | None) -> None:
    """Raise KdstError where a tool that takes nothing was given something."""
    if argument:
        raise KdstError(f"the tool {name} takes no argument; write {name}, not {name}={argument}")


def needed_path(name: str, argument: str | None, what: str, *, directory: bool | None) -> Path:
    """Return the path that a tool was given; KdstError that says what it needs where there is none.

    directory: whether it must be one; None where a file will do as well.
    """
    if not argument:
        raise KdstError(f"the tool {name} needs {what}: --tools {name}=PATH")
    path = Path(argument).expanduser()
    if directory and not path.is_dir():
        raise KdstError(f"--tools {name}={argument}: no such directory; it needs {what}")
    if directory is None and not path.exists():
        raise KdstError(f"--tools {name}={argument}: there is none; it needs {what}")
    if directory is False and not path.is_file():
        raise KdstError(f"--tools {name}={argument}: no such file; it needs {what}")
    return path
