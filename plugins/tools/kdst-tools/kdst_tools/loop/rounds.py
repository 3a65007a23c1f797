"""One round: sample, execute and filter calls shard by shard, then finetune; every stage resumes.

A round's directory holds `sampled.jsonl`, `executed.jsonl` and `filtered.jsonl`, then `losses.jsonl`
and `model/`.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, mutable

from kdst_core.contracts import (
    Document,
    Finetuning,
    ToolAnnotation,
    ToolCall,
    ToolLearner,
    TrainingStep,
)
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run
from kdst_tools.calls.records import CallStream, write_lines
from kdst_tools.corpora.documents import Corpus
from kdst_tools.loop.pace import Pace
from kdst_tools.loop.workers import Answers, Workers, carry_out
from kdst_tools.models.pretrained import Pair, load, save
from kdst_tools.options import STAGES

FILES = {"sample": "sampled", "execute": "executed", "filter": "filtered"}

LOSSES = "losses.jsonl"
"""The losses of the last session's steps, beside the model."""

Stage = Callable[[Sequence[Document], Sequence[ToolCall]], list[ToolCall]]


@mutable
class Round:
    """One round of a run. number: from 1. state: of the checkpoint that the run continues from.

    dropped: damaged lines of the streams, by name. workers: None for this process. spent: seconds of
    each stage so far, which every checkpoint keeps.
    """

    number: int
    directory: Path
    corpus: Corpus
    shard: int
    learner: ToolLearner
    method: Method
    run: Run
    state: Mapping[str, Any] = field(factory=dict)
    dropped: list[str] = field(factory=list)
    workers: Workers | None = None
    spent: Callable[[], Mapping[str, float]] = dict

    def stream(self, stage: str) -> CallStream:
        """The records of a stage."""
        return CallStream(self.directory / f"{FILES[stage]}.jsonl")

    def annotate(self, last: str) -> None:
        """Carry out the stages up to `last`, those that are done already not again."""
        reached = last if last in FILES else "filter"
        answers = self.workers.annotate(self, reached) if self.workers else None
        for stage, before in (("sample", None), ("execute", "sample"), ("filter", "execute")):
            self._stage(stage, before, answers)
            if stage == reached:
                break
        if answers is not None:
            answers.remove()

    def _stage(self, stage: str, before: str | None, answers: Answers | None) -> None:
        """Carry out one stage from the records of the one before."""
        stream = self.stream(stage)
        self.dropped += stream.dropped
        source = iter(self.stream(before)) if before else None
        work = self._work(stage) if answers is None else answers.stage(stage)
        own, logged = iter(stream), self._logged(stage)
        label = f"round {self.number}: {stage}"
        with self.run.progress(self.corpus.count, label) as advance:
            done = 0
            for shard in self.corpus.shards(self.shard):
                given = [c for _, calls in _take(source, len(shard)) for c in calls]
                if all(document.id in stream.done for document in shard):
                    calls = [c for _, found in _take(own, len(shard)) for c in found]
                    if done >= logged:
                        self._count(stage, calls, done)
                else:
                    calls = work(shard, given)
                    stream.append([document.id for document in shard], calls)
                    self._count(stage, calls, done)
                    self._keep(stage, done + len(shard))
                done += len(shard)
                advance(len(shard))

    def _logged(self, stage: str) -> int:
        """Documents of a stage that were logged before the checkpoint; a kill between the records of a
        shard and its checkpoint leaves the records, and drops what was logged of them."""
        place = (self.number, STAGES.index(stage))
        reached = (self.state.get("round", 0), STAGES.index(self.state.get("stage", stage)))
        if reached == place:
            return int(self.state["documents"])
        return self.corpus.count if reached > place else 0

    def _keep(self, stage: str, documents: int, **training: Any) -> None:
        """Write a checkpoint: so many documents of a stage are done."""
        state = {"round": self.number, "stage": stage, "documents": documents, **training}
        self.run.checkpoint({**state, "seconds": dict(self.spent())})

    def reached(self, stage: str) -> None:
        """Write the checkpoint of a stage that is done."""
        self._keep(stage, self.corpus.count)

    def _work(self, stage: str) -> Stage:
        """The function of a shard that carries out a stage."""
        return lambda shard, calls: carry_out(self.method, self.learner, stage, shard, calls)

    def _count(self, stage: str, calls: Sequence[ToolCall], documents: int) -> None:
        """Log what came of a shard."""
        numbers = {
            "sample": {"sampled": len(calls)},
            "execute": {"failed": sum(call.result is None for call in calls)},
            "filter": {"kept": sum(call.kept for call in calls)},
        }
        for name, value in numbers[stage].items():
            self.run.log(f"{name}.{self.number}", value, documents)

    def annotations(self) -> Iterator[ToolAnnotation]:
        """Yield the annotated documents, in the order of the corpus."""
        source = iter(self.stream("filter"))
        for shard in self.corpus.shards(self.shard):
            calls = [c for _, found in _take(source, len(shard)) for c in found]
            with self.method.working():
                annotated = list(self.learner.annotate(shard, calls))
            yield from annotated

    def finetune(self, tokenizer: Any, directory: Path, device: str, learn: str = "all") -> Pair:
        """Train on the annotated documents and save the model; load it where that was done.

        learn: `all` of them, or those `called` in.
        """
        if directory.is_dir():
            self._tell_again()
            return load(str(directory), device, as_saved=True)
        annotations, work = taught(list(self.annotations()), learn), self.method.working
        with work():
            training = self.learner.finetune(annotations)
        if self.state.get("round") == self.number and "training" in self.state:
            with work():
                training.load_state_dict(self.state["training"])
        with work():
            steps = iter(training)
        pace, done, losses = Pace(training.total), 0, list[dict[str, float]]()
        with self.run.progress(training.total, f"round {self.number}: finetune") as advance:
            while (found := self._step(steps)) is not None:
                advance(found.step - done)
                done = found.step
                self.run.log(f"loss.{self.number}", found.loss, found.step)
                losses.append({"step": found.step, "loss": found.loss})
                self._pause(training, pace, found.step)
        write_lines(self.directory / LOSSES, losses)
        save(training.model, tokenizer, directory)
        self._keep("finetune", self.corpus.count)
        return training.model, tokenizer

    def _tell_again(self) -> None:
        """Log the steps of a training whose model was saved, where a kill came before the checkpoint."""
        behind = self.state.get("round") == self.number and "training" in self.state
        before = (self.state.get("round", 0), STAGES.index(self.state.get("stage", STAGES[0])))
        path = self.directory / LOSSES
        if (before >= (self.number, STAGES.index("finetune")) and not behind) or not path.is_file():
            return
        known = int(self.state["step"]) if behind else 0
        with path.open(encoding="utf-8") as file:
            for row in map(json.loads, file):
                if row["step"] > known:
                    self.run.log(f"loss.{self.number}", row["loss"], int(row["step"]))
        self.reached("finetune")

    def _step(self, steps: Iterator[TrainingStep]) -> TrainingStep | None:
        """The next step of a training, None at its end."""
        with self.method.working():
            return next(steps, None)

    def _pause(self, training: Finetuning, pace: Pace, step: int) -> None:
        """Write a checkpoint of the training where one is due."""
        state = training.state_dict()
        if pace.due(step, state):
            started = time.monotonic()
            self._keep("finetune", self.corpus.count, training=state, step=step)
            pace.wrote(time.monotonic() - started)


def _take(
    source: Iterator[tuple[str, list[ToolCall]]] | None, count: int
) -> list[tuple[str, list[ToolCall]]]:
    """The next `count` documents of a stream."""
    return [next(source) for _ in range(count)] if source is not None else []


def taught(annotations: list[ToolAnnotation], learn: str) -> list[ToolAnnotation]:
    """Return the texts that finetuning sees: all, or those with a call where there are any."""
    called = [a for a in annotations if any(call.kept for call in a.calls)]
    return called if learn == "called" and called else annotations
