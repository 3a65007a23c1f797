"""What a network is told of the texts, and where each of their tokens is."""

from collections.abc import Mapping
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor


@frozen
class Conditioning:
    """Text conditioning of B rows.

    embeddings: (B, T, D). added: what else the network takes, each with B rows (SDXL's pooled text
    and image size).
    """

    embeddings: Tensor
    added: Mapping[str, Tensor] = field(factory=dict)

    def __len__(self) -> int:
        return self.embeddings.shape[0]

    def __add__(self, other: "Conditioning") -> "Conditioning":
        """The rows of both."""
        added = {k: torch.cat([v, other.added[k]]) for k, v in self.added.items()}
        return Conditioning(torch.cat([self.embeddings, other.embeddings]), added)

    def rows(self, index: slice | list[int]) -> "Conditioning":
        """The rows at `index`."""
        return Conditioning(self.embeddings[index], {k: v[index] for k, v in self.added.items()})

    def kwargs(self) -> dict[str, Any]:
        """The arguments that a UNet takes for it."""
        found: dict[str, Any] = {"encoder_hidden_states": self.embeddings}
        if self.added:
            found["added_cond_kwargs"] = dict(self.added)
        return found


@frozen
class TokenRange:
    """The tokens of one tokenizer in the text that attention sees.

    tokenizer: None where no word has a token there, as in the zeros that stand for a missing encoder.
    start, length: where they are, padding included.
    """

    tokenizer: Any
    start: int
    length: int


@frozen
class Lowered:
    """A tokenizer of a pipeline that puts prompts in lower case first."""

    tokenizer: Any

    def __call__(self, text: str, **given: Any) -> Any:
        """Return the encoding of the prompt in lower case."""
        return self.tokenizer(text.lower(), **given)

    def __getattr__(self, name: str) -> Any:
        """Return what the tokenizer has by that name."""
        return getattr(self.tokenizer, name)
