"""The loop of a run: rounds of annotating and finetuning, then the measures; or prompts, continued."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core.bench.contract import Outcome
from kdst_core.bench.libraries import silence_libraries
from kdst_core.bench.sealed import hidden
from kdst_core.contracts import Document, ToolLearner
from kdst_core.runs.rundir import Run
from kdst_tools.evaluation.judged import Judged, judging_files
from kdst_tools.evaluation.rejection import Rejection, options_of
from kdst_tools.load import Target
from kdst_tools.loop.continuing import Continuing
from kdst_tools.loop.rounds import Round
from kdst_tools.loop.workers import Annotating, Workers
from kdst_tools.measures import Measuring
from kdst_tools.options import STAGES
from kdst_tools.outcome import RunState, artifacts

if TYPE_CHECKING:
    from kdst_tools.models.pretrained import Pair


def notes(learner: ToolLearner) -> Sequence[str]:
    """Return what a learner has to say to the user before it begins; methods need not have any."""
    return list(getattr(learner, "notes", ()))


@frozen
class PreparedTools:
    """A run whose target is loaded and checked."""

    target: Target

    @property
    def device(self) -> str:
        """Where the model lies."""
        return self.target.device

    def execute(self, run: Run) -> Outcome:
        """Carry out the run."""
        state = RunState()
        out_of_reach = [*judging_files(self.target.inputs), run.artifacts / "evaluation.json"]
        with silence_libraries(), hidden(out_of_reach):
            if self.target.options.continues:
                self._continue(run, state)
            else:
                self._learn(run, state)
        return state.outcome(self.target)

    def _continue(self, run: Run, state: RunState) -> None:
        """Continue the prompts that were given."""
        target = self.target
        learner = target.learner(target.pair, run)
        state.tell(notes(learner))
        continuing = Continuing(learner, run, state)
        if target.prompts is not None:
            continuing.all(target.prompts)
        else:
            continuing.one(Document(target.options.prompt or "", date=target.day))

    def _learn(self, run: Run, state: RunState) -> None:
        """Carry out the stages up to the one that was asked for."""
        target, stage = self.target, STAGES.index(self.target.options.stage)
        pair, last, checkpoint = target.pair, None, run.restore() or {}
        state.seconds = dict(checkpoint.get("seconds", {}))
        for number in range(1, target.options.rounds + 1):
            last = self._round(number, pair, checkpoint, run, state)
            if stage < STAGES.index("finetune"):
                break
            with state.timed("finetune"):
                pair = last.finetune(
                    pair[1], last.directory / "model", target.device, target.options.learn
                )
        assert last is not None
        state.write(target, run, last)
        if stage >= STAGES.index("generate"):
            self._measure(pair, run, state)
        state.files.append(artifacts.dump(run, "cost.json", state.seconds))
        last.reached(target.options.stage)

    def _round(
        self, number: int, pair: "Pair", checkpoint: dict[str, object], run: Run, state: RunState
    ) -> Round:
        """Annotate the texts of a round."""
        target, stage = self.target, self.target.options.stage
        texts, folder = target.corpus(number), run.dir / "rounds" / str(number)
        learner = target.learner(pair, run)
        state.tell(notes(learner))
        before = run.dir / "rounds" / str(number - 1) / "model"
        found = Round(
            number=number,
            directory=folder,
            corpus=texts,
            shard=target.inputs.shard,
            learner=learner,
            method=target.job.method,
            run=run,
            state=checkpoint,
            workers=self._workers(str(before) if number > 1 else target.inputs.model),
            spent=state.spent,
        )
        with state.timed("annotate"):
            found.annotate(stage)
        state.warnings += texts.warnings
        state.warnings += [f"{name} was cut off and done again" for name in found.dropped]
        reached = stage if stage in ("sample", "execute") else "filter"
        state.count(found, target.names, reached)
        return found

    def _measure(self, trained: "Pair", run: Run, state: RunState) -> None:
        """Train the baseline, where one was asked for, and measure all models."""
        rejection: Pair | None = None
        if self.target.practice is not None:
            with state.timed("baseline"):
                rejection = self._baseline(self.target.practice, run, state)
        with state.timed("evaluate"):
            full = self.target.options.stage == "evaluate"
            Measuring(self.target, run, state).measure(trained, full=full, rejection=rejection)

    def _baseline(self, practice: Judged, run: Run, state: RunState) -> "Pair | None":
        """Train the baseline by rejection sampling; None where no answer was right."""
        target, inputs = self.target, self.target.inputs
        steps = len({(row["round"], row["step"]) for row in artifacts.training(run)})
        own = options_of(target.job.options, inputs.baseline_temperature, steps)
        baseline = Rejection(
            learner=target.learner(target.pair, run, own),
            method=target.job.method,
            practice=practice,
            day=target.day,
            run=run,
            samples=inputs.baseline_samples,
            seconds=state.seconds["annotate"],
        )
        found = baseline.sample()
        state.metrics |= found.metrics
        state.summary.append(
            f"rejection sampling: {found.right} of {found.answers} answers right,"
            f" {len(found.rows)} texts to learn from"
        )
        if not found.rows:
            state.warnings.append("rejection sampling found no right answer, so it taught nothing")
            return None
        return baseline.finetune(found, target.pair[1], target.device)

    def _workers(self, model: str) -> Workers | None:
        """What sends a round's shards to workers, where options ask for that."""
        target = self.target
        if target.place is None:
            return None
        factory = Annotating(
            method=target.job.method.plugin.qualified,
            options=target.options,
            inputs=target.inputs,
            model=model,
            warm=target.embedded,
            device=target.device,
            seed=target.job.seed,
        )
        return Workers(target.place, factory)
