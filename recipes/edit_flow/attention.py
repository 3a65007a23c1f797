"""Joint attention in which one key stands for many equal ones."""

# mypy: disable-error-code="misc"
# diffusers sets the normalisations of queries and keys at run time

from __future__ import annotations

import math

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F


class CountedAttention:
    """Joint attention whose last text token counts as `count` equal tokens.

    With a silent T5, or none, the pipeline appends up to 256 rows of zeros to a caption. They stay
    equal to each other in every block, so one of them whose key weighs `count` times gives the
    same outputs.
    """

    def __init__(self) -> None:
        self.count = 1

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attention of patches (B, P, C) and text (B, L, C) to both."""
        patches, text = hidden_states, encoder_hidden_states
        query = torch.cat(
            [
                attn.norm_q(_heads(attn.to_q(patches), attn.heads)),
                attn.norm_added_q(_heads(attn.add_q_proj(text), attn.heads)),
            ],
            2,
        )
        key = torch.cat(
            [
                attn.norm_k(_heads(attn.to_k(patches), attn.heads)),
                attn.norm_added_k(_heads(attn.add_k_proj(text), attn.heads)),
            ],
            2,
        )
        value = _heads(torch.cat([attn.to_v(patches), attn.add_v_proj(text)], 1), attn.heads)
        weight = torch.zeros(key.shape[-2], dtype=key.dtype, device=key.device)
        weight[-1] = math.log(self.count)
        mixed = F.scaled_dot_product_attention(query, key, value, weight.expand(1, 1, 1, -1))
        mixed = mixed.transpose(1, 2).flatten(2)
        seen, read = mixed.split([patches.shape[1], text.shape[1]], 1)
        return attn.to_out[0](seen), read if attn.context_pre_only else attn.to_add_out(read)


def _heads(projected: Tensor, heads: int) -> Tensor:
    """(B, N, C) as (B, heads, N, C / heads)."""
    return projected.unflatten(-1, (heads, -1)).transpose(1, 2)
