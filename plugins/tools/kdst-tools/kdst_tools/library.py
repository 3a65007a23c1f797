"""Learning to use tools as an object: a model and texts, to annotations, training and generation."""

import datetime
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from attrs import evolve

from kdst_core.bench.device import usable
from kdst_core.bench.libraries import silence_libraries
from kdst_core.bench.library import Bound
from kdst_core.contracts import (
    Document,
    Finetuning,
    Generation,
    ToolAnnotation,
    ToolCall,
    ToolLearner,
    ToolsRequest,
)
from kdst_tools import load
from kdst_tools.api import Named, annotated, document_of, shards_of, tools_of
from kdst_tools.inputs import ToolsInputs
from kdst_tools.tools.toolset import DEFAULT, checked


class TextLearner:
    """A method bound to a model, tools and texts; also a `ToolLearner`, stage by stage."""

    def __init__(
        self, bound: Bound, request: ToolsRequest, device: str, texts: Sequence[Document]
    ) -> None:
        self._bound, self._request, self._device, self.texts = bound, request, device, texts
        self.learner: ToolLearner = bound.call(request, device)

    @cached_property
    def annotations(self) -> list[ToolAnnotation]:
        """The texts with the calls that help, in order: sampled, executed and filtered when asked for."""
        return [a for shard in shards_of(self.texts) for a in annotated(self.learner, shard)]

    def train(self, report: Callable[[int, int, float], None] | None = None) -> "TextLearner":
        """Train a copy of the model on the annotations and return a learner of it.

        report: called after each step with its number, their total and the loss (nats a token).
        """
        with silence_libraries():
            training = self.finetune(self.annotations)
            for step in training:
                if report is not None:
                    report(step.step, step.total, step.loss)
            request = evolve(self._request, model=training.model)
            return TextLearner(self._bound, request, self._device, self.texts)

    @property
    def model(self) -> Any:
        """The language model that this learner speaks with."""
        return self._request.model

    def sample(self, shard: Sequence[Document]) -> list[ToolCall]:
        """Propose calls."""
        return self.learner.sample(shard)

    def execute(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Fill in results."""
        return self.learner.execute(shard, calls)

    def filter(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Score the calls that have a result, and mark those to keep."""
        return self.learner.filter(shard, calls)

    def annotate(
        self, shard: Sequence[Document], calls: Sequence[ToolCall]
    ) -> list[ToolAnnotation]:
        """Put the kept calls into their texts."""
        return self.learner.annotate(shard, calls)

    def finetune(self, annotations: Sequence[ToolAnnotation]) -> Finetuning:
        """Train a copy of the model on annotated texts, step by step."""
        return self.learner.finetune(annotations)

    def generate(
        self, prompts: Sequence[str | Document], *, tools: bool = True
    ) -> list[Generation]:
        """Continue prompts, with calls executed as they are written, or forbidden; return one each.

        Prompts without a date are of today.
        """
        today = datetime.date.today()
        with silence_libraries():
            return self.learner.generate([document_of(p, today) for p in prompts], tools=tools)


def learner(
    bound: Bound,
    model: Any,
    tokenizer: Any = None,
    texts: Sequence[str | Document] = (),
    tools: Sequence[Named] = DEFAULT,
) -> TextLearner:
    """Bind the method to a model, tools and texts; the model's weights stay as they are.

    model, tokenizer: of transformers, or what `--model` takes and no tokenizer. tools: names as `--tools`
    takes them, functions with type hints, or tools. The model is put into evaluation mode, and onto
    `device` where one is named.
    """
    named = isinstance(model, str) and tokenizer is None
    own = "cpu" if named else str(getattr(model, "device", "cpu"))
    device = usable(own if bound.device == "auto" else bound.device)
    with silence_libraries():
        inputs = ToolsInputs(model=str(model) if named else "from Python")
        pair = load.pair(inputs, None if named else (model, tokenizer), device, "warm")
    found = checked([tool for item in tools for tool in tools_of(item)])
    request = ToolsRequest(*pair, found, bound.seed, warm=named and model == "tiny")
    return TextLearner(bound, request, device, [document_of(text, None) for text in texts])
