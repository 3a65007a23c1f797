"""Perplexity of a model on plain texts, token by token, long texts in parts."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdst_tools.calls.begin import Begin
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.models import configs
from kdst_tools.models.heads import Heads

ROWS = 32
LONGEST = 8192
"""Tokens that are read at once of a text, where a model has no smaller context."""
TOKENS = 8192
"""Tokens of a batch, padding included; a longer text is a batch of its own."""


@torch.inference_mode()
def perplexity(
    model: nn.Module, tokenizer: Any, texts: Sequence[str], begin: Begin = "auto"
) -> float:
    """Return exp of the mean loss in nats a token of the texts, escaped as training texts are.

    A text longer than the context is read in parts that follow one another. The first token of a text
    counts where there is one before it (`kdst_tools.calls.begin`).
    """
    device, heads = next(model.parameters()).device, Heads(model)
    total, count = 0.0, 0
    for batch, lengths in _batches(model, CallTokens(tokenizer, begin), texts):
        ids = batch.to(device)
        real = torch.arange(ids.shape[1], device=device) < lengths.to(device)[:, None]
        losses = _losses(heads, ids, real.long())
        total += float((losses.double() * real[:, 1:]).sum())
        count += int(real[:, 1:].sum())
    return math.exp(total / count)


def _losses(heads: Heads, ids: Tensor, real: Tensor) -> Tensor:
    """Loss (B, T - 1) of each next token, the vocabulary of a few tokens at a time."""
    if not heads.sliced(ids):
        logits = heads.model(input_ids=ids, attention_mask=real).logits[:, :-1].float()
        return nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    hidden = heads.hidden(ids, attention_mask=real, use_cache=False)[:, :-1].flatten(0, 1)
    targets = ids[:, 1:].flatten()
    losses = [
        nn.functional.cross_entropy(
            heads.logits(hidden[part]).float(), targets[part], reduction="none"
        )
        for part in heads.slices(len(targets))
    ]
    return torch.cat(losses).view(len(ids), -1)


def _batches(
    model: Any, tokens: CallTokens, texts: Sequence[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield tokens (B, T), padded at the right, and their lengths (B,)."""
    context = min(configs.context(model), LONGEST)
    room = context - len(tokens.prefix)
    parts = []
    for text in texts:
        ids = tokens.encode(text).ids
        parts += [tokens.prefix + ids[i : i + room] for i in range(0, len(ids), room)]
    parts = sorted((part for part in parts if len(part) > 1), key=len)
    while parts:
        rows = parts[:ROWS]
        while len(rows) > 1 and len(rows) * len(rows[-1]) > TOKENS:
            rows.pop()
        parts = parts[len(rows) :]
        batch = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for row, ids in zip(batch, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        yield batch, torch.tensor([len(row) for row in rows])
