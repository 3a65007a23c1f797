"""One run of the bench: invert, measure, compare with what memory and chance give, write."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from kdst_core.bench.contract import Job, Outcome
from kdst_core.bench.device import choose as choose_device
from kdst_core.bench.sealed import hidden
from kdst_core.contracts import Embedder, Training
from kdst_core.errors import KdstError
from kdst_core.runs.rundir import Run
from kdst_invert.distribute import Workers, workers_for
from kdst_invert.embedders.precision import precision_of
from kdst_invert.inputs import InvertInputs
from kdst_invert.load import Plan, Target, judging_files, read
from kdst_invert.loop import Attacked, Attacker
from kdst_invert.private import private

if TYPE_CHECKING:
    from kdst_invert.attackers.open_text import Reading
    from kdst_invert.embedders.endpoint import Endpoint

MAIN = "inversions"


def prepare(job: Job) -> "Planned":
    """Load embedder, texts and vectors; no text is embedded before the run has its directory."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kdst_invert.embedders import choose
    from kdst_invert.embedders.function import as_embedder

    device = choose_device(job.device, job.method.description.needs)
    inputs: InvertInputs = job.inputs
    live = job.objects.get("embedder")
    embed = (
        choose.choose(inputs, device)
        if live is None
        else choose.prefixed(as_embedder(live, "embedder"), inputs.prefix)
    )
    plan = read(inputs, job.seed, job.objects)
    workers = workers_for(job, device, plan.rows, precision_of(embed) or "auto")
    job = evolve(job, objects={k: v for k, v in job.objects.items() if k != "texts"})
    return Planned(job, device, embed, plan, workers)


@frozen
class Planned:
    """A run whose inputs were read; texts are embedded once its directory keeps what that costs."""

    job: Job
    device: str
    embed: Embedder
    plan: Plan
    workers: Workers | None = None

    def execute(self, run: Run) -> Outcome:
        """Carry out the run, from what an earlier session did; only the owner may read its files."""
        from kdst_invert.embedders.endpoint import Endpoint

        with private(run.dir):
            if not isinstance(self.embed, Endpoint):
                return self._prepared().execute(run)
            self.embed.keep_in(run.dir / "endpoint.jsonl")
            try:
                return _counted(self._prepared().execute(run), self.embed)
            except KdstError:
                if self.embed.calls and run.restore() is None:
                    run.checkpoint({})  # so that a directory with calls in it is kept
                raise

    def _prepared(self) -> "PreparedInvert":
        """The run with its vectors."""
        target = self.plan.target(self.embed, self.job.show)
        said = (*getattr(self.embed, "said", ()), *target.said)
        return PreparedInvert(self.job, self.device, self.embed, target, said, self.workers)


def _counted(outcome: Outcome, asked: "Endpoint") -> Outcome:
    """The outcome with what the service embedded for this run, earlier sessions included."""
    line = f"the endpoint embedded {asked.calls} of at most {asked.budget} texts"
    metrics = {**outcome.metrics, "endpoint_calls": float(asked.calls)}
    return evolve(outcome, metrics=metrics, summary=[*outcome.summary, line])


@frozen
class PreparedInvert:
    """A run with its vectors and embedder loaded and checked."""

    job: Job
    device: str
    embed: Embedder
    target: Target
    notes: tuple[str, ...] = field(factory=tuple)
    workers: Workers | None = None

    @property
    def inputs(self) -> InvertInputs:
        """The bench's options."""
        inputs: InvertInputs = self.job.inputs
        return inputs

    def execute(self, run: Run) -> Outcome:
        """Carry out the run; no method opens a file with the texts behind the vectors."""
        attacker = Attacker(self.job.method, self.embed, run, self.inputs.block, self.workers)
        with hidden(judging_files(self.inputs)):
            if self.inputs.study != "none":
                return self._study(attacker, run)
            return self._attack(attacker, run)

    def _study(self, attacker: Attacker, run: Run) -> Outcome:
        """Carry out the study that the options name."""
        from kdst_invert.studies.choose import carry_out
        from kdst_invert.studies.target import StudyTarget

        inputs, job = self.inputs, self.job
        subject = StudyTarget(
            inputs.study,
            self.target,
            self.embed,
            job.options,
            inputs.count,
            job.seed,
            job.show,
            self.notes,
            inputs.pairs,
        )
        return carry_out(subject, attacker, run)

    def _attack(self, attacker: Attacker, run: Run) -> Outcome:
        """Invert the vectors, and measure what was read."""
        from kdst_invert import outcome

        attacked = attacker.invert(
            MAIN, self.target.vectors, self.job.options, "inversion", self._training(run)
        )
        scores = outcome.scored(attacked, self.target.originals)
        metrics = outcome.metrics(attacked, scores, self.target.originals)
        metrics |= self._baselines(attacker, attacked, run)
        reading = self._open_text(attacker, metrics)
        metrics |= reading.metrics
        artifacts = outcome.written(run, MAIN, attacked, self.target, scores)
        if self.inputs.stage == "fit":
            artifacts["model"] = "artifacts/model"
        return Outcome(
            metrics,
            artifacts,
            outcome.protocol(attacked, self.target, self.embed),
            warnings=[
                *self.notes,
                *attacked.state.notes,
                *outcome.too_long(attacked, self.target.originals, self.embed),
                *filter(None, [reading.said]),
            ],
            summary=outcome.lines(metrics, self.target.originals is not None),
        )

    def _training(self, run: Run) -> Training | None:
        """What the method trains on first, in a fit."""
        if self.inputs.stage != "fit":
            return None
        return Training(
            self.target.training,
            run.artifacts / "model",
            self.target.training_vectors,
            noise=self.inputs.noise,
        )

    def _baselines(self, attacker: Attacker, attacked: Attacked, run: Run) -> dict[str, float]:
        """What memory, chance and attackers without a network give."""
        if not self.inputs.controls or self.target.originals is None:
            return {}
        from kdst_invert.attackers import baselines

        fitted = self.inputs.stage == "fit"
        seen = list(self.target.training) if fitted else _seen(self.target)
        model = str(run.artifacts / "model") if fitted else None
        found = baselines.without_corrections(attacked, self.target, seen, self.embed, run)
        return found | baselines.greedy(attacker, self.target, self.job.options, model)

    def _open_text(self, attacker: Attacker, metrics: Mapping[str, float]) -> "Reading":
        """What the reader of open text finds where the embedded inverter made mostly guesses."""
        from kdst_invert.attackers import open_text
        from kdst_invert.embedders.endpoint import Endpoint

        if not open_text.is_open(metrics, self.job.options, self.target.notes):
            return open_text.Reading({}, "")
        if isinstance(self.embed, Endpoint):
            return open_text.Reading({}, open_text.unread("a service is not asked for more"))
        return open_text.read(attacker, self.target)


def _seen(target: Target) -> list[str]:
    """Texts that the embedded inverter is known to have seen, where they are of the kind attacked."""
    if not target.notes:
        return []
    from kdst_invert.default.training import training_texts

    return training_texts()
