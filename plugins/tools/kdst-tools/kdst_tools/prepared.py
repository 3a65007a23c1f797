"""One run of the bench: rounds of annotating and finetuning, then the evaluation of every model."""

import datetime
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from kdst_batch.executors.place import Place
from kdst_core.bench.contract import Job, Outcome
from kdst_core.bench.sealed import hidden
from kdst_core.contracts import Document, Tool, ToolLearner, ToolsRequest
from kdst_core.runs.rundir import Run
from kdst_tools import artifacts, lessons, reasons
from kdst_tools.corpora import corpus
from kdst_tools.documents import Corpus
from kdst_tools.heuristics import counted
from kdst_tools.inputs import ToolsInputs
from kdst_tools.judged import Judged, judging_files
from kdst_tools.models import copy
from kdst_tools.quiet import quiet
from kdst_tools.rounds import Round
from kdst_tools.spread import Annotating, Spread
from kdst_tools.staged import STAGES, StagedOptions

if TYPE_CHECKING:
    from kdst_tools.models import Pair


@define
class Progress:
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


def notes(learner: ToolLearner) -> Sequence[str]:
    """What a learner has to say to the user before it begins; methods need not have any."""
    return list(getattr(learner, "notes", ()))


@frozen
class PreparedTools:
    """A run with its model, tools, first texts and problems loaded and checked."""

    job: Job
    device: str
    pair: "Pair"
    tools: Sequence[Tool]
    first: Corpus | None
    judged: Judged
    day: datetime.date
    place: Place | None = None
    prompts: Corpus | None = None
    practice: Judged | None = None

    @property
    def inputs(self) -> ToolsInputs:
        """The bench's options."""
        inputs: ToolsInputs = self.job.inputs
        return inputs

    @property
    def options(self) -> StagedOptions:
        """How far the run goes, and how often."""
        own = self.job.options
        return own if isinstance(own, StagedOptions) else StagedOptions()

    @property
    def embedded(self) -> bool:
        """Whether the model is the embedded one, which was warmed up on demonstrations."""
        return self.inputs.model == "tiny" and "model" not in self.job.objects

    def execute(self, run: Run) -> Outcome:
        """Carry out the run."""
        so_far = Progress()
        told = [*judging_files(self.inputs), run.artifacts / "evaluation.json"]
        with quiet(), hidden(told):
            if self.options.continues:
                self._continue(run, so_far)
            else:
                self._learn(run, so_far)
        return Outcome(
            metrics=so_far.metrics,
            artifacts={name: f"artifacts/{name}" for name in so_far.files},
            input=self._protocol(),
            warnings=so_far.warnings,
            summary=so_far.summary,
        )

    def learner(self, pair: "Pair", run: Run, options: Any = None) -> ToolLearner:
        """Bind the method to a model, with other options than the run's where they are given."""
        model, tokenizer = pair
        request = ToolsRequest(model, tokenizer, self.tools, self.job.seed, warm=self.embedded)
        found: ToolLearner = self.job.method.call(request, options or self.job.options, run)
        return found

    def _continue(self, run: Run, so_far: Progress) -> None:
        """Continue the prompts that were given."""
        from kdst_tools.continuing import Continuing

        learner = self.learner(self.pair, run)
        so_far.tell(notes(learner))
        continuing = Continuing(learner, run, so_far)
        if self.prompts is not None:
            continuing.all(self.prompts)
        else:
            continuing.one(Document(self.options.prompt or "", date=self.day))

    def _learn(self, run: Run, so_far: Progress) -> None:
        """Carry out the stages up to the one that was asked for."""
        stage = self.options.stage
        pair, last, state = self.pair, None, run.restore() or {}
        so_far.seconds = dict(state.get("seconds", {}))
        for number in range(1, self.options.rounds + 1):
            texts = self._corpus(number)
            folder = run.dir / "rounds" / str(number)
            learner = self.learner(pair, run)
            so_far.tell(notes(learner))
            before = run.dir / "rounds" / str(number - 1) / "model"
            spread = self._spread(str(before) if number > 1 else self.inputs.model)
            last = Round(
                *(number, folder, texts, self.inputs.shard, learner, self.job.method, run, state),
                spread=spread,
                spent=so_far.spent,
            )
            with so_far.timed("annotate"):
                last.annotate(stage)
            so_far.warnings += texts.warnings
            so_far.warnings += [f"{name} was cut off and done again" for name in last.dropped]
            reached = stage if stage in ("sample", "execute") else "filter"
            so_far.rounds[str(number)] = self._count(last, reached)
            so_far.reasons[str(number)] = dict(
                reasons.count(call for _, found in last.stream(reached) for call in found)
            )
            if STAGES.index(stage) < STAGES.index("finetune"):
                break
            with so_far.timed("finetune"):
                pair = last.finetune(pair[1], folder / "model", self.device)
        assert last is not None
        if self._chooses:
            self._choice(last.number, so_far)
        self._write(run, last, so_far)
        if STAGES.index(stage) >= STAGES.index("generate"):
            from kdst_tools.measured import Measuring

            rejection: Pair | None = None
            if self.practice is not None:
                with so_far.timed("baseline"):
                    rejection = self._baseline(self.practice, run, so_far)
            with so_far.timed("evaluate"):
                measuring = Measuring(self, run, so_far)
                measuring.measure(pair, full=stage == "evaluate", rejection=rejection)
        so_far.files.append(artifacts.dump(run, "cost.json", so_far.seconds))
        last.reached(stage)

    def _baseline(self, practice: Judged, run: Run, so_far: Progress) -> "Pair | None":
        """Train the baseline by rejection sampling; None where no answer was right."""
        from kdst_tools.evaluation.rejection import Rejection, options_of

        inputs = self.inputs
        steps = len({(row["round"], row["step"]) for row in artifacts.training(run)})
        own = options_of(self.job.options, inputs.baseline_temperature, steps)
        learner = self.learner(self.pair, run, own)
        seconds = so_far.seconds["annotate"]
        baseline = Rejection(
            learner, self.job.method, practice, self.day, run, inputs.baseline_samples, seconds
        )
        found = baseline.sample()
        so_far.metrics |= found.metrics
        so_far.summary.append(
            f"rejection sampling: {found.right} of {found.answers} answers right,"
            f" {len(found.rows)} texts to learn from"
        )
        if not found.rows:
            so_far.warnings.append("rejection sampling found no right answer, so it taught nothing")
            return None
        return baseline.finetune(found, self.pair[1], self.device)

    def _spread(self, model: str) -> Spread | None:
        """What sends a round's shards to workers, where options ask for that."""
        if self.place is None:
            return None
        own, method = self.options, self.job.method.plugin.qualified
        factory = Annotating(
            *(method, own, self.inputs, model, self.embedded, self.device, self.job.seed, "", "")
        )
        return Spread(self.place, factory)

    def _corpus(self, number: int) -> Corpus:
        """The texts of a round."""
        if number == 1 and self.first is not None:
            return self.first
        return corpus(self.inputs, self.job.seed, number, self._names if self._chooses else None)

    @property
    def _names(self) -> list[str]:
        """The names of the tools."""
        return [tool.name for tool in self.tools]

    @property
    def _chooses(self) -> bool:
        """Whether only texts that are likely to need a tool are sampled for it."""
        return self.options.choose == "likely"

    def _choice(self, number: int, so_far: Progress) -> None:
        """Say how many texts of a round are likely to need each tool."""
        texts = corpus(self.inputs, self.job.seed, number)
        total, found = counted(self._names, texts)
        so_far.metrics |= {f"likely.{name}": float(count) for name, count in found.items()}
        so_far.metrics["texts.given"] = float(total)
        so_far.summary.append(
            f"texts likely to need a tool, of {total}: "
            + ", ".join(f"{count} {name}" for name, count in found.items())
        )

    def _count(self, last: Round, reached: str) -> artifacts.Counts:
        """Count the calls of a round."""
        calls = (call for _, found in last.stream(reached) for call in found)
        return artifacts.count(calls, [tool.name for tool in self.tools])

    def _write(self, run: Run, last: Round, so_far: Progress) -> None:
        """Write records, counts and the training curve."""
        stage = self.options.stage
        reached = stage if stage in ("sample", "execute") else "filter"
        so_far.files += artifacts.records(run, last.stream(reached))
        described = {tool.name: tool.description for tool in self.tools}
        so_far.files.append(artifacts.dump(run, "tools.json", described))
        if reached == "filter":
            so_far.files += artifacts.annotated(run, last.annotations())
        so_far.files.append(artifacts.dump(run, "counts.json", so_far.rounds))
        so_far.files.append(artifacts.dump(run, "reasons.json", so_far.reasons))
        if reached == "filter":
            trains = STAGES.index(stage) >= STAGES.index("finetune")
            so_far.warnings += lessons.nothing_kept(so_far.rounds, trains)
            so_far.metrics |= reasons.metrics(so_far.all_reasons)
        if STAGES.index(stage) >= STAGES.index("finetune"):
            training = list(artifacts.training(run))
            so_far.files.append(artifacts.dump(run, "training.json", training))
            so_far.warnings += lessons.few_steps(training, last.corpus.count)
            copy(last.directory / "model", run.artifacts / "model")
            so_far.files.append("model")
        so_far.metrics |= artifacts.totals(so_far.rounds)
        so_far.metrics["documents"] = float(last.corpus.count)
        so_far.summary.append(_counts_line(so_far.metrics))
        so_far.summary += [said for said in (reasons.line(so_far.all_reasons),) if said]

    def _protocol(self) -> dict[str, Any]:
        """Everything that decides what was measured."""
        model, tokenizer = self.pair
        return {
            "tool_names": [tool.name for tool in self.tools],
            "parameters": sum(p.numel() for p in model.parameters()),
            "vocabulary": len(tokenizer),
            "day": self.day.isoformat(),
            "problems_used": self.judged.problem_count,
            "held_out_used": self.judged.text_count,
        }


def _counts_line(metrics: Mapping[str, float]) -> str:
    """The counts as a line for the terminal."""
    parts = [f"{int(metrics[f'count.{kind}'])} {kind}" for kind in artifacts.KINDS]
    return f"calls: {', '.join(parts)} in {int(metrics['documents'])} texts"
