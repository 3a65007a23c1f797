"""Quick scores of the tiny model while it is trained: a curve, not the figures to report."""

import math
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from kdst_tools.default.texts import documents, problems
from recipes.tools.batches import IGNORED, padded, pool_batches, token_loss


def scores(model: nn.Module, tokenizer: Any, count: int = 128) -> dict[str, float]:
    """Return perplexity on plain text, the loss of copied results, and exact match without tools."""
    return {
        "perplexity": round(perplexity(model, tokenizer, 4 * count), 4),
        "copy_loss": round(copy_loss(model, tokenizer, count), 4),
        "exact_no_tool": exact_without_tools(model, tokenizer, count),
    }


@torch.no_grad()
def perplexity(model: nn.Module, tokenizer: Any, count: int) -> float:
    """Return the perplexity on plain texts without equations that training has not seen."""
    texts = [document.text for document in documents(count, Random("perplexity"))]
    total = tokens = 0.0
    for batch in pool_batches(tokenizer, texts, 64, Random(0)):
        counted = int((batch[:, 1:] != IGNORED).sum())
        total += token_loss(model, batch).item() * counted
        tokens += counted
    return math.exp(total / tokens)


@torch.no_grad()
def copy_loss(model: nn.Module, tokenizer: Any, count: int) -> float:
    """Return the loss a token of an answer that an equation has stated just before, in nats.

    Near ln 10 where nothing is copied, near 0 where copying is learnt.
    """
    drawn = [d for d in documents(8 * count, Random("copy"), 1.0) if d.kind == "equation"][:count]
    losses = []
    for document in drawn:
        place = document.text.rindex(f" {document.answer}")
        before = tokenizer(document.text[:place]).input_ids
        answer = tokenizer(f" {document.answer}").input_ids
        logits = model(input_ids=torch.tensor([before + answer])).logits[0, len(before) - 1 : -1]
        losses.append(F.cross_entropy(logits, torch.tensor(answer)))
    return torch.stack(losses).mean().item()


@torch.no_grad()
def exact_without_tools(model: nn.Module, tokenizer: Any, count: int) -> float:
    """Return the share of held-out problems whose answer is the likeliest text, token by token."""
    right = 0
    for problem in problems(count):
        before = tokenizer(problem.prompt).input_ids
        answer = tokenizer(f" {problem.answer}").input_ids
        logits = model(input_ids=padded([[tokenizer.eos_token_id, *before, *answer]])).logits
        right += logits[0, len(before) : -1].argmax(-1).tolist() == answer
    return right / count
