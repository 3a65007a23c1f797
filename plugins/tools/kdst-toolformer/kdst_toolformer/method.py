"""All stages of Toolformer, bound to a model and tools.

`Annotator(request, options)(shard)` is a function of a fixed run of documents: what it returns does
not depend on other shards, on their order or on how many annotators share the work.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kdst_core.contracts import Document, Generation, ToolAnnotation, ToolCall, ToolsRequest
from kdst_toolformer import adapters
from kdst_toolformer.filter import Filter
from kdst_toolformer.finetune import FineTuning, Recipe
from kdst_toolformer.generate import Decoding, Generator
from kdst_toolformer.reading import eight_bits, precision, sixteen_bits
from kdst_toolformer.reading.forward import CausalModel
from kdst_toolformer.reading.probe import choose
from kdst_toolformer.sample import Sampler
from kdst_toolformer.score import Scorer
from kdst_toolformer.settings import Placement, Trigger, per_tool
from kdst_tools.calls import escape, write
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.options import STAGES
from kdst_tools.tools.runner import ToolRunner

if TYPE_CHECKING:
    from kdst_toolformer import ToolformerOptions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
PROPOSED = {
    "same": "",
    "int8": "calls are proposed with weights in 8 bits (--sampling-dtype), and filtered in the model's"
    " own precision",
    "bfloat16": "calls are proposed with weights in bfloat16 (--sampling-dtype), and filtered in the"
    " model's own precision",
}
SCREENED = (
    "calls are screened with losses in bfloat16 (--screen), and those that may stay are filtered in the"
    " model's own precision"
)


class Annotator:
    """A worker: it holds model, tools and what was read of the prompts, nothing of any document."""

    def __init__(self, request: ToolsRequest, options: "ToolformerOptions") -> None:
        self.request, self.options = request, options
        self.tokens = CallTokens(request.tokenizer, options.begin_token)
        self.settings = per_tool(options, [t.name for t in request.tools], request.warm)
        self.executor = ToolRunner(request.tools, options.workers)
        self.prompted = options.sampler == "prompted" or (
            options.sampler == "auto" and not request.warm
        )

    def __call__(self, shard: Sequence[Document]) -> list[ToolAnnotation]:
        """Sample, execute, filter: one annotation a document of the shard, in order."""
        calls = self.filter(shard, self.execute(shard, self.sample(shard)))
        return self.annotate(shard, calls)

    @property
    def placement(self) -> Placement:
        """Where z stands when calls are scored; inline for models that have seen calls in texts."""
        if self.options.placement != "auto":
            return self.options.placement
        return "inline" if self.request.warm else "prefix"

    @property
    def trigger(self) -> Trigger:
        """What begins a call; the paper's top-k means little in a small vocabulary."""
        if self.options.trigger != "auto":
            return self.options.trigger
        return "probability" if self.request.warm else "top-k"

    @cached_property
    def _read(self) -> tuple[CausalModel, str]:
        """The model in the precision that annotating takes, and why it is read plainly if it is."""
        return choose(in_precision(self.request.model, self.options.dtype), self.tokens)

    @property
    def model(self) -> CausalModel:
        """The model, and how it is read."""
        return self._read[0]

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the model is read; KdstError where it cannot be trained."""
        if STAGES.index(self.options.stage) >= STAGES.index("finetune"):
            adapters.chosen(self.request.model, self.options.full)
        said = list(self._read[1:])
        if not self.options.continues:
            said += [PROPOSED[self._proposing], SCREENED if self._screens else ""]
        return [note for note in said if note]

    @property
    def _proposing(self) -> precision.Proposing:
        """The precision in which calls are proposed."""
        return precision.proposing(self.model.model, self.options.sampling_dtype)

    @property
    def _screens(self) -> bool:
        """Whether calls are screened in bfloat16."""
        return precision.screening(self.model.model, self.options.screen, self.options.losses)

    @cached_property
    def _in_bfloat16(self) -> CausalModel:
        """A copy in bfloat16 but for its head, read in the same way."""
        return type(self.model)(sixteen_bits.rounded(self.model.model))

    @cached_property
    def proposer(self) -> CausalModel:
        """The model by which calls are proposed, read in the same way; another copy in fewer bits."""
        if self._proposing == "bfloat16":
            return type(self.model)(sixteen_bits.with_head(self._in_bfloat16.model))
        if self._proposing == "int8":
            return type(self.model)(eight_bits.rounded(self.model.model))
        return self.model

    @cached_property
    def sampler(self) -> Sampler:
        """The sampling stage."""
        options = self.options
        return Sampler(
            self.proposer,
            self.tokens,
            self.request.tools,
            self.settings,
            prompted=self.prompted,
            seed=self.request.seed,
            max_input=options.max_input,
            temperature=options.sample_temperature,
            budget=options.budget,
            agree=options.agree,
            likely_only=options.choose == "likely",
        )

    @cached_property
    def _filter(self) -> Filter:
        """The filtering stage."""
        size = self.sampler.window_size()
        asked = self.options.losses
        deciding = asked == "deciding" or (asked == "auto" and self.placement == "prefix")
        own, screen = self.options, None
        if self._screens:
            screen = self._scorer(self._in_bfloat16)
        return Filter(
            self._scorer(self.model),
            self.tokens,
            self.settings,
            size,
            own.max_kept,
            deciding,
            own.keep_all,
            inside=self.request.warm,
            screen=screen,
        )

    def _scorer(self, model: CausalModel) -> Scorer:
        """What reads losses with a model."""
        return Scorer(model, self.tokens, self.placement, self.options.budget)

    def sample(self, shard: Sequence[Document]) -> list[ToolCall]:
        """Propose calls."""
        return self.sampler(shard)

    def execute(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Fill in results."""
        from attrs import evolve

        documents = {document.id: document for document in shard}
        answers = self.executor([(c.tool, c.input, documents[c.doc]) for c in calls])
        return [
            evolve(call, result=answer.result, reason=answer.reason)
            for call, answer in zip(calls, answers, strict=True)
        ]

    def filter(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Score calls and mark those to keep."""
        return self._filter(shard, calls)

    def annotate(
        self, shard: Sequence[Document], calls: Sequence[ToolCall]
    ) -> list[ToolAnnotation]:
        """Put the kept calls into their texts."""
        by_document: dict[str, list[ToolCall]] = {document.id: [] for document in shard}
        for call in calls:
            by_document[call.doc].append(call)
        return [
            ToolAnnotation(d, with_calls(d.text, by_document[d.id]), by_document[d.id])
            for d in shard
        ]

    def finetune(self, annotations: Sequence[ToolAnnotation]) -> FineTuning:
        """Train a copy of the model on C*."""
        options, lora = self.options, adapters.chosen(self.request.model, self.options.full)
        usual = Recipe(lr=2e-4, batch=8, epochs=3) if lora else Recipe()
        if self.request.warm:
            usual = Recipe(lr=1e-3, batch=16, epochs=3)
        recipe = Recipe(
            options.lr or usual.lr,
            options.batch or usual.batch,
            options.steps,
            options.epochs or usual.epochs,
            length=options.length,
            rank=options.lora_rank if lora else 0,
        )
        caps = {name: own.cap for name, own in self.settings.items()}
        return FineTuning(
            self.request.model,
            self.tokens,
            annotations,
            caps,
            recipe,
            seed=self.request.seed,
            budget=options.budget,
        )

    def generate(self, prompts: Sequence[Document], *, tools: bool = True) -> list[Generation]:
        """Continue prompts."""
        options = self.options
        decoding = Decoding(
            self.trigger,
            options.trigger_k,
            options.trigger_p,
            options.max_calls,
            options.max_tokens,
            options.max_input,
            options.temperature,
            budget=options.budget,
        )
        decoder = Generator(self.model, self.tokens, self.executor, decoding, self.request.seed)
        return decoder(prompts, tools)


def in_precision(model: nn.Module, dtype: str) -> nn.Module:
    """Return the model in a precision, a copy where it has another; bfloat16 pays on CUDA only."""
    import copy

    first = next(model.parameters())
    if dtype == "auto":
        wanted = torch.bfloat16 if first.device.type == "cuda" else first.dtype
    else:
        wanted = DTYPES[dtype]
    return model if wanted == first.dtype else copy.deepcopy(model).to(wanted)


def with_calls(text: str, calls: Sequence[ToolCall]) -> str:
    """Return a text, escaped, with its kept calls where they stand."""
    escaped, done, parts = escape(text), 0, list[Any]()
    for call in sorted((c for c in calls if c.kept), key=lambda c: c.offset):
        parts += [escaped[done : call.offset], write(call.tool, call.input, call.result)]
        done = call.offset
    return "".join([*parts, escaped[done:]])
