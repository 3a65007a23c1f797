"""Inversions carried out and kept on disk as they come: a line a row and step, safe against a kill."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attrs import define, field, frozen

from kdst_core.contracts import Embedder, Inversion, InvertRequest, Training
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run
from kdst_invert.distribute import Workers
from kdst_invert.embedders.wrapped import Unasked
from kdst_invert.lines import TOOK, check, line_of, lines_of

if TYPE_CHECKING:
    from torch import Tensor

SENT = 32
"""Texts that a worker is given at a time, so few that none waits long for the last."""


@define
class AttackState:
    """How far one attack is; what the run's checkpoint holds of it.

    bytes: of its file up to the last whole block. calls: embedder calls. steps: of the longest block.
    """

    rows: int = 0
    bytes: int = 0
    calls: int = 0
    steps: int = 0
    seconds: float = 0.0
    longest: int | None = None
    notes: list[str] = field(factory=list)
    complete: bool = False
    tokeniser: str | None = None

    def add(
        self,
        step: int,
        embedder_calls: int,
        longest: int | None,
        notes: Sequence[str],
        tokeniser: str | None = None,
    ) -> None:
        """Add what a block took, as its last inversion says."""
        self.steps = max(self.steps, step)
        self.calls += embedder_calls
        self.longest, self.tokeniser = longest, tokeniser
        self.notes = list(dict.fromkeys([*self.notes, *notes]))


@frozen
class Attacked:
    """A finished attack: its file and its figures."""

    file: Path
    rows: int
    state: AttackState

    @property
    def calls_per_text(self) -> float:
        """Embedder calls a text."""
        return self.state.calls / self.rows

    @property
    def texts_per_second(self) -> float:
        """Texts inverted a second."""
        return self.rows / max(self.state.seconds, 1e-9)


class Attacker:
    """A method that inverts vectors, and the run that keeps what it finds."""

    def __init__(
        self,
        method: Method,
        embed: Embedder,
        run: Run,
        block: int,
        workers: Workers | None = None,
    ) -> None:
        self.method, self.embed, self.run, self.block = method, embed, run, block
        self.workers = workers
        restored = run.restore() or {}
        self.states = {name: AttackState(**state) for name, state in restored.items()}

    def invert(
        self,
        name: str,
        vectors: "Tensor",
        options: Any,
        label: str,
        training: Training | None = None,
        light: bool = False,
        view: "Callable[[Tensor], Tensor] | None" = None,
    ) -> Attacked:
        """Invert vectors (N, D) into `artifacts/<name>.jsonl`, from where an earlier session was.

        Every line is one row after one step that worked on it: row, step, text, cosine. light: so
        little work that it is done here, unless workers were asked for. view: see `InvertRequest`.
        """
        file = self.run.artifacts / f"{name}.jsonl"
        state = self.states.setdefault(name, AttackState())
        if state.complete:
            return Attacked(file, len(vectors), state)
        here = training is not None or view is not None
        if self.workers is not None and not here and (self.workers.asked or not light):
            self._elsewhere(self.workers, name, vectors, options, label)
            return Attacked(file, len(vectors), state)
        found = iter(self._inversions(vectors, options, training, state.rows, view))
        first = self._next(found)
        if not file.exists():
            file.touch()
        self._save()
        with file.open("r+b") as opened, self.run.progress(len(vectors), label) as advance:
            opened.truncate(state.bytes)
            opened.seek(state.bytes)
            if state.rows:
                advance(state.rows)
            self._write(opened, state, first, found, advance)
        state.complete = True
        self._save()
        return Attacked(file, len(vectors), state)

    def without_embedder(self) -> "Attacker":
        """The same attacker, with an embedder that refuses whoever asks it, in this process."""
        alone = copy(self)
        alone.embed, alone.workers = Unasked(self.embed), None
        return alone

    def _elsewhere(
        self, workers: Workers, name: str, vectors: "Tensor", options: Any, label: str
    ) -> None:
        """Let workers invert the rows that are left, then append their lines in order."""
        file, state = self.run.artifacts / f"{name}.jsonl", self.states[name]
        left = range(state.rows, len(vectors))
        size = min(self.block, SENT)
        blocks = [left[s : s + size] for s in range(0, len(left), size)]
        parts, began = self.run.dir / f"{name}.parts", time.perf_counter()
        self._save()
        file.touch()
        with file.open("r+b") as opened, self.run.progress(len(vectors), label) as advance:
            opened.truncate(state.bytes)
            opened.seek(state.bytes)
            for record in workers.invert(parts, vectors, options, blocks, advance):
                if "block" in record:
                    state.add(**record["block"])
                else:
                    opened.write(line_of(record))
        state.seconds += time.perf_counter() - began
        state.complete = True
        self._save()
        shutil.rmtree(parts)

    def _inversions(
        self,
        vectors: "Tensor",
        options: Any,
        training: Training | None,
        done: int,
        view: "Callable[[Tensor], Tensor] | None",
    ) -> Iterator[Inversion]:
        """What the method returns for the rows that are left."""
        import torch

        starts = range(done, len(vectors), self.block)
        request = InvertRequest(
            vectors,
            self.embed,
            torch.Generator().manual_seed(self.run.seed),
            blocks=(range(s, min(s + self.block, len(vectors))) for s in starts),
            training=training,
            view=view,
        )
        inversions: Iterator[Inversion] = self.method.call(request, options, self.run)
        return inversions

    def _next(self, found: Iterator[Inversion]) -> Inversion | None:
        """The next inversion; what the method raises becomes one line."""
        with self.method.working():
            return next(found, None)

    def _write(
        self,
        opened: IO[bytes],
        state: AttackState,
        first: Inversion | None,
        found: Iterator[Inversion],
        advance: Any,
    ) -> None:
        """Write inversions as they come; a checkpoint after every block."""
        began, shown, inversion = time.perf_counter(), 0, first
        while inversion is not None:
            rows = inversion.rows
            assert rows is not None
            check(inversion, rows)
            opened.write(lines_of(inversion, rows))
            opened.flush()
            stopped = len(rows) if inversion.last else _stopped(inversion)
            if stopped > shown:
                advance(stopped - shown)
            shown = stopped
            if inversion.last:
                now = time.perf_counter()
                state.seconds, began, shown = state.seconds + now - began, now, 0
                state.rows, state.bytes = rows.stop, opened.tell()
                state.add(**{name: getattr(inversion, name) for name in TOOK})
                self._save()
            inversion = self._next(found)

    def _save(self) -> None:
        """Keep how far every attack is."""
        names = [a.name for a in AttackState.__attrs_attrs__]
        self.run.checkpoint(
            {key: {n: getattr(state, n) for n in names} for key, state in self.states.items()}
        )


def _stopped(inversion: Inversion) -> int:
    """Rows of a block that were not worked on any more."""
    return 0 if inversion.active is None else int((~inversion.active).sum())
