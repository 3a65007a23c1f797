"""Random numbers that depend on a seed and on what they are for, never on order or workers."""

import hashlib

import torch
from torch import Generator, Tensor


def generator(seed: int, *purpose: str) -> Generator:
    """Return a CPU generator for one purpose."""
    text = "\0".join((str(seed), *purpose)).encode("utf-8", "surrogatepass")
    return Generator().manual_seed(
        int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)
    )


def pick(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    """Draw one token a row: logits (R, V), u (R,) uniform in [0, 1). Temperature 0 is greedy."""
    return pick_from(logits, torch.arange(len(logits)), u, temperature)


def pick_from(logits: Tensor, rows: Tensor, u: Tensor, temperature: float) -> Tensor:
    """Draw a token (N,) for each u (N,) from a row of logits (R, V): rows (N,), several from one."""
    rows = rows.to(logits.device)
    if temperature == 0:
        return logits.argmax(-1)[rows]
    scores = logits if logits.dtype == torch.float64 else logits.float()
    cumulative = (scores / temperature).softmax(-1).cumsum(-1)
    place = rows[:, None].eq(rows).tril(-1).sum(1)
    numbers = cumulative.new_zeros(len(logits), int(place.max()) + 1)
    numbers[rows, place] = u.to(cumulative)
    found = torch.searchsorted(cumulative, numbers * cumulative[:, -1:], right=True)
    return found[rows, place].clamp(max=logits.shape[-1] - 1)
