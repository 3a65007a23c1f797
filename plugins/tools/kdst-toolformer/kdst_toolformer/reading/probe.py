"""Which way a model is read: with shortcuts where they give its plain logits on two texts, else without.

Shortcuts are a cache with padding in it, texts that share what they have in common (a tree), and
samples that share their text. Attention that counts distances itself, a state instead of attention, or
a window that is not told of make them wrong without an error.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdst_core.errors import KdstError, first_line, typed_line
from kdst_toolformer.reading import trees
from kdst_toolformer.reading.complete import Groups
from kdst_toolformer.reading.forward import CausalModel
from kdst_toolformer.reading.memory import Memory
from kdst_toolformer.reading.plain import PlainModel
from kdst_toolformer.reading.trees import Tree
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.models import configs

TEXTS = ("Out of 1400 people, 400 (or 29%) came.", "It was 3 March; she had 77 apples.")
WITHIN = {torch.float64: 1e-6, torch.float32: 1e-3}
"""How far log-probabilities may be apart, by precision, in half precision `HALF`; below float64 in
units of their spread, where that is over 1."""
HALF = 0.25
CAUSAL = 1e-3
"""How far apart they may be with other tokens behind, at least; several layouts compute in float32."""
MOST = 24
"""Tokens of a text that are read."""


def choose(model: nn.Module, tokens: CallTokens) -> tuple[CausalModel, str]:
    """Return how to read a model, and a sentence for the user where that is the plain way.

    Raises KdstError for what is no causal language model.
    """
    texts = [(tokens.prefix + tokens.encode(text).ids)[:MOST] for text in TEXTS]
    plain, fast = PlainModel(model), CausalModel(model)
    expected = plainly(plain, texts)
    reason = configs.unusual(model)
    if not reason:
        try:
            apart = furthest(steps(fast, texts), expected)
            reason = "" if apart <= WITHIN.get(fast.dtype, HALF) else f"logits {apart:.2g} off"
        except KdstError as e:
            reason = first_line(e)
        except Exception as e:
            reason = typed_line(e)[:120]
    if not reason:
        return fast, ""
    return plain, (
        f"the model {type(model).__name__} is read plainly, text by text without a cache, which takes"
        f" much longer: shared reading meets {reason}"
    )


def plainly(model: PlainModel, texts: Sequence[list[int]]) -> list[Tensor]:
    """Return the plain logits of all steps; KdstError where a model cannot be read, or is not causal."""
    name = type(model.model).__name__
    first = texts[0][: len(texts[0]) // 2]
    try:
        found = steps(model, texts)
        short = _read(model, [first])[0]
    except Exception as e:
        reason = typed_line(e)[:160]
        raise KdstError(
            f"the model {name} cannot be read as a causal language model ({reason}).\nIt must take"
            " input_ids (B, T) and give logits (B, T, V); some layouts do so in --dtype float32 only"
        ) from e
    if not all(bool(logits.isfinite().all()) for logits in (short, found[0])):
        raise KdstError(
            f"the model {name} says what is no number (NaN or infinite logits): its weights are damaged,"
            " or too large for their precision.\nGet the files again, or try --dtype float32"
        )
    apart = furthest([short], [found[0][: len(first)]])
    if apart > max(CAUSAL, WITHIN.get(model.dtype, HALF)):
        raise KdstError(
            f"the model {name} is not causal: what it says of a token changes by {apart:.2g} with the"
            " tokens behind it.\nToolformer needs a language model that reads from left to right"
        )
    return found


def furthest(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return how far log-probabilities are apart at most; infinity where one is no number."""
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        a, b = (logits.double().log_softmax(-1) for logits in (ours, theirs))
        spread = 1.0 if ours.dtype == torch.float64 else max(1.0, float(b.std()))
        apart = float((a - b).abs().max()) / spread
        worst = max(worst, apart if math.isfinite(apart) else math.inf)
    return worst


@torch.inference_mode()
def steps(model: CausalModel, texts: Sequence[list[int]]) -> list[Tensor]:
    """Return the logits (N, V) of every kind of reading that annotating and generating do."""
    whole, memory = _read(model, texts)
    return [whole, _branched(model, texts), *_grouped(model, memory, texts), *_on(model, texts)]


def _read(model: CausalModel, texts: Sequence[list[int]]) -> tuple[Tensor, Memory]:
    """All tokens of texts, with padding behind them."""
    ids, real = model.pad(texts)
    every = [(row, i) for row, text in enumerate(texts) for i in range(len(text))]
    wanted = [row for row, _ in every], [i for _, i in every]
    return model.read(model.empty(len(texts), 8), ids, real, wanted=wanted)


def _branched(model: CausalModel, texts: Sequence[list[int]]) -> Tensor:
    """A tree: the first text, and the second branching off its middle and off its end."""
    tree, other = Tree(), Tree()
    trunk = tree.add(texts[0])
    ends = [tree.add(texts[1][:6], trunk[n])[-1] for n in (len(trunk) // 2, len(trunk) - 1)]
    line = other.add(texts[1])
    wanted = [0, 0, 0, 1], [trunk[-1], *ends, line[-1]]
    return trees.read(model, [tree, other], wanted)


def _grouped(model: CausalModel, memory: Memory, texts: Sequence[list[int]]) -> list[Tensor]:
    """Two samples behind different tokens of each text, which share its memory."""
    lengths = torch.tensor([[len(t) // 2, len(t)] for t in texts], device=model.device)
    rows = torch.arange(len(texts), device=model.device)
    text = model.branch(memory, rows, lengths.amax(1), 8)
    sees = text.mask[:, None, :] & (text.mask.cumsum(1)[:, None, :] <= lengths[:, :, None])
    crowds = [[[2 * row], [2 * row + 1]] for row in range(len(texts))]
    groups = Groups(crowds, lengths, sees, text.cache)
    places = [place for place, _ in groups.live()]
    tokens = [texts[row][column] for row, column in places]
    return [groups.read(model, places, tokens, step) for step in range(2)]


def _on(model: CausalModel, texts: Sequence[list[int]]) -> list[Tensor]:
    """Texts with padding before them, read on by two tokens, the first of which is taken back in one."""
    ids, real = model.pad(texts, left=True)
    logits, memory = model.read(model.empty(len(texts), 8), ids, real, keep=1)
    found = [logits[:, 0]]
    for step in range(2):
        more = torch.tensor([[text[step]] for text in texts], device=model.device)
        logits, memory = model.read(memory, more, torch.ones_like(more, dtype=torch.bool), keep=1)
        found.append(logits[:, 0])
        mask = memory.mask.clone()
        mask[0, -1] = step > 0
        memory = Memory(memory.cache, mask)
    return found
