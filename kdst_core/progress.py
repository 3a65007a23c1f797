"""Progress of long work: a live bar on a terminal, plain lines elsewhere, nothing when told so."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Mode = Literal["auto", "plain", "quiet"]
Advance = Callable[[int], None]

PLAIN_INTERVAL = 5.0
"""Seconds between two plain lines."""


@contextmanager
def progress(total: int, label: str, mode: Mode = "auto") -> Iterator[Advance]:
    """Yield a function that is told how many of `total` steps were done."""
    if mode == "quiet":
        yield lambda _steps: None
    elif mode == "auto" and sys.stderr.isatty():
        with _bar(total, label) as advance:
            yield advance
    else:
        yield _lines(total, label)


@contextmanager
def _bar(total: int, label: str) -> Iterator[Advance]:
    """A rich progress bar with steps, rate and time left, removed when the work ends."""
    from rich import progress as shown
    from rich.console import Console

    columns = (
        shown.TextColumn("{task.description}"),
        shown.BarColumn(),
        shown.MofNCompleteColumn(),
        shown.TextColumn("{task.fields[rate]}"),
        shown.TimeRemainingColumn(),
    )
    started = time.perf_counter()
    with shown.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance(steps: int) -> None:
            bar.advance(task, steps)
            done = bar.tasks[0].completed
            rate = done / max(time.perf_counter() - started, 1e-9)
            bar.update(task, rate=f"{rate:.3g}/s")

        yield advance


def _lines(total: int, label: str) -> Advance:
    """Return an advance function that prints a line every few seconds and at the end."""
    started = printed = time.perf_counter()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, printed
        done += steps
        now = time.perf_counter()
        if done < total and now - printed < PLAIN_INTERVAL:
            return
        printed = now
        rate = done / max(now - started, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if 0 < done < total else ""
        print(f"{label}: {done}/{total} ({rate:.3g}/s{left})", file=sys.stderr, flush=True)

    return advance
