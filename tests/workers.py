"""Functions and factories of plain Python that tests give to executors; they pickle by their names."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen


def square(number: int) -> int:
    """Return a square; what is printed must not reach stdout."""
    print("square", number)
    return number * number


def about_me(_job: object) -> tuple[int, str]:
    """Return the process and its threads."""
    return os.getpid(), os.environ.get("OMP_NUM_THREADS", "")


def fail(number: int) -> int:
    """Raise for odd numbers."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


@frozen
class DieOnce:
    """Ends its process in the first call for a number that is marked, and only then."""

    folder: str
    number: int

    def __call__(self, number: int) -> int:
        """Return the number."""
        mark = Path(self.folder) / "died"
        if number == self.number and not mark.exists():
            mark.touch()
            os._exit(9)
        return number


def die(_job: object) -> None:
    """End the process."""
    os._exit(9)


def end_by(sign: int) -> int:
    """End the process by a signal, unless it is 0."""
    if sign:
        os.kill(os.getpid(), sign)
    return sign


def leave(kind: type) -> object:
    """Raise what a type makes of 0, or return it."""
    made = kind(0)
    if isinstance(made, BaseException):
        raise made
    return made


def sleep(seconds: float) -> float:
    """Wait."""
    time.sleep(seconds)
    return seconds


@frozen
class Pipeline:
    """A factory of workers that sample, execute and filter: the shape of annotating a corpus.

    folder: where each worker that is made leaves a file. pace: seconds a shard takes. dies: a number
    of a record at which the process ends the first time.
    """

    folder: str
    pace: float = 0.0
    dies: int = -1

    def __call__(self) -> "Callable[[Iterable[Mapping[str, Any]]], list[dict[str, Any]]]":
        """Return the function of one worker."""
        made = Path(self.folder) / f"made-{os.getpid()}-{time.monotonic_ns()}"
        made.touch()
        return self.annotate

    def annotate(self, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Sample calls in a text, carry them out, keep the records that gain."""
        time.sleep(self.pace)
        return [found for record in records if (found := self._one(record)) is not None]

    def _one(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a record with its call, None where none pays."""
        number = int(record["id"])
        mark = Path(self.folder) / "died"
        if number == self.dies and not mark.exists():
            mark.touch()
            os._exit(9)
        sampled = [(number * 7919 + k * 104729) % 1000 for k in range(5)]
        executed = [s * s % 997 for s in sampled]
        gain = max(executed) / 997
        return {"id": number, "call": executed, "gain": gain} if gain > 0.5 else None


KEPT: Any = None
"""Something sealed, for workers that are copies."""


def look(kept: Any) -> str:
    """Return what a worker reads of something sealed, or the error that it gets."""
    from kdst_core.bench import sealed

    try:
        return str((kept or KEPT).read()) if kept is None else _made(sealed)
    except Exception as e:
        return type(e).__name__


def _made(sealed: Any) -> str:
    """Make what methods are judged by."""
    sealed.withhold("the labels")
    return "made"


KEPT: list[bytes] = []


def keep(size: int) -> int:
    """Keep so many megabytes, work for longer than loky waits to look, and say which process this is."""
    KEPT.append(b"x" * (size << 20))
    time.sleep(1.1)
    return os.getpid()
