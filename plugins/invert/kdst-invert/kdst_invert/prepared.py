"""One run of the bench: invert, measure, compare with what memory and chance give, write."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from kdst_core.bench import Job, Outcome
from kdst_core.contracts import Embedder, Training
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.rundir import Run
from kdst_core.sealed import hidden
from kdst_invert.attack import Attacked, Attacker, with_option
from kdst_invert.inputs import InvertInputs
from kdst_invert.precision import precision_of
from kdst_invert.private import private
from kdst_invert.source import Plan, Source, judging_files

if TYPE_CHECKING:
    from kdst_invert.embedders.endpoint import Endpoint
    from kdst_invert.open_text import Reading
    from kdst_invert.scores import Scores
    from kdst_invert.spread import Spread

MAIN = "inversions"
GREEDY_STEPS = 5
"""Corrections at most of the greedy search that the beam is compared with."""


@frozen
class Planned:
    """A run whose inputs were read; texts are embedded once its directory keeps what that costs."""

    job: Job
    device: str
    embed: Embedder
    plan: Plan
    spread: "Spread | None" = None

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
        source = self.plan.source(self.embed, self.job.show)
        said = (*getattr(self.embed, "said", ()), *source.said)
        return PreparedInvert(self.job, self.device, self.embed, source, said, self.spread)


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
    source: Source
    notes: tuple[str, ...] = field(factory=tuple)
    spread: "Spread | None" = None

    @property
    def inputs(self) -> InvertInputs:
        """The bench's options."""
        inputs: InvertInputs = self.job.inputs
        return inputs

    def execute(self, run: Run) -> Outcome:
        """Carry out the run; no method opens a file with the texts behind the vectors."""
        with hidden(judging_files(self.inputs)):
            return self._execute(run)

    def _execute(self, run: Run) -> Outcome:
        """Carry out the run."""
        from kdst_invert import summarize

        attacker = Attacker(self.job.method, self.embed, run, self.inputs.block, self.spread)
        if self.inputs.study != "none":
            from kdst_invert.studies import carry_out

            return carry_out(self, attacker, run)
        attacked = attacker.invert(
            MAIN, self.source.vectors, self.job.options, "inversion", self._training(run)
        )
        scores = self._scores(attacked)
        metrics = scores.metrics() | summarize.costs(attacked)
        metrics |= summarize.guesses(scores) | self._by_chance(attacked, scores)
        metrics |= self._controls(attacker, attacked, run)
        opened = self._open_text(attacker, metrics)
        metrics |= opened.metrics
        table = summarize.by_step(scores)
        write_atomically(run.artifacts / "scores.json", json.dumps(table))
        artifacts = {
            "inversions.jsonl": f"artifacts/{MAIN}.jsonl",
            "scores.json": "artifacts/scores.json",
            "examples.json": "artifacts/examples.json",
        }
        shown = summarize.examples(attacked, self.source.originals)
        write_atomically(run.artifacts / "examples.json", json.dumps(shown))
        if self.inputs.stage == "fit":
            artifacts["model"] = "artifacts/model"
        return Outcome(
            metrics,
            artifacts,
            self._protocol(attacked),
            warnings=[
                *self.notes,
                *attacked.progress.notes,
                *self._lengths(attacked),
                *filter(None, [opened.said]),
            ],
            summary=summarize.lines(metrics, self.source.originals is not None),
        )

    def _open_text(self, attacker: Attacker, metrics: Mapping[str, float]) -> "Reading":
        """What the reader of open text finds where the embedded inverter made mostly guesses."""
        from kdst_invert import open_text
        from kdst_invert.embedders.endpoint import Endpoint

        if not open_text.is_open(metrics, self.job.options, self.source.notes):
            return open_text.Reading({}, "")
        if isinstance(self.embed, Endpoint):
            return open_text.Reading({}, open_text.unread("a service is not asked for more"))
        return open_text.read(attacker, self.source)

    def _training(self, run: Run) -> Training | None:
        """What the method trains on first, in a fit."""
        if self.inputs.stage != "fit":
            return None
        return Training(
            self.source.training,
            run.artifacts / "model",
            self.source.training_vectors,
            noise=self.inputs.noise,
        )

    def _scores(self, attacked: Attacked) -> "Scores":
        """Measures by step of an attack on the run's vectors."""
        from kdst_invert.scores import score_file

        steps = attacked.progress.steps
        return score_file(attacked.file, attacked.rows, steps, self.source.originals)

    def _by_chance(self, attacked: Attacked, scores: "Scores") -> dict[str, float]:
        """What recovered texts share with other rows' originals, and what was read above that."""
        from kdst_invert import summarize

        originals = self.source.originals
        return {} if originals is None else summarize.chance(attacked, scores, originals)

    def _controls(self, attacker: Attacker, attacked: Attacked, run: Run) -> dict[str, float]:
        """Greedy search, attackers without a network, texts against other rows' originals, and the nearest
        training note."""
        from kdst_invert import controls

        if not self.inputs.controls or self.source.originals is None:
            return {}
        metrics = controls.shuffled(attacked, self.source.originals)
        training = self._training_texts()
        if training:
            metrics |= controls.nearest(self.source, training, self.embed, run)
        if self.source.notes:
            metrics |= controls.without_network(self.source, self.embed, run)
        options = self.job.options
        if getattr(options, "beam", 1) > 1:
            options = with_option(options, "beam", 1)
            options = with_option(options, "steps", min(options.steps, GREEDY_STEPS))
            options = with_option(options, "model", self._model(run) or options.model)
            greedy = attacker.invert(
                "greedy", self.source.vectors, options, "greedy, to compare", light=True
            )
            metrics |= controls.finals(self._scores(greedy), "greedy.")
            metrics["greedy.embedder_calls_per_text"] = greedy.calls_per_text
        return metrics

    def _model(self, run: Run) -> str | None:
        """The directory of a model that this run trained."""
        return str(run.artifacts / "model") if self.inputs.stage == "fit" else None

    def _training_texts(self) -> list[str]:
        """Texts that the inverter is known to have seen."""
        if self.inputs.stage == "fit":
            return list(self.source.training)
        if not self.source.notes:
            return []
        from kdst_invert.notes.training import training_texts

        return training_texts()

    def _lengths(self, attacked: Attacked) -> list[str]:
        """A warning where originals are longer than what is written or read."""
        from kdst_invert.lengths import too_long

        if self.source.originals is None:
            return []
        return too_long(self.source.originals.texts, attacked.progress, self.embed)

    def _protocol(self, attacked: Attacked) -> Mapping[str, Any]:
        """Everything that decides what was measured."""
        import torch

        return {
            "embedder_name": self.embed.name,
            "dimension": self.embed.dimension,
            "normalised": self.embed.normalised,
            "embedder_precision": precision_of(self.embed),
            "rows": attacked.rows,
            "notes": self.source.notes,
            "texts_known": self.source.originals is not None,
            "training_texts": len(self.source.training),
            "longest": attacked.progress.longest,
            "threads": torch.get_num_threads(),
        }
