"""Attention of several query heads to one head of keys, without copies of the keys for each.

transformers repeats keys and values where a mask is given. While few tokens look at many, as samples of
a text do, the copies take longer than the attention; the kernel gives the same numbers without them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from kdst_tools.models import configs

NAME = "kdst_grouped"


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **rest: Any
) -> tuple[Tensor, None]:
    """Return attention (R, t, H, D) of queries (R, H, t, D) to keys and values (R, G, T, D).

    mask: (R, 1, t, T), added to the scores. What needs more is left to transformers' own function.
    """
    plain = all(rest.get(name) is None for name in ("position_bias", "cache", "softcap", "s_aux"))
    if mask is None or not plain or query.shape[1] == key.shape[1] or query.shape[2] == 1:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **rest)
        return found
    said = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=rest.get("scaling"), enable_gqa=True
    )
    return said.transpose(1, 2).contiguous(), None


@contextmanager
def grouped(model: nn.Module) -> Iterator[None]:
    """Let a model's layers attend so while they are given masks of their own; only in place of sdpa."""
    config: Any = configs.of_text(model)
    if getattr(config, "_attn_implementation", None) != "sdpa":
        yield
        return
    AttentionInterface.register(NAME, attention)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"
