"""Filtering API calls (Toolformer, section 2): a call stays when its result lowers the loss by τ_f.

L⁺ = L_i(e(c, r)), L⁻ = min(L_i(ε), L_i(e(c, ε))); keep when L⁻ − L⁺ ≥ τ_f.
"""

from collections.abc import Sequence

from attrs import evolve

from kdst_core.contracts import Document, ToolCall
from kdst_toolformer.score import Query, Scorer
from kdst_toolformer.settings import ToolSettings
from kdst_tools.tokens import CallTokens
from kdst_tools.windows import HORIZON, Window, windows


class Filter:
    """Scores executed calls and says which stay; at one position at most one does."""

    def __init__(
        self,
        scorer: Scorer,
        tokens: CallTokens,
        settings: dict[str, ToolSettings],
        window_size: int,
        most: int,
    ) -> None:
        self.scorer, self.tokens, self.settings = scorer, tokens, settings
        self.window_size, self.most = window_size, most

    def __call__(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Return the calls with losses, gain, and whether and why not they are kept."""
        found = list(calls)
        parts, place = self._parts(shard, calls)
        queries: list[Query] = []
        nothing: dict[tuple[int, int], int] = {}
        scored: list[tuple[int, int, int]] = []
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
            scored.append((number, nothing[here], len(queries)))
            queries += pair
        losses = self.scorer(parts, queries)
        for number, empty, own in scored:
            found[number] = self._judge(calls[number], losses[empty], losses[own], losses[own + 1])
        return self._best(found)

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

    def _judge(self, call: ToolCall, empty: float, alone: float, full: float) -> ToolCall:
        """A call with its losses and gain; kept when the gain reaches τ_f."""
        gain = min(empty, alone) - full
        tau_f = self.settings[call.tool].tau_f
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
