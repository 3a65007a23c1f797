"""The weighted loss of what follows a call (Toolformer, section 2, equation 1).

L_i(z) = −Σ_{j ≥ i} w_{j−i} log p(x_j | z, x_1:j−1) with w_t = w̃_t / Σ_s w̃_s, w̃_t = max(0, 1 − 0.2 t),
so that five tokens count. z stands before the whole text (`prefix`, the paper's way, for models that
have not seen calls inside texts) or right before x_i (`inline`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from attrs import field, frozen

from kdst_toolformer.reading import trees
from kdst_toolformer.reading.forward import MAX_LOGITS, CausalModel, batches, log_p
from kdst_toolformer.reading.trees import ROOT, Tree
from kdst_toolformer.settings import Placement
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.calls.windows import HORIZON, Window

_TILDE = [max(0.0, 1 - 0.2 * t) for t in range(HORIZON)]
WEIGHTS = tuple(w / sum(_TILDE) for w in _TILDE)
"""w_0 … w_4 = (1, 0.8, 0.6, 0.4, 0.2) / 3."""

BRANCHES = (256, 1024)
"""Tokens of calls that share one reading of a text: at least, and at most. Longer texts have more,
since they cost more to read again; too many cost in attention, where each is held against all."""


@frozen
class Query:
    """One loss to compute: of z (tokens, none for L_i(ε)) at index i of a window."""

    window: int
    index: int
    z: tuple[int, ...]


@frozen
class Plan:
    """A tree to read and, for each query that it answers, the nodes whose logits count, in order."""

    tree: Tree = field(factory=Tree)
    nodes: list[tuple[int, list[int]]] = field(factory=list)


class Scorer:
    """Computes L_i(z) for many z at once: what several of them read is read once, up to x_{i+3}."""

    def __init__(
        self, model: CausalModel, tokens: CallTokens, placement: Placement, budget: int
    ) -> None:
        self.model, self.tokens = model, tokens
        self.placement, self.budget = placement, model.most(budget)

    def __call__(self, windows: Sequence[Window], queries: Sequence[Query]) -> list[float]:
        """Return the loss of every query."""
        make = self._prefix if self.placement == "prefix" else self._inline
        plans = list(make(windows, queries))
        most = max((sum(len(nodes) for _, nodes in plan.nodes) for plan in plans), default=1)
        rows = max(1, MAX_LOGITS // (max(1, most) * self.model.vocabulary))
        losses = [0.0] * len(queries)
        for chosen in batches([len(plan.tree) for plan in plans], self.budget, rows):
            for q, loss in self._losses([plans[i] for i in chosen], windows, queries):
                losses[q] = loss
        return losses

    def _prefix(self, windows: Sequence[Window], queries: Sequence[Query]) -> Iterator[Plan]:
        """z, then the text: one reading of each distinct z and window, as far as any of its i needs."""
        groups: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
        for q, query in enumerate(queries):
            groups[query.window, query.z].append(q)
        for (window, z), members in groups.items():
            plan, ids = Plan(), windows[window].ids
            lead = [*self.tokens.prefix, *z]
            last = max(queries[q].index for q in members)
            nodes = plan.tree.add([*lead, *ids[: last + seen(windows[window], last)]])
            for q in members:
                counting = self._counting(nodes, len(lead), windows[window], queries[q])
                plan.nodes.append((q, counting))
            yield plan

    def _inline(self, windows: Sequence[Window], queries: Sequence[Query]) -> Iterator[Plan]:
        """The text, and calls branching off it: what the calls at one position share is read once."""
        by_window: dict[int, list[int]] = defaultdict(list)
        for q, query in enumerate(queries):
            by_window[query.window].append(q)
        for window, members in by_window.items():
            least, most = BRANCHES
            size = min(max(4 * len(windows[window].ids), least), most)
            logits = max(1, MAX_LOGITS // (HORIZON * self.model.vocabulary))
            part, tokens = list[int](), 0
            for q in sorted(members, key=lambda q: queries[q].index):
                tokens += len(queries[q].z) + HORIZON - 1 if queries[q].z else 0
                if part and (tokens > size or len(part) == logits):
                    yield self._branching(windows[window], queries, part)
                    part, tokens = [], len(queries[q].z) + HORIZON - 1
                part.append(q)
            yield self._branching(windows[window], queries, part)

    def _branching(self, window: Window, queries: Sequence[Query], members: list[int]) -> Plan:
        """One tree: a text as far as needed, and the calls of some queries."""
        plan, lead = Plan(), len(self.tokens.prefix)
        reach = max(
            queries[q].index + (0 if queries[q].z else seen(window, queries[q].index))
            for q in members
        )
        trunk = plan.tree.add([*self.tokens.prefix, *window.ids[:reach]])
        for q in members:
            query = queries[q]
            if not query.z:
                plan.nodes.append((q, self._counting(trunk, lead, window, query)))
                continue
            before = lead + query.index - 1
            following = window.ids[query.index : query.index + seen(window, query.index)]
            nodes = plan.tree.add([*query.z, *following], trunk[before] if before >= 0 else ROOT)
            plan.nodes.append((q, nodes[len(query.z) - 1 :]))
        return plan

    def _counting(self, nodes: Sequence[int], lead: int, window: Window, query: Query) -> list[int]:
        """The nodes that predict x_i to x_{i+4}, of the nodes of a text behind `lead` tokens."""
        first = lead + query.index - 1
        return list(nodes[max(first, 0) : first + seen(window, query.index) + 1])

    def _losses(
        self, plans: Sequence[Plan], windows: Sequence[Window], queries: Sequence[Query]
    ) -> Iterator[tuple[int, float]]:
        """The losses of the queries of some trees, from one call of the model."""
        rows, columns, targets = list[int](), list[int](), list[int]()
        answers: list[tuple[int, int]] = []
        for row, plan in enumerate(plans):
            for q, nodes in plan.nodes:
                ids = windows[queries[q].window].ids[queries[q].index :][:HORIZON]
                rows += [row] * len(nodes)
                columns += nodes
                targets += ids[len(ids) - len(nodes) :]
                answers.append((q, len(ids)))
        logits = trees.read(self.model, [plan.tree for plan in plans], (rows, columns))
        nll = (-log_p(logits, torch.tensor(targets, device=logits.device))).double().tolist()
        done = 0
        for (q, count), nodes in zip(answers, (n for p in plans for _, n in p.nodes), strict=True):
            own = nll[done : done + len(nodes)]
            done += len(nodes)
            yield q, weighted([0.0] * (count - len(own)) + own)


def seen(window: Window, index: int) -> int:
    """How many of x_i, x_{i+1}, … are read to predict x_i to x_{i+4}; fewer at the end of a text."""
    return min(HORIZON, len(window.ids) - index) - 1


def weighted(nll: Sequence[float]) -> float:
    """Σ_t w_t nll_t over the at most five tokens that follow; fewer at the end of a text."""
    return sum(w * value for w, value in zip(WEIGHTS, nll, strict=False))
