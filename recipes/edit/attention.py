"""Record where chosen words attend while the pipeline samples."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor


class ReadAttention:
    """Attention processor that computes as usual and shows its weights to `read`.

    Only calls with `queries` queries are shown, each as a mean over heads (rows, queries, keys).
    """

    def __init__(self, queries: int) -> None:
        self.queries = queries

    def read(self, weights: Tensor) -> None:
        """What to do with the weights of one call."""
        raise NotImplementedError

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Softmax attention of `hidden_states` (B, P, C) to the words (B, L, D)."""
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(words))
        value = attn.head_to_batch_dim(attn.to_v(words))
        weights = attn.get_attention_scores(query, key, attention_mask)
        if weights.shape[1] == self.queries:
            self.read(weights.unflatten(0, (-1, attn.heads)).mean(1))
        mixed: Tensor = attn.batch_to_head_dim(torch.bmm(weights, value))
        mixed = attn.to_out[1](attn.to_out[0](mixed))
        return mixed


class WordAttention(ReadAttention):
    """Sums the maps of one token a row and word.

    `tokens` (B, K) are positions in the caption. Only calls with 2B rows, unconditional rows first,
    are recorded.
    """

    def __init__(self, tokens: Tensor, queries: int) -> None:
        super().__init__(queries)
        self.tokens = tokens
        self.total = torch.zeros(*tokens.shape, queries)
        self.calls = 0

    def read(self, weights: Tensor) -> None:
        """Add the conditional rows of `weights` (2B, P, L)."""
        if len(weights) != 2 * len(self.tokens):
            return
        conditional = weights[len(self.tokens) :].mT.cpu()
        index = self.tokens[..., None].expand(-1, -1, self.queries)
        self.total += conditional.gather(1, index)
        self.calls += 1

    def maps(self) -> Tensor:
        """Mean maps (B, K, side, side) over layers, heads and steps."""
        side = int(self.queries**0.5)
        return (self.total / max(self.calls, 1)).reshape(*self.tokens.shape, side, side)


class KeptAttention(ReadAttention):
    """Keeps the weights of every call since the last `take`, with their gradients."""

    def __init__(self, queries: int) -> None:
        super().__init__(queries)
        self._kept: list[Tensor] = []

    def read(self, weights: Tensor) -> None:
        """Keep `weights` (B, P, L)."""
        self._kept.append(weights)

    def take(self) -> Tensor:
        """The mean (B, P, L), float32, over the calls since the last time, which are let go."""
        mean = torch.stack(self._kept).float().mean(0)
        self._kept.clear()
        return mean


def set_cross_attention(unet: UNet2DConditionModel, reader: ReadAttention) -> None:
    """Let `reader` compute the cross-attention of `unet`, and an explicit softmax the rest."""
    unet.set_attn_processor(
        {n: reader if ".attn2." in n else AttnProcessor() for n in unet.attn_processors}
    )


@contextmanager
def recorded(
    unet: UNet2DConditionModel, tokens: Tensor, queries: int = 256
) -> Iterator[WordAttention]:
    """Record the cross-attention of `unet` at `queries` pixels, then restore its processors."""
    before = dict(unet.attn_processors)
    recorder = WordAttention(tokens, queries)
    set_cross_attention(unet, recorder)
    try:
        yield recorder
    finally:
        unet.set_attn_processor(before)
