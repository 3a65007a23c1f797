"""One step of a T5 decoder on cached keys and values, for many beams of one encoder row.

The same function as `T5ForConditionalGeneration`, without its overhead: a row's cross-attention keys
are computed once and shared by its beams, and the three self-attention maps are one product.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration


class DecoderLayer:
    """The weights of one decoder layer, laid out for a step."""

    def __init__(self, block: Any) -> None:
        own, cross, feed = block.layer
        attention = own.SelfAttention
        self.qkv = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]).detach()
        self.own_norm, self.own_out = own.layer_norm, attention.o
        self.cross, self.cross_norm = cross.EncDecAttention, cross.layer_norm
        self.feed, self.feed_norm = feed.DenseReluDense, feed.layer_norm


class Decoder:
    """The decoder of a T5, in eval mode."""

    def __init__(self, model: T5ForConditionalGeneration) -> None:
        config = model.config
        self.model, self.heads, self.size = model, config.num_heads, config.d_kv
        blocks: Any = model.decoder.block
        self.layers = [DecoderLayer(block) for block in blocks]
        self.first = blocks[0].layer[0].SelfAttention
        self.scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0

    def cross(self, hidden: Tensor) -> Tensor:
        """Keys and values (2 · layers, H, heads, S, size) of encoder states (H, S, d)."""
        maps = [m for layer in self.layers for m in (layer.cross.k, layer.cross.v)]
        found = [m(hidden).unflatten(-1, (self.heads, self.size)).transpose(1, 2) for m in maps]
        return torch.stack([f.contiguous() for f in found])

    def bias(self, length: int) -> Tensor:
        """Relative position bias (heads, length, length) of self-attention."""
        bias: Tensor = self.first.compute_bias(length, length)[0]
        return bias

    def step(
        self, tokens: Tensor, t: int, cache: Tensor, bias: Tensor, cross: Tensor, mask: Tensor
    ) -> Tensor:
        """Logits (H, b, V) after tokens (H, b) at position t.

        cache: (2 · layers, H, heads, T · b, size), position-major, written at position t.
        bias: (H, heads, b, (t + 1) · b), -inf where a place of the cache is no ancestor of a beam.
        mask: (H, 1, 1, S), 0 where the encoder has a token and -inf elsewhere.
        """
        beams = tokens.shape[1]
        now = slice(t * beams, (t + 1) * beams)
        x = self.model.shared.weight[tokens]
        for number, layer in enumerate(self.layers):
            qkv = nn.functional.linear(layer.own_norm(x), layer.qkv)
            q, k, v = qkv.unflatten(-1, (3, self.heads, self.size)).permute(2, 0, 3, 1, 4)
            keys, values = cache[2 * number], cache[2 * number + 1]
            keys[:, :, now], values[:, :, now] = k, v
            x = x + layer.own_out(
                _attend(q, keys[:, :, : now.stop], values[:, :, : now.stop], bias)
            )
            q = layer.cross.q(layer.cross_norm(x)).unflatten(-1, (self.heads, self.size))
            seen = _attend(q.transpose(1, 2), cross[2 * number], cross[2 * number + 1], mask)
            x = x + layer.cross.o(seen)
            x = x + layer.feed(layer.feed_norm(x))
        x = self.model.decoder.final_layer_norm(x) * self.scale
        logits: Tensor = self.model.lm_head(x)
        return logits


def _attend(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """T5's attention, which does not scale: q (H, heads, b, size) to (H, b, heads · size)."""
    bias = bias.expand(*q.shape[:3], keys.shape[2])
    found = nn.functional.scaled_dot_product_attention(q, keys, values, bias, scale=1.0)
    return found.transpose(1, 2).flatten(2)
