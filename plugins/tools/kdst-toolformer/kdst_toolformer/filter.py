"""Filtering API calls (Toolformer, section 2): a call stays when its result lowers the loss by τ_f.

L⁺ = L_i(e(c, r)), L⁻ = min(L_i(ε), L_i(e(c, ε))); keep when L⁻ − L⁺ ≥ τ_f. Where L_i(ε) − L⁺ < τ_f
already, L_i(e(c, ε)) cannot change that.
"""

from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from kdst_core.contracts import Document, ToolCall
from kdst_toolformer.score import Query, Scorer
from kdst_toolformer.settings import ToolSettings
from kdst_tools.tokens import CallTokens
from kdst_tools.windows import HORIZON, Window, windows


@frozen
class _Scored:
    """Number of a call, and of the queries of its three losses."""

    call: int
    empty: int
    alone: int
    full: int


class Filter:
    """Scores executed calls and says which stay; at one position at most one does."""

    def __init__(
        self,
        scorer: Scorer,
        tokens: CallTokens,
        settings: dict[str, ToolSettings],
        window_size: int,
        most: int,
        deciding: bool = False,
    ) -> None:
        self.scorer, self.tokens, self.settings = scorer, tokens, settings
        self.window_size, self.most, self.deciding = window_size, most, deciding

    def __call__(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Return the calls with losses, gain, and whether and why not they are kept."""
        found = list(calls)
        parts, place = self._parts(shard, calls)
        queries: list[Query] = []
        nothing: dict[tuple[int, int], int] = {}
        scored: list[_Scored] = []
        for number, call in enumerate(calls):
            if call.result is None:
                continue
            where = place[call.doc, call.window]
            pair = self._pair(where, parts[where], call)
            if pair is None:
                found[number] = evolve(call, reason="does not fit the context")
                continue
            here = where, call.position - parts[where].start
            if here not in nothing:
                nothing[here] = len(queries)
                queries.append(Query(*here, ()))
            scored.append(_Scored(number, nothing[here], len(queries), len(queries) + 1))
            queries += pair
        for one, losses in zip(scored, self._losses(parts, queries, calls, scored), strict=True):
            found[one.call] = self._judge(calls[one.call], *losses)
        return self._best(found)

    def _losses(
        self,
        parts: Sequence[Window],
        queries: Sequence[Query],
        calls: Sequence[ToolCall],
        scored: Sequence[_Scored],
    ) -> Iterator[tuple[float, float | None, float]]:
        """L_i(ε), L_i(e(c, ε)) and L_i(e(c, r)) of each call; the second only if it is to be known."""
        alone = {one.alone for one in scored} if self.deciding else set()
        known = self._known(parts, queries, [q for q in range(len(queries)) if q not in alone])
        if alone:
            could = [
                one.alone
                for one in scored
                if known[one.empty] - known[one.full] >= self._tau_f(calls[one.call])
            ]
            known |= self._known(parts, queries, could)
        for one in scored:
            yield known[one.empty], known.get(one.alone), known[one.full]

    def _known(
        self, parts: Sequence[Window], queries: Sequence[Query], chosen: Sequence[int]
    ) -> dict[int, float]:
        """The losses of chosen queries, by number."""
        losses = self.scorer(parts, [queries[q] for q in chosen])
        return dict(zip(chosen, losses, strict=True))

    def _tau_f(self, call: ToolCall) -> float:
        """The filtering threshold of a call's tool."""
        return self.settings[call.tool].tau_f

    def _parts(
        self, shard: Sequence[Document], calls: Sequence[ToolCall]
    ) -> tuple[list[Window], dict[tuple[str, int], int]]:
        """The windows in which calls stand, and the place of each by document and first token."""
        needed = {(call.doc, call.window) for call in calls if call.result is not None}
        chosen = [d for d in shard if any(d.id == doc for doc, _ in needed)]
        parts = [
            window
            for document in chosen
            for window in windows(document, self.tokens, self.window_size)
            if (document.id, window.start) in needed
        ]
        return parts, {(w.document.id, w.start): i for i, w in enumerate(parts)}

    def _pair(self, where: int, window: Window, call: ToolCall) -> tuple[Query, Query] | None:
        """The queries of e(c, ε) and e(c, r), or None where the context is too short for them."""
        index = call.position - window.start
        alone = self.tokens.call(call.tool, call.input)
        full = self.tokens.call(call.tool, call.input, call.result)
        length = len(self.tokens.prefix) + index + len(full) + HORIZON
        if length > self.scorer.model.context:
            return None
        return Query(where, index, tuple(alone)), Query(where, index, tuple(full))

    def _judge(self, call: ToolCall, empty: float, alone: float | None, full: float) -> ToolCall:
        """A call with its losses and gain; kept when the gain reaches τ_f.

        Without L_i(e(c, ε)) the gain is at most what it is against L_i(ε), which is below τ_f.
        """
        gain = (empty if alone is None else min(empty, alone)) - full
        tau_f = self._tau_f(call)
        kept = gain >= tau_f
        reason = "" if kept else f"gain below {tau_f:g}"
        return evolve(
            call, L_empty=empty, L_call=alone, L_full=full, gain=gain, kept=kept, reason=reason
        )

    def _best(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Keep the best call of each position, and the best `most` of each document (0: all)."""
        order = sorted(
            (i for i, call in enumerate(calls) if call.kept), key=lambda i: -(calls[i].gain or 0.0)
        )
        found = list(calls)
        positions: set[tuple[str, int]] = set()
        count: dict[str, int] = {}
        for i in order:
            call = calls[i]
            reason = ""
            if (call.doc, call.position) in positions:
                reason = "another call here gains more"
            elif self.most and count.get(call.doc, 0) == self.most:
                reason = "other calls in the text gain more"
            if reason:
                found[i] = evolve(call, kept=False, reason=reason)
                continue
            positions.add((call.doc, call.position))
            count[call.doc] = count.get(call.doc, 0) + 1
        return found
