"""Filtering API calls (Toolformer, section 2): a call stays when its result lowers the loss by τ_f.

L⁺ = L_i(e(c, r)), L⁻ = min(L_i(ε), L_i(e(c, ε))); keep when L⁻ − L⁺ ≥ τ_f. Where L_i(ε) − L⁺ < τ_f
already, L_i(e(c, ε)) cannot change that. A screening in fewer bits may tell first which calls are far
below τ_f. Beyond the paper, calls that cheat or say nothing are not scored, and calls that are paid for
the same tokens or repeat each other do not stay together.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

from attrs import evolve, frozen

from kdst_core.contracts import Document, ToolCall
from kdst_toolformer import cheats
from kdst_toolformer.score import Query, Scorer
from kdst_toolformer.settings import ToolSettings
from kdst_tools.calls import escape
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.calls.windows import HORIZON, Window, windows
from kdst_tools.outcome import reasons

MARGIN = 0.25
"""Nats below τ_f down to which a screened call is read again in the model's own precision."""

Losses = tuple[float, float | None, float]
"""L_i(ε), L_i(e(c, ε)) where it is to be known, and L_i(e(c, r))."""


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
        keep_all: bool = False,
        inside: bool = True,
        screen: Scorer | None = None,
    ) -> None:
        """Take thresholds and rules. inside: whether calls may stand inside numbers. screen: reads the
        losses of all calls first, so that the scorer reads only those that may stay."""
        self.screen = screen
        self.scorer, self.tokens, self.settings = scorer, tokens, settings
        self.window_size, self.most, self.deciding = window_size, most, deciding
        self.keep_all, self.inside = keep_all, inside

    def __call__(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Return the calls with losses, gain, and whether and why not they are kept."""
        if not self.keep_all:
            calls = self._honest(shard, calls)
        found = list(calls)
        parts, place = self._parts(shard, calls)
        queries: list[Query] = []
        nothing: dict[tuple[int, int], int] = {}
        scored: list[_Scored] = []
        for number, call in enumerate(calls):
            if call.result is None or call.reason:
                continue
            where = place[call.doc, call.window]
            pair = self._pair(where, parts[where], call)
            if pair is None:
                found[number] = evolve(call, reason=reasons.NO_ROOM)
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

    def _honest(self, shard: Sequence[Document], calls: Sequence[ToolCall]) -> list[ToolCall]:
        """The calls, those that cheat or say nothing with the reason why they are not scored."""
        texts = {document.id: escape(document.text) for document in shard}
        return [
            call
            if call.result is None
            else evolve(call, reason=self._against_honesty(call, texts[call.doc]))
            for call in calls
        ]

    def _against_honesty(self, call: ToolCall, escaped: str) -> str:
        """Why a call is not scored, empty where nothing speaks against it."""
        if not self.inside and cheats.inside_number(escaped, call.offset):
            return reasons.INSIDE
        return cheats.reason(call, escaped)

    def _losses(
        self,
        parts: Sequence[Window],
        queries: Sequence[Query],
        calls: Sequence[ToolCall],
        scored: Sequence[_Scored],
    ) -> list[Losses]:
        """The losses of each call; where it is screened and far below τ_f, those of the screening.

        All are read again where two readings of a call show that the margin is too near.
        """

        def read(scorer: Scorer, chosen: Sequence[_Scored], below: float = 0.0) -> list[Losses]:
            least = [self._tau_f(calls[one.call]) - below for one in chosen]
            return self._read(scorer, parts, queries, chosen, least)

        if self.screen is None:
            return read(self.scorer, scored)
        found = read(self.screen, scored, MARGIN)
        near = [
            n
            for n, one in enumerate(scored)
            if _gain(*found[n]) >= self._tau_f(calls[one.call]) - MARGIN
        ]
        for n, exact in zip(near, read(self.scorer, [scored[n] for n in near]), strict=True):
            if abs(_lowered(*found[n]) - _lowered(*exact)) > MARGIN / 2:
                return read(self.scorer, scored)
            found[n] = exact
        return found

    def _read(
        self,
        scorer: Scorer,
        parts: Sequence[Window],
        queries: Sequence[Query],
        scored: Sequence[_Scored],
        least: Sequence[float],
    ) -> list[Losses]:
        """The losses of calls; where only those that decide are asked for, L_i(e(c, ε)) is left out
        of calls whose gain is below its least without it."""

        def known(chosen: set[int]) -> dict[int, float]:
            order = sorted(chosen)
            return dict(zip(order, scorer(parts, [queries[q] for q in order]), strict=True))

        alone = {one.alone for one in scored}
        found = known(
            {q for one in scored for q in (one.empty, one.full)}
            | (set() if self.deciding else alone)
        )
        if self.deciding:
            found |= known(
                {
                    one.alone
                    for one, bound in zip(scored, least, strict=True)
                    if found[one.empty] - found[one.full] >= bound
                }
            )
        return [(found[one.empty], found.get(one.alone), found[one.full]) for one in scored]

    def _tau_f(self, call: ToolCall) -> float:
        """The filtering threshold of a call's tool."""
        return self.settings[call.tool].tau_f

    def _parts(
        self, shard: Sequence[Document], calls: Sequence[ToolCall]
    ) -> tuple[list[Window], dict[tuple[str, int], int]]:
        """The windows in which calls stand, and the place of each by document and first token."""
        scored = (call for call in calls if call.result is not None and not call.reason)
        needed = {(call.doc, call.window) for call in scored}
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
        gain = _gain(empty, alone, full)
        tau_f = self._tau_f(call)
        kept = gain >= tau_f
        reason = "" if kept else f"{reasons.GAIN} {tau_f:g}"
        return evolve(
            call, L_empty=empty, L_call=alone, L_full=full, gain=gain, kept=kept, reason=reason
        )

    def _best(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Keep the best calls of each document, as far as none speaks against another."""
        order = sorted(
            (i for i, call in enumerate(calls) if call.kept), key=lambda i: -(calls[i].gain or 0.0)
        )
        found = list(calls)
        kept: dict[str, list[ToolCall]] = {}
        for i in order:
            others = kept.setdefault(calls[i].doc, [])
            if reason := self._against(calls[i], others):
                found[i] = evolve(calls[i], kept=False, reason=reason)
            else:
                insort(others, calls[i], key=lambda call: call.position)
        return found

    def _against(self, call: ToolCall, kept: Sequence[ToolCall]) -> str:
        """Why a call is not kept beside better ones of its text, in their order; empty where it is.

        One of a position is, the best `most` of a text (0: all), and unless `keep_all`, one of those
        that are paid for the same following tokens, and no call next to the same one.
        """
        place = bisect_left(kept, call.position, key=lambda other: other.position)
        beside = [*kept[max(0, place - 1) : place], *kept[place : place + 1]]
        if any(other.position == call.position for other in beside):
            return reasons.HERE
        if not self.keep_all:
            if any(spelled(other) == spelled(call) for other in beside):
                return reasons.REPEATS
            if any(abs(other.position - call.position) < HORIZON for other in beside):
                return reasons.NEAR
        return reasons.MOST if self.most and len(kept) >= self.most else ""


def _lowered(empty: float, _: float | None, full: float) -> float:
    """What a call with its result lowers the loss by, against nothing."""
    return empty - full


def _gain(empty: float, alone: float | None, full: float) -> float:
    """What a call's result lowers the loss by; at most, where L_i(e(c, ε)) is not known."""
    return (empty if alone is None else min(empty, alone)) - full


def spelled(call: ToolCall) -> tuple[str, str]:
    """What makes two calls the same: tool and input, spaces and capitals apart."""
    return call.tool, "".join(call.input.casefold().split())
