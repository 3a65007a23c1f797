"""For authors of methods of tool use: a small learner, texts, a tool, and a run of a few seconds."""

import hashlib
import json
from typing import Any

import attrs

from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Document, RunServices, ToolCall, ToolLearner, ToolsRequest
from kdst_core.plugins.method import Method
from kdst_tools.models import layouts
from kdst_tools.tools.kit import FunctionTool

LETTERS = FunctionTool(
    "Letters",
    "The input is a word; the result is how many letters it has.",
    lambda argument, _document: str(len(argument)),
    (("A cat has 3 letters.", "A cat has [Letters(cat)] 3 letters."),),
)


def documents() -> list[Document]:
    """A few sentences, one with brackets."""
    return [Document(text) for text in (*layouts.TEXTS, "A text [with brackets] -> and an arrow.")]


def small_learner(method: Method, options: Any, run: RunServices, warm: bool = True) -> ToolLearner:
    """Call the hook on a small random model with one tool."""
    tokenizer = layouts.tokenizer()
    model = layouts.model("llama", len(tokenizer), context=512)
    request = ToolsRequest(model, tokenizer, [LETTERS], seed=run.seed, warm=warm)
    learner: ToolLearner = method.call(request, options, run)
    return learner


def proposed(texts: list[Document]) -> list[ToolCall]:
    """Calls that no random model would think of, as a sampler's."""
    return [ToolCall(d.id, 0, "Letters", "cat", p=0.5) for d in texts]


def annotated(learner: ToolLearner, texts: list[Document]) -> list[ToolCall]:
    """Sampled and proposed calls, executed and scored."""
    calls = learner.sample(texts)
    return learner.filter(texts, learner.execute(texts, calls or proposed(texts)))


def digest(method: Method, options: Any, run: RunServices) -> str:
    """Annotate, train and generate; return a digest of what came of it."""
    with silence_libraries(), method.working():
        learner = small_learner(method, options, run)
        texts = documents()
        calls = annotated(learner, texts)
        training = learner.finetune(learner.annotate(texts, calls))
        losses = [step.loss for step, _ in zip(training, range(2), strict=False)]
        outputs = learner.generate(texts[:2])
    content = [[attrs.asdict(c) for c in calls], losses, [o.annotated for o in outputs]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
