"""Rejection sampling, the baseline that learns from right answers: sample, keep what is right, finetune.

Toolformer sees no answer; this does, of problems that nothing is measured on. Both take the same time
to find their texts and are finetuned in the same way, for at most as many steps, so the difference is
what self-supervision is worth. (Zelikman et al. 2022, STaR, without its hints; one round.)
"""

import datetime
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from kdst_core.contracts import Document, Generation, ToolAnnotation, ToolLearner
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run
from kdst_tools.calls import escape
from kdst_tools.calls.records import write_lines
from kdst_tools.evaluation.answers import is_right
from kdst_tools.models.pretrained import load, save
from kdst_tools.outcome.generated import plain_texts

if TYPE_CHECKING:
    from kdst_tools.evaluation.judged import Judged
    from kdst_tools.models.pretrained import Pair

GROUP = 256
"""Problems that are answered between two advances of the progress bar."""
KEPT, MODEL = "kept.jsonl", "model"


def options_of(own: Any, temperature: float, steps: int | None = None) -> Any:
    """Return a method's options for sampling answers, and for at most so many steps of finetuning.

    KdstError for a method without a temperature, whose answers would all be the same.
    """
    fields = {field.name for field in attrs.fields(type(own))}
    if "temperature" not in fields:
        raise KdstError(
            "--baseline rejection samples answers, and this method has no option temperature.\n"
            "Leave --baseline out"
        )
    changed: dict[str, Any] = {"temperature": temperature}
    if steps is not None and "steps" in fields:
        changed["steps"] = min(steps, own.steps)
    return attrs.evolve(own, **changed)


@frozen
class Answered:
    """What was sampled. samples: answers of each problem. right: how many of all are right."""

    samples: int
    answers: int
    right: int
    rows: Sequence[dict[str, str]]

    @property
    def metrics(self) -> dict[str, float]:
        """The counts as metrics."""
        return {
            "baseline.samples": float(self.samples),
            "baseline.answers": float(self.answers),
            "baseline.right": float(self.right),
            "baseline.kept": float(len(self.rows)),
        }


@frozen
class Rejection:
    """Samples answers with a learner and finetunes on the right ones.

    practice: the problems, sealed. samples: answers of each, 0 for as many rounds as begin within
    `seconds`. folder: where what was kept and the model lie, so that both are made once.
    """

    learner: ToolLearner
    method: Method
    practice: "Judged"
    day: datetime.date
    run: Run
    samples: int
    seconds: float

    @property
    def folder(self) -> Path:
        """Where the baseline's files lie."""
        return self.run.dir / "baseline"

    def sample(self) -> Answered:
        """Return the right answers, each of a problem once; those of an earlier session are read."""
        path = self.folder / KEPT
        if path.is_file():
            first, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            return Answered(**first, rows=rows)
        started, kept = time.perf_counter(), dict[tuple[int, str], dict[str, str]]()
        number = right = 0
        while self._goes_on(number, time.perf_counter() - started):
            for place, output in self._right(number):
                right += 1
                row = {"prompt": output.prompt.text, "annotated": output.annotated}
                kept.setdefault((place, output.annotated), row)
            number += 1
        answers = number * self.practice.problem_count
        found = Answered(number, answers, right, [kept[key] for key in sorted(kept)])
        counts = {"samples": number, "answers": answers, "right": right}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_lines(path, [counts, *found.rows])
        return found

    def _goes_on(self, number: int, seconds: float) -> bool:
        """Whether another answer of each problem is sampled; one always is."""
        return number == 0 or (number < self.samples if self.samples else seconds < self.seconds)

    def _right(self, number: int) -> Iterator[tuple[int, Generation]]:
        """Sample an answer of each problem; yield those that are right, by the problem's place."""
        prompts = [
            Document(problem.prompt, f"baseline {number} {place}", self.day)
            for place, problem in enumerate(self.practice.problems())
        ]
        label = f"baseline: sample {number + 1}"
        with self.run.progress(len(prompts), label) as advance:
            for first in range(0, len(prompts), GROUP):
                part = prompts[first : first + GROUP]
                with self.method.working():
                    outputs = [plain_texts(output) for output in self.learner.generate(part)]
                yield from self._judged(outputs, first)
                advance(len(part))

    def _judged(self, outputs: Sequence[Generation], first: int) -> list[tuple[int, Generation]]:
        """The right ones of the outputs for problems from `first` on; no frame keeps the answers."""
        problems = self.practice.problems()[first : first + len(outputs)]
        pairs = zip(outputs, problems, strict=True)
        return [(n, o) for n, (o, problem) in enumerate(pairs, first) if is_right(o.text, problem)]

    def finetune(self, found: Answered, tokenizer: Any, device: str) -> "Pair":
        """Train a copy of the model on what was kept, and save it; load it where that was done."""
        directory = self.folder / MODEL
        if not directory.is_dir():
            with self.method.working():
                training = self.learner.finetune(annotations(found.rows))
            with (
                self.run.progress(training.total, "baseline: finetune") as advance,
                self.method.working(),
            ):
                for _ in training:
                    advance(1)
            save(training.model, tokenizer, directory)
        return load(str(directory), device, as_saved=True)


def annotations(rows: Sequence[dict[str, str]]) -> list[ToolAnnotation]:
    """Return problems with their answers, as texts to finetune on."""
    return [
        ToolAnnotation(
            Document(row["prompt"], str(n)), f"{escape(row['prompt'])}{row['annotated']}", ()
        )
        for n, row in enumerate(rows)
    ]
