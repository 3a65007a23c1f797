"""Tool use: a causal language model, plain texts, tools, to texts with the calls that help."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from torch import Generator, nn


class Tool(Protocol):
    """Text in, one piece of text out."""

    @property
    def name(self) -> str:
        """Name as the model writes it in a call."""

    def __call__(self, argument: str) -> str:
        """Answer one call; raises ValueError for an argument it cannot answer."""


@frozen
class ToolsRequest:
    """model: causal language model of transformers, logits (B, T, V). texts: plain documents."""

    model: "nn.Module"
    tokenizer: Any
    texts: Sequence[str]
    tools: Sequence[Tool]
    generator: "Generator"


@frozen
class ToolCall:
    """One call and whether it paid.

    position: index of the token before which the call stands. gain: reduction of the weighted loss in
    nats, L- minus L+ (Toolformer, section 2). kept: whether the gain passed the threshold.
    """

    tool: str
    argument: str
    result: str
    position: int
    gain: float
    kept: bool


@frozen
class ToolAnnotation:
    """text: the document with its kept calls inline. calls: every call that was scored."""

    source: str
    text: str
    calls: Sequence[ToolCall]
