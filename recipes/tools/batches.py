"""Texts to padded batches of tokens, and the loss on them."""

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -100
"""The target of tokens that do not count."""


def pool_batches(tokenizer: Any, texts: Sequence[str], batch: int, rng: Random) -> list[Tensor]:
    """Return batches of like lengths in random order, (B, T) each, −100 where a text has ended.

    Every text ends with the end token; half of them begin with it.
    """
    end = tokenizer.eos_token_id
    rows = [[end] * rng.randint(0, 1) + ids + [end] for ids in tokenizer(list(texts)).input_ids]
    rows.sort(key=len)
    groups = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    rng.shuffle(groups)
    return [padded(group) for group in groups]


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return rows of tokens as one tensor (B, T), −100 behind the shorter ones."""
    longest = max(map(len, rows))
    batch = torch.full((len(rows), longest), IGNORED)
    for row, ids in zip(batch, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return batch


def token_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Return the mean loss in nats a token of a batch (B, T)."""
    logits = model(input_ids=batch[:, :-1].clamp(min=0)).logits
    targets = batch[:, 1:].reshape(-1)
    return F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED)
