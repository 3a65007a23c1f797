"""Weights set by hand before training: an induction circuit in the first two layers.

Two heads of the first layer look one and two tokens back and write down what they see. The heads of
the second layer look for the place whose token before is the present one, and copy what stands
there. Training starts from that instead of having to find it.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

THETA = 1e6
"""Base of the rotary angles: most pairs of dimensions hardly turn within the context, so that heads
can also meet by what tokens are."""
SHARPNESS = 8.0
"""How much likelier, in nats, a head that looks back starts at its token than beside it."""
FAST = 4
"""Pairs of rotary dimensions, those that turn fastest, that a head looks back by."""
SLOW = 5
"""First pair of those that turn slowly enough to compare tokens by."""
SEEN = 0.125
"""Scale of what the first layer writes down."""
MATCH = 1.8
"""Scale of queries and keys of the second layer."""
COPIED = 0.25
"""Scale of what the second layer copies."""
QUIET = 0.1
"""Scale of all else at first: other parts' outputs, tokens outside their half of the dimensions."""


@torch.no_grad()
def start_copying(model: Any, generator: Generator) -> None:
    """Set embeddings and the first two layers of a Llama with biases in its attention to copy.

    Tokens take one half of the dimensions; what stood one and two tokens back takes a quarter each.
    """
    width, heads = model.config.hidden_size, model.config.num_attention_heads
    size, half = width // heads, width // 2
    axes = orthonormal(width, generator)
    own, before = axes[:half], axes[half:].split(half // 2)
    embeddings = model.model.embed_tokens.weight
    inside = embeddings @ own.T @ own * 2**0.5
    embeddings.copy_(inside + QUIET * (embeddings - inside))
    for layer in model.model.layers:
        layer.mlp.down_proj.weight *= QUIET
        layer.self_attn.o_proj.weight *= QUIET
    read = orthonormal(half, generator)[:size] @ own
    _write_down(model.model.layers[0].self_attn, read, before, size)
    _copy(model.model.layers[1].self_attn, read, before[0], own, size, generator)


def _write_down(attention: Any, read: Tensor, before: Sequence[Tensor], size: int) -> None:
    """Let the first heads look back and write what they read (D, W) into their own dimensions."""
    for head, place in enumerate(before):
        look_back(attention, head, head + 1, size)
        rows = slice(head * size, (head + 1) * size)
        attention.v_proj.weight[rows] = read
        attention.o_proj.weight[:, rows] = SEEN * place.T


def _copy(
    attention: Any, read: Tensor, before: Tensor, own: Tensor, size: int, generator: Generator
) -> None:
    """Let every head find where the token before is the present one; two at a time copy a token."""
    parts = own.split(size)
    for head in range(attention.q_proj.weight.shape[0] // size):
        rows = slice(head * size, (head + 1) * size)
        compare, part = slow_dimensions(size, generator), parts[head % len(parts)]
        attention.q_proj.weight[rows] = MATCH * compare @ read
        attention.k_proj.weight[rows] = MATCH * compare @ before
        attention.v_proj.weight[rows] = part
        attention.o_proj.weight[:, rows] = COPIED * part.T


def orthonormal(size: int, generator: Generator) -> Tensor:
    """Return a random orthonormal matrix (D, D)."""
    q, _ = torch.linalg.qr(torch.randn(size, size, generator=generator))
    return q


def slow_dimensions(size: int, generator: Generator) -> Tensor:
    """Return a random projection (D, D) into the dimensions of a head that turn slowly."""
    rows = torch.arange(size) % (size // 2) >= SLOW
    return orthonormal(size, generator) * rows[:, None]


@torch.no_grad()
def look_back(attention: Any, head: int, distance: int, size: int) -> None:
    """Let a head attend to the token `distance` before, whatever the tokens are.

    With rotary positions a query q at m and a key k at n meet as qᵀR(n − m)k; a constant q and
    k = R(distance)q are most alike at n = m − distance.
    """
    rows, angles = slice(head * size, (head + 1) * size), rotary_angles(size)
    query = torch.zeros(size)
    query[:FAST] = 1.0
    key = rotated(query, distance * angles)
    beside = float(query @ query - query @ rotated(query, angles))
    scale = math.sqrt(SHARPNESS * math.sqrt(size) / beside)
    for projection, bias in ((attention.q_proj, query), (attention.k_proj, key)):
        projection.weight[rows] *= 0.1
        projection.bias[rows] = scale * bias


def rotary_angles(size: int) -> Tensor:
    """Return the angle (D / 2,) that each pair of dimensions turns by from token to token."""
    return THETA ** (-torch.arange(0, size, 2) / size)


def rotated(vector: Tensor, angles: Tensor) -> Tensor:
    """Return a vector (D,) turned by an angle (D / 2,) for each pair (i, i + D / 2)."""
    first, second = vector.chunk(2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin])
