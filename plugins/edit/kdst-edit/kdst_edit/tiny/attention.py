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


class WordAttention:
    """Attention processor that computes as usual and sums the maps of one token a row and word.

    `tokens` (B, K) are positions in the caption. Only calls with `queries` queries and 2B rows,
    unconditional rows first, are recorded.
    """

    def __init__(self, tokens: Tensor, queries: int) -> None:
        self.tokens, self.queries = tokens, queries
        self.total = torch.zeros(*tokens.shape, queries)
        self.calls = 0

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Softmax attention of `hidden_states` (2B, P, C) to the words (2B, L, D)."""
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(words))
        value = attn.head_to_batch_dim(attn.to_v(words))
        weights = attn.get_attention_scores(query, key, attention_mask)
        if weights.shape[1] == self.queries and len(hidden_states) == 2 * len(self.tokens):
            rows, heads = len(hidden_states), attn.heads
            self._record(weights.reshape(rows, heads, *weights.shape[1:]).mean(1))
        mixed: Tensor = attn.batch_to_head_dim(torch.bmm(weights, value))
        mixed = attn.to_out[1](attn.to_out[0](mixed))
        return mixed

    def _record(self, weights: Tensor) -> None:
        conditional = weights[len(self.tokens) :].mT.cpu()
        index = self.tokens[..., None].expand(-1, -1, self.queries)
        self.total += conditional.gather(1, index)
        self.calls += 1

    def maps(self) -> Tensor:
        """Mean maps (B, K, side, side) over layers, heads and steps."""
        side = int(self.queries**0.5)
        return (self.total / max(self.calls, 1)).reshape(*self.tokens.shape, side, side)


@contextmanager
def recorded(
    unet: UNet2DConditionModel, tokens: Tensor, queries: int = 256
) -> Iterator[WordAttention]:
    """Record the cross-attention of `unet` at `queries` pixels, then restore its processors."""
    before = dict(unet.attn_processors)
    recorder = WordAttention(tokens, queries)
    chosen = {
        name: recorder if ".attn2." in name else AttnProcessor() for name in unet.attn_processors
    }
    unet.set_attn_processor(chosen)
    try:
        yield recorder
    finally:
        unet.set_attn_processor(before)
