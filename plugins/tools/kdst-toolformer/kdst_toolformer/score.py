"""The weighted loss of what follows a call (Toolformer, section 2, equation 1).

L_i(z) = −Σ_{j ≥ i} w_{j−i} log p(x_j | z, x_1:j−1) with w_t = w̃_t / Σ_s w̃_s, w̃_t = max(0, 1 − 0.2 t),
so that five tokens count. z stands before the whole text (`prefix`, the paper's way, for models that
have not seen calls inside texts) or right before x_i (`inline`).
"""

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_toolformer.forward import MAX_LOGITS, CausalModel, Memory, batches, log_p
from kdst_toolformer.settings import Placement
from kdst_tools.tokens import CallTokens
from kdst_tools.windows import HORIZON, Window

_TILDE = [max(0.0, 1 - 0.2 * t) for t in range(HORIZON)]
WEIGHTS = tuple(w / sum(_TILDE) for w in _TILDE)
"""w_0 … w_4 = (1, 0.8, 0.6, 0.4, 0.2) / 3."""


@frozen
class Query:
    """One loss to compute: of z (tokens, not empty) at index i of a window."""

    window: int
    index: int
    z: tuple[int, ...]


class Scorer:
    """Computes L_i(z) for many z at once: texts are read once, and only as far as x_{i+4}."""

    def __init__(
        self, model: CausalModel, tokens: CallTokens, placement: Placement, budget: int
    ) -> None:
        self.model, self.tokens = model, tokens
        self.placement, self.budget = placement, budget

    def __call__(
        self, windows: Sequence[Window], queries: Sequence[Query]
    ) -> tuple[list[list[float]], list[float]]:
        """Return L_i(empty) for every index of every window, and the loss of every query."""
        empty: list[list[float]] = [[] for _ in windows]
        losses = [0.0] * len(queries)
        by_window: dict[int, list[int]] = {}
        for q, query in enumerate(queries):
            by_window.setdefault(query.window, []).append(q)
        prefix = len(self.tokens.prefix)
        sizes = [prefix + len(w.ids) for w in windows]
        rows = max(1, MAX_LOGITS // (max(sizes, default=1) * self.model.vocabulary))
        for chosen in batches(sizes, self.budget, rows):
            memory, losses_of_texts = self._read([windows[i] for i in chosen])
            mine = [q for i in chosen for q in by_window.get(i, ())]
            place = {i: row for row, i in enumerate(chosen)}
            for i in chosen:
                empty[i] = losses_of_texts[place[i]]
            for q, loss in self._queries(memory, place, windows, queries, mine):
                losses[q] = loss
        return empty, losses

    def _read(self, windows: Sequence[Window]) -> tuple[Memory, list[list[float]]]:
        """Read texts without calls; return the memory and L_i(empty) of every index."""
        prefix = self.tokens.prefix
        ids, real = self.model.pad([prefix + w.ids for w in windows])
        logits, memory = self.model.read(self.model.empty(len(windows)), ids, real)
        found = -log_p(logits[:, :-1], ids[:, 1:]).double().cpu()
        losses = []
        for row, window in zip(found, windows, strict=True):
            count, lead = len(window.ids), len(prefix)
            nll = row[max(lead - 1, 0) : lead + count - 1].tolist()
            nll = nll if lead else [0.0, *nll]
            losses.append([weighted(nll[i : i + HORIZON]) for i in range(count)])
        return memory, losses

    def _queries(
        self,
        memory: Memory,
        place: dict[int, int],
        windows: Sequence[Window],
        queries: Sequence[Query],
        mine: Sequence[int],
    ) -> list[tuple[int, float]]:
        """The losses of the queries about the texts of a memory, in batches of rows of similar length."""
        inputs = [self._input(windows[queries[q].window], queries[q]) for q in mine]
        kept = memory.mask.shape[1] if self.placement == "inline" else 0
        rows = max(1, min(self.budget * 8 // (kept + 1), MAX_LOGITS // (8 * self.model.vocabulary)))
        found = []
        for chosen in batches([len(i) for i in inputs], self.budget, rows):
            part = [queries[mine[c]] for c in chosen]
            ids, real = self.model.pad([inputs[c] for c in chosen], left=True)
            start = self._start(memory, part, place, ids.shape[1])
            logits, _ = self.model.read(start, ids, real, keep=HORIZON)
            losses = self._losses(logits, windows, part)
            found += [(mine[c], loss) for c, loss in zip(chosen, losses, strict=True)]
        return found

    def _input(self, window: Window, query: Query) -> list[int]:
        """The tokens that a row reads after its memory: their last ones predict x_i to x_{i+4}."""
        seen = window.ids[query.index : query.index + HORIZON - 1]
        if query.index + len(seen) == len(window.ids):
            seen = seen[:-1]
        if self.placement == "inline":
            return [*query.z, *seen]
        return [*self.tokens.prefix, *query.z, *window.ids[: query.index], *seen]

    def _start(
        self, memory: Memory, part: Sequence[Query], place: dict[int, int], room: int
    ) -> Memory:
        """What the rows have read: nothing (`prefix`), or their texts up to x_{i−1} (`inline`)."""
        if self.placement == "prefix":
            return self.model.empty(len(part), room)
        device = self.model.device
        row = torch.tensor([place[q.window] for q in part], device=device)
        index = torch.tensor([q.index + len(self.tokens.prefix) for q in part], device=device)
        return self.model.branch(memory, row, index, room)

    def _losses(
        self, logits: Tensor, windows: Sequence[Window], part: Sequence[Query]
    ) -> list[float]:
        """L_i(z) of each row from the logits (R, 5, V) of its last tokens."""
        targets = [windows[q.window].ids[q.index : q.index + HORIZON] for q in part]
        ids, _ = self.model.pad([[0] * (HORIZON - len(t)) + list(t) for t in targets])
        nll = -log_p(logits, ids[:, -logits.shape[1] :]).double().cpu()
        return [weighted(row[-len(t) :].tolist()) for row, t in zip(nll, targets, strict=True)]


def weighted(nll: Sequence[float]) -> float:
    """Σ_t w_t nll_t over the at most five tokens that follow; fewer at the end of a text."""
    return sum(w * value for w, value in zip(WEIGHTS, nll, strict=False))
