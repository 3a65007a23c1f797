"""Runs that only continue prompts: one, or those of a file, group by group, so that a kill costs one."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from kdst_core.contracts import Document, Generation, ToolLearner
from kdst_core.errors import KdstError, first_line
from kdst_core.runs.rundir import Run
from kdst_tools.calls.visible import visible
from kdst_tools.outcome import artifacts
from kdst_tools.outcome.generated import shown

if TYPE_CHECKING:
    from kdst_tools.corpora.documents import Corpus
    from kdst_tools.outcome import RunState

GROUP = 64
"""Prompts that are continued between two checkpoints."""
PRINTED = 3
"""Continuations that the terminal shows."""
FILE = "generations.jsonl"


@frozen
class Continuing:
    """Continues prompts with a model and tools, and adds what came of it to the run's progress."""

    learner: ToolLearner
    run: Run
    state: "RunState"
    refused: list[str] = field(factory=list)

    def one(self, prompt: Document) -> None:
        """Continue one prompt."""
        (found,) = self.learner.generate([prompt])
        self.state.files.append(artifacts.dump(self.run, "generation.json", shown(found)))
        made = [call for call in found.calls if not call.reason]
        self.state.metrics = {"calls": float(len(made)), "tokens": float(found.tokens)}
        self.state.summary = [_printed(found.prompt.text, found.annotated)]
        self.state.warnings += [
            f"the call {visible(f'{c.tool}({c.input})')} failed: {c.reason}"
            for c in found.calls
            if c.reason
        ]

    def all(self, prompts: "Corpus") -> None:
        """Continue the prompts of a file; a line of generations.jsonl each, in their order."""
        state = self.run.restore() or {"prompts": 0, "bytes": 0, "refused": []}
        self.refused.extend(state["refused"])
        path = self.run.artifacts / FILE
        path.touch()
        with path.open("rb+") as file, self.run.progress(prompts.count, "prompts") as advance:
            file.truncate(state["bytes"])
            file.seek(0, 2)
            for number, group in enumerate(prompts.shards(GROUP)):
                if number * GROUP >= state["prompts"]:
                    for found in self._continued(group):
                        file.write(json.dumps(shown(found)).encode() + b"\n")
                    file.flush()
                    done = {"prompts": number * GROUP + len(group), "bytes": file.tell()}
                    self.run.checkpoint({**done, "refused": list(self.refused)})
                advance(len(group))
        self.state.files.append(FILE)
        self._conclude(prompts, path)

    def _continued(self, group: Sequence[Document]) -> Iterator[Generation]:
        """The continuations of a group; where a prompt cannot be continued, those of the others."""
        try:
            yield from self.learner.generate(group)
            return
        except KdstError as error:
            if len(group) == 1:
                self.refused.append(visible(first_line(error)))
                return
        for prompt in group:
            yield from self._continued([prompt])

    def _conclude(self, prompts: "Corpus", path: Path) -> None:
        """Count what was written, and show the first few."""
        calls = failed = tokens = count = 0
        for row in rows(path):
            if count < PRINTED:
                self.state.summary.append(_printed(row["prompt"], row["annotated"]))
            count, tokens = count + 1, tokens + row["tokens"]
            failed += sum(bool(call["reason"]) for call in row["calls"])
            calls += sum(not call["reason"] for call in row["calls"])
        if count == 0:
            raise KdstError(f"no prompt of {prompts.name} can be continued: {self.refused[0]}")
        numbers = {"prompts": count, "calls": calls, "calls.failed": failed, "tokens": tokens}
        self.state.metrics = {name: float(number) for name, number in numbers.items()}
        self.state.summary.append(
            f"{count} prompts continued, {calls} calls made, {failed} failed: {path}"
        )
        self.state.warnings += prompts.warnings
        if self.refused:
            self.state.warnings.append(
                f"{len(self.refused)} prompts could not be continued, the first: {self.refused[0]}"
            )


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of generations.jsonl."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _printed(prompt: str, annotated: str) -> str:
    """A prompt and its continuation as the terminal may show them."""
    return visible(f"{prompt}{annotated}")
