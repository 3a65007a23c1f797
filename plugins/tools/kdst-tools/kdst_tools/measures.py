"""What a run measures: the problems solved by each model, calls on plain text, perplexity, the filter."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core.contracts import Document, Generation, ToolCall, ToolLearner
from kdst_core.runs.rundir import Run
from kdst_tools.calls import escape
from kdst_tools.corpora.sources import truth
from kdst_tools.default import DEMONSTRATIONS
from kdst_tools.load import Target
from kdst_tools.models.pretrained import load
from kdst_tools.outcome import artifacts
from kdst_tools.outcome.generated import plain_texts, shown

if TYPE_CHECKING:
    from kdst_tools.models.pretrained import Pair
    from kdst_tools.outcome import RunState

GROUP = 256
"""Prompts that are continued between two advances of the progress bar."""


@frozen
class Contestant:
    """One bar of the evaluation: a model, with calls or with calls forbidden."""

    name: str
    learner: ToolLearner
    tools: bool


@frozen
class Measuring:
    """Measures the models of a run, and adds what it finds to the run's state."""

    target: Target
    run: Run
    state: "RunState"

    def measure(self, trained: "Pair", full: bool, rejection: "Pair | None" = None) -> None:
        """Measure; unless `full` only the trained model generates, and nothing is compared.

        rejection: the model of the baseline, where there is one.
        """
        contestants, judged = self._contestants(trained, full), self.target.judged
        if rejection is not None:
            learner = self.target.learner(rejection, self.run)
            contestants.append(Contestant("rejection", learner, True))
        outputs = [self._solve(contestant) for contestant in contestants]
        continued = [self._go_on(c) for c in contestants if c.tools and judged.text_count]
        problems = [{"prompt": p.prompt, "answer": p.answer} for p in judged.problems()]
        for contestant, found in zip(contestants, outputs, strict=True):
            self._problems(contestant, found, problems)
        plain: list[dict[str, Any]] = [{"text": d.text} for d in judged.texts()]
        for contestant, found in zip([c for c in contestants if c.tools], continued, strict=False):
            self._plain(contestant, found, plain)
        if full:
            self._perplexity(trained)
            self._filter()
        self.state.metrics["problems"] = float(len(problems))
        self.state.metrics["demonstrations"] = float(self._demonstrations())
        content = {"problems": problems, "plain": plain}
        self.state.files.append(artifacts.dump(self.run, "evaluation.json", content))

    def _demonstrations(self) -> int:
        """How many demonstrations the model has seen before the run; none but the embedded one."""
        return DEMONSTRATIONS if self.target.embedded else 0

    def _contestants(self, trained: "Pair", full: bool) -> list[Contestant]:
        """The models to compare, the untouched one first."""
        target, run = self.target, self.run
        after = target.learner(trained, run)
        if not full:
            return [Contestant("after", after, True)]
        before = target.learner(target.pair, run)
        untouched = before
        found = []
        if target.embedded:
            untouched = target.learner(load("tiny", target.device, "base"), run)
            shipped = target.learner(load("tiny", target.device, "shipped"), run)
            found = [Contestant("shipped", shipped, True)]
        return [
            Contestant("no_tool", untouched, False),
            Contestant("before", before, True),
            Contestant("after", after, True),
            Contestant("disabled", after, False),
            *found,
        ]

    def _solve(self, contestant: Contestant) -> list[Generation]:
        """Let one model answer all problems, of which it sees the prompts."""
        judged, day = self.target.judged, self.target.day
        prompts = [Document(problem.prompt, date=day) for problem in judged.problems()]
        return self._continue(contestant, prompts, "problems") if prompts else []

    def _problems(
        self, contestant: Contestant, outputs: Sequence[Generation], rows: list[dict[str, Any]]
    ) -> None:
        """Compare one model's answers with the right ones, once all models have given theirs."""
        from kdst_batch.statistics import wilson
        from kdst_tools.evaluation import calling
        from kdst_tools.evaluation.answers import is_right

        problems = self.target.judged.problems()
        if not problems:
            return
        right = 0
        for row, problem, output in zip(rows, problems, outputs, strict=True):
            solved = is_right(output.text, problem)
            row[contestant.name] = {**shown(output), "right": solved}
            right += solved
        low, high = wilson(right, len(problems))
        self.state.metrics |= {
            f"exact.{contestant.name}": right / len(problems),
            f"exact.{contestant.name}.low": low,
            f"exact.{contestant.name}.high": high,
        }
        if contestant.tools:
            self.state.metrics |= calling.scores(outputs, problems, contestant.name)
        self.state.summary.append(
            f"{contestant.name}: {right / len(problems):.1%} of {len(problems)} problems"
            f" ({low:.1%} to {high:.1%})"
        )

    def _continue(
        self, contestant: Contestant, prompts: Sequence[Document], what: str
    ) -> list[Generation]:
        """Continue prompts, with a progress bar."""
        found: list[Generation] = []
        with self.run.progress(len(prompts), f"{contestant.name}: {what}") as advance:
            for first in range(0, len(prompts), GROUP):
                part = prompts[first : first + GROUP]
                with self.target.job.method.working():
                    made = contestant.learner.generate(part, tools=contestant.tools)
                    found += [plain_texts(output) for output in made]
                advance(len(part))
        return found

    def _go_on(self, contestant: Contestant) -> list[Generation]:
        """Let one model continue the first halves of plain texts."""
        day = self.target.day
        texts = self.target.judged.texts()
        prompts = [Document(half(d.text), date=d.date or day) for d in texts]
        del texts  # no frame of a call holds the second halves
        return self._continue(contestant, prompts, "plain texts")

    def _plain(
        self, contestant: Contestant, outputs: Sequence[Generation], rows: list[dict[str, Any]]
    ) -> None:
        """Count the calls that a model made where it continued plain texts."""
        from kdst_batch.statistics import wilson

        for row, output in zip(rows, outputs, strict=True):
            row[contestant.name] = shown(output)
        called = sum(bool(output.calls) for output in outputs)
        name = "false_calls" if contestant.name == "after" else f"false_calls.{contestant.name}"
        low, high = wilson(called, len(outputs))
        self.state.metrics |= {
            name: called / len(outputs),
            f"{name}.low": low,
            f"{name}.high": high,
        }

    def _perplexity(self, trained: "Pair") -> None:
        """Perplexity on plain text, before and after."""
        from kdst_tools.evaluation.perplexity import perplexity

        texts = [escape(d.text) for d in self.target.judged.texts()]
        for name, (model, tokenizer) in (("before", self.target.pair), ("after", trained)):
            if texts:
                value = perplexity(model, tokenizer, texts, self.target.options.begin_token)
                self.state.metrics[f"perplexity.plain.{name}"] = value

    def _filter(self) -> None:
        """Precision and recall of the filter, where it is known which calls help."""
        if self.target.inputs.texts is not None or not self.target.embedded:
            return
        from kdst_tools.evaluation.filtering import quality

        helps = {
            Document(text.text).id: text.helps
            for number in self.state.rounds
            for text in truth(self.target.inputs, self.target.job.seed, int(number))
        }
        self.state.metrics |= quality(self._scored(), helps)

    def _scored(self) -> Iterable[ToolCall]:
        """The calls of all rounds that were scored."""
        from kdst_tools.calls.records import CallStream

        for number in self.state.rounds:
            stream = CallStream(self.run.dir / "rounds" / number / "filtered.jsonl")
            yield from (call for _, calls in stream for call in calls if call.gain is not None)


def half(text: str) -> str:
    """Return the first half of a text, up to the end of a word."""
    place = text.rfind(" ", 0, len(text) // 2 + 1)
    return text[:place] if place > 0 else text
