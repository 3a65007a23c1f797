"""Tool use: a causal language model, plain texts and tools, to texts with the calls that help, a
model trained on them, and generation with tools."""

import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import Factory, field, frozen

if TYPE_CHECKING:
    from torch import nn


def _hash_of_text(document: "Document") -> str:
    """The first 16 hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@frozen
class Document:
    """A plain text. id: by default a hash of the text. date: when it was written, for the calendar."""

    text: str
    id: str = field(default=Factory(_hash_of_text, takes_self=True))
    date: datetime.date | None = None


class Tool(Protocol):
    """Text in, one piece of text out."""

    @property
    def name(self) -> str:
        """Name as the model writes it in a call: letters, digits and underscores."""

    @property
    def description(self) -> str:
        """One sentence that says what an input is and what the result, for prompts and reports."""

    @property
    def examples(self) -> Sequence[tuple[str, str]]:
        """Few-shot examples: a plain text, and the same text with calls `[Name(input)]` in it."""

    @property
    def timeout(self) -> float:
        """Seconds after which a call is given up."""

    @property
    def deterministic(self) -> bool:
        """Whether the same input in the same document always has the same result."""

    @property
    def network(self) -> bool:
        """Whether the tool reaches beyond this machine; such tools are off unless asked for."""

    def __call__(self, argument: str, document: Document) -> str:
        """Answer one call; raises ValueError for an argument that it cannot answer."""


@frozen
class ToolsRequest:
    """A model and its tools.

    model: causal language model of transformers, logits (B, T, V); never changed. tokenizer: a fast
    one of transformers. seed: all randomness is drawn from it and the document at hand, so that no
    result depends on the order or the number of workers. warm: whether the model already writes
    calls, because it was warmed up on demonstrations.
    """

    model: "nn.Module"
    tokenizer: Any
    tools: Sequence[Tool]
    seed: int = 0
    warm: bool = False


@frozen
class ToolCall:
    """One call and whether it paid (Toolformer, section 2).

    doc: id of the document. position: index of the token before which the call stands. input: what
    the tool is given. result: its answer, None before it is executed and where it failed.
    p: probability of a call at the position. L_empty, L_call, L_full: weighted loss in nats of the
    tokens that follow, with nothing, with the call, with the call and its result; None before the
    filter. gain: min(L_empty, L_call) − L_full; where L_call is None, the most it can be. kept: whether
    the call goes into the text. reason: why not, empty when it does. window: first token of the window
    that was scored, 0 for a document that fits the context. offset: characters of the escaped text
    before the call.
    """

    doc: str
    position: int
    tool: str
    input: str
    result: str | None = None
    p: float = 0.0
    L_empty: float | None = None
    L_call: float | None = None
    L_full: float | None = None
    gain: float | None = None
    kept: bool = False
    reason: str = ""
    window: int = 0
    offset: int = 0


@frozen
class ToolAnnotation:
    """A document with its kept calls inline. text: escaped, calls written out. calls: all of them."""

    document: Document
    text: str
    calls: Sequence[ToolCall]


@frozen
class Generation:
    """A continuation. text: plain, without calls. annotated: escaped, with calls and their results.

    calls: made in this order; reason holds the error of one that failed. tokens: generated, those of
    calls included, those of results not.
    """

    prompt: Document
    text: str
    annotated: str
    calls: Sequence[ToolCall] = ()
    tokens: int = 0


@frozen
class TrainingStep:
    """step: counted from 1, of `total`. loss: mean nats a token. lr: learning rate of the step."""

    step: int
    total: int
    loss: float
    lr: float


class Finetuning(Protocol):
    """Finetuning under way: iterate over it for its steps. The request's model stays as it is."""

    @property
    def model(self) -> "nn.Module":
        """The model as far as it is trained."""

    @property
    def total(self) -> int:
        """Steps of the whole training."""

    def __iter__(self) -> Iterator[TrainingStep]:
        """Carry out the steps that are left."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training goes on from: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the next step is the one after it."""


class ToolLearner(Protocol):
    """What the hook returns: the stages of learning to use tools, bound to a model and tools.

    `sample`, `execute` and `filter` are functions of a shard, a fixed run of documents in corpus
    order: calls of several workers on several shards are those of one worker on all of them. Each
    takes the calls of the stage before and returns calls in the order of documents and positions.
    """

    def sample(self, shard: Sequence[Document]) -> list[ToolCall]:
        """Propose calls."""

    def execute(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Fill in results; a call that failed says why in `reason`."""

    def filter(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Score the calls that have a result, and mark those to keep."""

    def annotate(
        self, shard: Sequence[Document], calls: Sequence[ToolCall]
    ) -> list[ToolAnnotation]:
        """Put the kept calls into their texts, one annotation a document, in order."""

    def finetune(self, annotations: Sequence[ToolAnnotation]) -> Finetuning:
        """Train a copy of the model on annotated texts."""

    def generate(self, prompts: Sequence[Document], *, tools: bool = True) -> list[Generation]:
        """Continue prompts, with calls executed as they are written or with calls forbidden."""
