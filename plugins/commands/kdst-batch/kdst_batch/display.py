"""The live table of a sweep: a table on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kdst_batch.state import Counts, Progress
from kdst_core.progress import PLAIN_INTERVAL, Mode

SHOWN = 8
"""Running cases that are named in the live table."""


@contextmanager
def display(progress: Progress, mode: Mode) -> Iterator[Callable[[], None]]:
    """Yield a function to be called after each end of a case."""
    if mode == "quiet":
        yield lambda: None
    elif mode == "auto" and sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        with Live(
            console=console,
            get_renderable=lambda: live_table(progress),
            refresh_per_second=2,
            transient=True,
        ):
            yield lambda: None
    else:
        yield _lines(progress)


def live_table(progress: Progress) -> Any:
    """Return the state of now: numbers, and the cases that run."""
    from rich.console import Group
    from rich.table import Table

    numbers = Table("queued", "running", "done", "failed", "time left", box=None, pad_edge=False)
    counts = progress.counts()
    cells = (counts.queued, counts.running, counts.done, counts.failed)
    numbers.add_row(*map(str, cells), clock(counts.left))
    running = Table("running", "for", box=None, pad_edge=False)
    for label, seconds in sorted(progress.state.running().items())[:SHOWN]:
        running.add_row(label, clock(seconds))
    return Group(numbers, "", running)


def _lines(progress: Progress) -> Callable[[], None]:
    """Return a function that prints a line every few seconds and at the end."""
    printed = time.monotonic()

    def told() -> None:
        nonlocal printed
        now = time.monotonic()
        if progress.open_cases and now - printed < PLAIN_INTERVAL:
            return
        counts, printed = progress.counts(), now
        print(line(counts), file=sys.stderr, flush=True)

    return told


def line(counts: Counts) -> str:
    """Return the numbers as one line."""
    left = f", {clock(counts.left)} left" if counts.left and counts.queued + counts.running else ""
    return (
        f"cases: {counts.queued} queued, {counts.running} running, {counts.done} done,"
        f" {counts.failed} failed{left}"
    )


def clock(seconds: float | None) -> str:
    """Return seconds as people read them: 42 s, 3:10, 2:05:00; a dash when they are not known."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
