"""Attention together with each query's total, the sum of its exponentials.

With the total any columns of a map cost no more than these columns: exp(score − log total).
"""

from typing import Any

import torch
from torch import Tensor

from kdst_edit.control.reads import Reads

KERNEL = "_scaled_dot_product_flash_attention_for_cpu"
"""What scaled-dot-product attention is on a CPU; it computes the totals in any case."""


def gives_totals(*parts: Tensor) -> bool:
    """Whether attention of these queries, keys and values (rows, H, N, d) can give its totals here."""
    return hasattr(torch.ops.aten, KERNEL) and all(
        part.device.type == "cpu"
        and part.is_floating_point()
        and part.stride(-1) == 1
        and part.shape[-1] == parts[0].shape[-1]
        and not (part.requires_grad and torch.is_grad_enabled())
        for part in parts
    )


def totalled(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return outputs (rows, H, Q, d) of attention, and the logarithms (rows, H, Q) of its totals.

    mask: added to the scores, (rows, H, 1 or Q, N).
    """
    kernel: Any = getattr(torch.ops.aten, KERNEL)
    found: tuple[Tensor, Tensor] = kernel(query, key, value, attn_mask=mask)
    return found


def columns(
    query: Tensor, key: Tensor, logs: Tensor, reads: Reads, mask: Tensor | None = None
) -> dict[int, Tensor]:
    """Return what is read (P, K) in each row of `reads.rows`, mean over heads.

    query: (n, H, P, d) of these rows. key: (n, H, T, d) of the text. logs: (n, H, P), logarithms of the
    totals. mask: as attention has it, of the text.
    """
    assert reads.sums is not None
    assert reads.tokens is not None
    scores = query @ key[:, :, reads.tokens].mT * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask[..., reads.tokens]
    maps = (scores - logs[..., None]).exp_().mean(1, dtype=torch.float32)
    return dict(zip(reads.rows, maps @ reads.sums, strict=True))
