"""Beam search over a decoder: the b likeliest texts of each encoder row."""

import torch
from attrs import define, frozen
from torch import Tensor

from kdst_vec2text.decoder import Decoder
from kdst_vec2text.models import Inverter

COMPACT = 0.25
"""Rows are dropped once this share of them is finished."""


@frozen
class Candidates:
    """ids: for each row its b token id lists, likeliest first. scores: log-probabilities (H, b)."""

    ids: list[list[list[int]]]
    scores: Tensor


@define
class _Beams:
    """The rows still decoded: their numbers, and what a step needs of each.

    tokens: (H, b, T + 1). places: (H, b, T), the beam in whose place a position of the cache is that
    belongs to each beam, so that caches need no copying when beams change places.
    """

    rows: Tensor
    tokens: Tensor
    scores: Tensor
    done: Tensor
    places: Tensor
    cache: Tensor
    cross: Tensor
    mask: Tensor

    def keep(self, chosen: Tensor) -> None:
        """Keep the chosen rows only."""
        for name in ("rows", "tokens", "scores", "done", "places", "mask"):
            setattr(self, name, getattr(self, name).index_select(0, chosen))
        self.cache, self.cross = (c.index_select(1, chosen) for c in (self.cache, self.cross))

    def ancestry(self, bias: Tensor, t: int) -> Tensor:
        """Bias (H, heads, b, (t + 1) · b) of position t: that of T5 on ancestors, -inf elsewhere."""
        beams = self.places.shape[1]
        own = torch.arange(beams, device=bias.device)
        ancestor = (self.places[:, :, : t + 1, None] == own).flatten(2)[:, None]
        repeated = bias[:, None, t, : t + 1].repeat_interleave(beams, dim=-1)
        return torch.where(ancestor, repeated, -torch.inf)


@torch.inference_mode()
def beam_search(
    network: Inverter,
    decoder: Decoder,
    inputs: tuple[Tensor, Tensor],
    beams: int,
    max_tokens: int,
) -> Candidates:
    """The `beams` likeliest texts for encoder inputs (H, S, d) and mask (H, S); b = 1 is greedy.

    A finished text keeps its place among the b and its log-probability; a row ends when all of its
    texts have. Texts that reach `max_tokens` end there.
    """
    count = len(inputs[0])
    state = _start(network, decoder, inputs, beams, max_tokens)
    bias = decoder.bias(max_tokens).to(state.cache.dtype)
    tokens = state.tokens.new_full((count, beams, max_tokens), network.pad)
    scores = state.scores.clone()
    for t in range(max_tokens):
        last = state.tokens[:, :, t]
        ancestry = state.ancestry(bias, t)
        logits = decoder.step(last, t, state.cache, ancestry, state.cross, state.mask)
        _advance(network, state, logits.float(), t)
        ended = state.done.all(1)
        if t + 1 == max_tokens or bool(ended.all()):
            ended = torch.ones_like(ended)
        elif float(ended.float().mean()) < COMPACT:
            continue
        rows = state.rows[ended]
        tokens[rows, :, : t + 1] = state.tokens[ended, :, 1 : t + 2]
        scores[rows] = state.scores[ended]
        if bool(ended.all()):
            break
        state.keep((~ended).nonzero()[:, 0])
    return Candidates([[list(b) for b in row] for row in tokens.tolist()], scores.cpu())


def _start(
    network: Inverter,
    decoder: Decoder,
    inputs: tuple[Tensor, Tensor],
    beams: int,
    max_tokens: int,
) -> _Beams:
    """Encode once; only the first beam of a row is alive at the start."""
    embeds, mask = inputs
    model = network.encoder_decoder
    hidden = model.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    count, device = len(embeds), embeds.device
    shape = (2 * len(decoder.layers), count, decoder.heads, max_tokens * beams, decoder.size)
    scores = torch.full((count, beams), -torch.inf, device=device)
    scores[:, 0] = 0.0
    hidden_from = torch.zeros(mask.shape, dtype=hidden.dtype, device=device)
    hidden_from.masked_fill_(mask == 0, -torch.inf)
    start = torch.full((count, beams, max_tokens + 1), network.pad, device=device)
    return _Beams(
        torch.arange(count, device=device),
        start,
        scores,
        torch.zeros(count, beams, dtype=torch.bool, device=device),
        torch.arange(beams, device=device)[None, :, None].repeat(count, 1, max_tokens),
        hidden.new_empty(shape),
        decoder.cross(hidden),
        hidden_from[:, None, None],
    )


def _advance(network: Inverter, state: _Beams, logits: Tensor, t: int) -> None:
    """Choose the b best continuations of each row, and where their ancestors are."""
    beams, vocabulary = logits.shape[1:]
    # The b best of all continuations are among the b best of each beam.
    best, words = logits.topk(min(beams, vocabulary), dim=-1)
    values = best - logits.logsumexp(-1, keepdim=True)
    only = torch.zeros_like(values)
    only[..., 1:] = -torch.inf
    values = torch.where(state.done[..., None], only, values)
    words = torch.where(state.done[..., None], network.pad, words)
    totals = (state.scores[..., None] + values).flatten(1)
    state.scores, chosen = totals.topk(beams, dim=-1)
    origin = chosen // values.shape[-1]
    word = words.flatten(1).gather(1, chosen)
    state.done = state.done.gather(1, origin) | (word == network.eos)
    state.tokens = state.tokens.gather(1, origin[..., None].expand_as(state.tokens))
    past = state.places[:, :, : t + 1]
    state.places[:, :, : t + 1] = past.gather(1, origin[..., None].expand_as(past))
    state.tokens[:, :, t + 1] = word
