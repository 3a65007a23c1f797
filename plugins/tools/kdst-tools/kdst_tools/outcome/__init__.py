"""What comes of a run: metrics, files, warnings, lines of the terminal, and what decided them."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field

from kdst_core.bench.contract import Outcome
from kdst_core.runs.rundir import Run
from kdst_tools.calls.records import CallStream
from kdst_tools.corpora.heuristics import counted
from kdst_tools.corpora.sources import corpus
from kdst_tools.models.pretrained import copy
from kdst_tools.options import STAGES
from kdst_tools.outcome import artifacts, lessons, reasons

if TYPE_CHECKING:
    from kdst_tools.load import Target
    from kdst_tools.loop.rounds import Round


@define
class RunState:
    """What a run has so far."""

    metrics: dict[str, float] = field(factory=dict)
    files: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    summary: list[str] = field(factory=list)
    seconds: dict[str, float] = field(factory=dict)
    rounds: dict[str, artifacts.Counts] = field(factory=dict)
    reasons: dict[str, dict[str, int]] = field(factory=dict)
    under_way: tuple[str, float] | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a block to a stage."""
        self.under_way = stage, time.perf_counter()
        yield
        self.seconds = self.spent()
        self.under_way = None

    def spent(self) -> dict[str, float]:
        """Return the seconds of each stage up to now, those of earlier sessions included."""
        if self.under_way is None:
            return dict(self.seconds)
        stage, started = self.under_way
        now = time.perf_counter() - started
        return {**self.seconds, stage: self.seconds.get(stage, 0.0) + now}

    @property
    def all_reasons(self) -> dict[str, int]:
        """How many calls of all rounds have each reason for not being kept."""
        found: Counter[str] = Counter()
        for own in self.reasons.values():
            found.update(own)
        return dict(found)

    def tell(self, sentences: Sequence[str]) -> None:
        """Add warnings, each once."""
        self.warnings += [said for said in sentences if said not in self.warnings]

    def outcome(self, target: "Target") -> Outcome:
        """Return everything that the run has, with what decided it."""
        return Outcome(
            metrics=self.metrics,
            artifacts={name: f"artifacts/{name}" for name in self.files},
            input=protocol(target),
            warnings=self.warnings,
            summary=self.summary,
        )

    def count(self, last: "Round", names: Sequence[str], reached: str) -> None:
        """Count the calls of a round, and why they were not kept."""
        stream, number = last.stream(reached), str(last.number)
        self.rounds[number] = artifacts.count(_calls(stream), names)
        self.reasons[number] = dict(reasons.count(_calls(stream)))

    def write(self, target: "Target", run: Run, last: "Round") -> None:
        """Write records, counts and the training curve of the last round."""
        stage = target.options.stage
        reached = stage if stage in ("sample", "execute") else "filter"
        trains = STAGES.index(stage) >= STAGES.index("finetune")
        if target.options.choose == "likely":
            self._choice(target, last.number)
        self.files += artifacts.records(run, last.stream(reached))
        described = {tool.name: tool.description for tool in target.tools}
        self.files.append(artifacts.dump(run, "tools.json", described))
        if reached == "filter":
            self.files += artifacts.annotated(run, last.annotations())
        self.files.append(artifacts.dump(run, "counts.json", self.rounds))
        self.files.append(artifacts.dump(run, "reasons.json", self.reasons))
        if reached == "filter":
            self.warnings += lessons.nothing_kept(self.rounds, trains)
            self.metrics |= reasons.metrics(self.all_reasons)
        if trains:
            self._trained(run, last, target.options.learn)
        self.metrics |= artifacts.totals(self.rounds)
        self.metrics["documents"] = float(last.corpus.count)
        self.summary.append(_counts_line(self.metrics))
        self.summary += [line for line in (reasons.line(self.all_reasons),) if line]

    def _trained(self, run: Run, last: "Round", learn: str) -> None:
        """Write the losses of all rounds, and the last model."""
        training = list(artifacts.training(run))
        self.files.append(artifacts.dump(run, "training.json", training))
        self.warnings += lessons.few_steps(training, last.corpus.count, learn)
        copy(last.directory / "model", run.artifacts / "model")
        self.files.append("model")

    def _choice(self, target: "Target", number: int) -> None:
        """Say how many texts of a round are likely to need each tool."""
        texts = corpus(target.inputs, target.job.seed, number)
        total, found = counted(target.names, texts)
        self.metrics |= {f"likely.{name}": float(count) for name, count in found.items()}
        self.metrics["texts.given"] = float(total)
        self.summary.append(
            f"texts likely to need a tool, of {total}: "
            + ", ".join(f"{count} {name}" for name, count in found.items())
        )


def _calls(stream: CallStream) -> Iterator[Any]:
    """The calls of all documents."""
    return (call for _, calls in stream for call in calls)


def protocol(target: "Target") -> dict[str, Any]:
    """Return everything that decides what was measured."""
    model, tokenizer = target.pair
    return {
        "tool_names": target.names,
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(tokenizer),
        "day": target.day.isoformat(),
        "problems_used": target.judged.problem_count,
        "held_out_used": target.judged.text_count,
    }


def _counts_line(metrics: Mapping[str, float]) -> str:
    """The counts as a line for the terminal."""
    parts = [f"{int(metrics[f'count.{kind}'])} {kind}" for kind in artifacts.KINDS]
    return f"calls: {', '.join(parts)} in {int(metrics['documents'])} texts"
