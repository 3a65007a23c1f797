"""Sampling API calls (Toolformer, section 2): where a call may stand, and which one it may be.

p_i = p(<API> | P(x), x_1:i−1) is computed for all positions i of a text in one pass. The at most k
positions with p_i > τ_s are kept, and m calls are sampled at each, up to </API>. A prompted model sees
the few-shot prompt P(x) of one tool at a time; a model that was warmed up on demonstrations sees the
text alone and names the tool itself, once for all tools.
"""

from collections.abc import Iterator, Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Document, Tool, ToolCall
from kdst_toolformer import prompts
from kdst_toolformer.reading.complete import Completion, Start
from kdst_toolformer.reading.draws import generator
from kdst_toolformer.reading.forward import (
    MAX_LOGITS,
    CausalModel,
    batches,
    log_p,
    require_room,
)
from kdst_toolformer.reading.memory import Memory, together
from kdst_toolformer.settings import ToolSettings
from kdst_tools.calls import read_body
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.calls.windows import HORIZON, Window, windows
from kdst_tools.corpora.heuristics import likely

Read = tuple[list[Window], Memory, list[int], list[list[float]]]
"""Windows, what was read of them, where in it each text starts, and all p_i."""


@frozen
class Place:
    """One position i of a window at which calls are sampled. rank: by p_i, from 0."""

    row: int
    index: int
    p: float
    rank: int


@frozen
class Drawn:
    """What was sampled in a batch: m sequences of tokens after <API> at each place."""

    tool: Tool | None
    batch: Sequence[Window]
    places: Sequence[Place]
    written: Sequence[Sequence[Sequence[int]]]


class Sampler:
    """Samples calls. prompted: with the prompt of each tool, or else with no prompt at all.

    Prompts are read once; what was read of a text is shared by all its positions and samples.
    """

    def __init__(
        self,
        model: CausalModel,
        tokens: CallTokens,
        tools: Sequence[Tool],
        settings: dict[str, ToolSettings],
        *,
        prompted: bool,
        seed: int,
        max_input: int,
        temperature: float,
        budget: int,
        agree: int = 0,
        likely_only: bool = False,
    ) -> None:
        """Take what to sample with. agree: samples of a position whose agreement ends it, 0 for none.
        likely_only: leave out texts that are not likely to need a tool."""
        self.model, self.tokens, self.settings = model, tokens, settings
        self.agree, self.likely_only = agree, likely_only
        self.prompted, self.seed, self.budget = prompted, seed, budget
        self.max_input = max_input
        self.passes: list[tuple[Tool | None, ToolSettings]]
        if prompted:
            self.passes = [(tool, settings[tool.name]) for tool in tools]
        else:
            self.passes = [(None, widest(list(settings.values())))]
        self._heads: dict[str, Memory] = {}
        self._ends = ending_tokens(tokens, model.vocabulary)
        self._names: tuple[str, ...] = tuple(settings)
        self._head_tokens = max(len(tokens.head(name, "")) for name in settings)
        self._judged: dict[tuple[int, ...], bool] = {}
        self.complete = Completion(model, tokens.start_id, self._ended, temperature, budget)

    def window_size(self) -> int:
        """Tokens of text that fit the context beside prompt and call; KdstError when too few do."""
        room = self.model.context - self.max_input - HORIZON - len(self.tokens.prefix)
        if not self.prompted:
            require_room(room, "calls", self.model.context)
            return room
        longest = max(len(self._head_ids(tool)) for tool, _ in self.passes if tool is not None)
        frame = len(self.tokens.encode(prompts.before("")).ids)
        size = (room - longest - frame - 8) // 2
        require_room(size, "the examples of the tools", self.model.context)
        return size

    def __call__(self, shard: Sequence[Document]) -> list[ToolCall]:
        """Return the distinct calls sampled in each document, by document and position."""
        found = [call for drawn in self.draw(shard) for call in self.records(drawn)]
        order = {document.id: i for i, document in enumerate(shard)}
        names = {name: i for i, name in enumerate(self.settings)}
        return sorted(found, key=lambda c: (order[c.doc], c.position, names[c.tool], c.window))

    def draw(self, shard: Sequence[Document]) -> Iterator[Drawn]:
        """Yield what is sampled in each batch of windows, for each tool."""
        size = self.window_size()
        parts = [w for d in shard for w in windows(d, self.tokens, size) if w.positions]
        for tool, settings in self.passes:
            self._names = tuple(self.settings) if tool is None else (tool.name,)
            self._judged = {}
            own = [w for w in parts if tool is None or self._wants(tool.name, w)]
            for batch, memory, first, p in self._gathered(self.positions(own, tool), settings.k):
                places = [
                    place
                    for row, window in enumerate(batch)
                    for place in self.choose(row, window, p[row], settings)
                ]
                written = self.calls(batch, memory, first, places, settings.m, tool)
                yield Drawn(tool, batch, places, written)

    def _head_ids(self, tool: Tool) -> list[int]:
        """Tokens of the part of a tool's prompt that all texts share."""
        return self.tokens.prefix + self.tokens.encode(prompts.head(tool)).ids

    def _head(self, tool: Tool | None, rows: int, room: int) -> Memory:
        """What each text's row has read before the text: the shared part of the prompt, or nothing."""
        if tool is None:
            return self.model.empty(rows, room)
        if tool.name not in self._heads:
            ids, real = self.model.pad([self._head_ids(tool)])
            _, self._heads[tool.name] = self.model.read(self.model.empty(1), ids, real, keep=1)
        head = self._heads[tool.name]
        nobody = torch.zeros(rows, dtype=torch.long, device=self.model.device)
        return self.model.branch(head, nobody, head.lengths[nobody], room)

    def positions(self, parts: Sequence[Window], tool: Tool | None) -> Iterator[Read]:
        """Yield batches of windows: what was read, where in it each text starts, and all p_i."""
        before = [self._before(w, tool) for w in parts]
        sizes = [len(b) + len(w.ids) for b, w in zip(before, parts, strict=True)]
        longest = max((len(w.ids) for w in parts), default=1)
        rows = max(1, MAX_LOGITS // (longest * self.model.vocabulary))
        shared = len(self._head_ids(tool)) if tool is not None else 0
        for chosen in batches(sizes, self.model.most(self.budget), rows):
            batch, lead = [parts[i] for i in chosen], [len(before[i]) for i in chosen]
            ids, real = self.model.pad([before[i] + parts[i].ids for i in chosen])
            memory = self._head(tool, len(batch), ids.shape[1])
            p, memory = self._start_p(memory, ids, real, batch, lead)
            yield batch, memory, [shared + first for first in lead], p

    def _gathered(self, found: Iterator[Read], k: int) -> Iterator[Read]:
        """Batches of windows put together as far as memory allows, where a step costs what it reads of
        the weights: their samples are then drawn side by side."""
        most = self.model.remembered(8 * self.budget) // 2
        held: list[Read] = []
        for part in found:
            rows = sum(len(batch) for batch, *_ in [*held, part])
            width = part[1].mask.shape[1] + k * (self.max_input + 1)
            if held and rows * width > most:
                yield _joined(held)
                held = []
            held.append(part)
        if held:
            yield _joined(held)

    def _start_p(
        self, memory: Memory, ids: Tensor, real: Tensor, batch: Sequence[Window], lead: list[int]
    ) -> tuple[list[list[float]], Memory]:
        """p_i of every position of texts that stand behind `lead` tokens; 0 where nothing is before."""
        places = [
            (row, first + i - 1)
            for row, (window, first) in enumerate(zip(batch, lead, strict=True))
            for i in range(len(window.ids))
            if first + i > 0
        ]
        wanted = [row for row, _ in places], [column for _, column in places]
        logits, memory = self.model.read(memory, ids, real, wanted=wanted)
        start = torch.full((len(places),), self.tokens.start_id, device=logits.device)
        found = iter(log_p(logits, start).exp().tolist())
        return [
            [next(found) if first + i > 0 else 0.0 for i in range(len(window.ids))]
            for window, first in zip(batch, lead, strict=True)
        ], memory

    def _before(self, window: Window, tool: Tool | None) -> list[int]:
        """Tokens before a text that only it has."""
        if tool is None:
            return list(self.tokens.prefix)
        return self.tokens.encode(prompts.before(window.text)).ids

    def choose(
        self, row: int, window: Window, p: Sequence[float], settings: ToolSettings
    ) -> list[Place]:
        """The at most k likeliest positions with p_i > τ_s, in the order of the text."""
        likely = [i for i in window.positions if p[i] > settings.tau_s]
        ranked = sorted(likely, key=lambda i: (-p[i], i))[: settings.k]
        return sorted(
            (Place(row, i, p[i], rank) for rank, i in enumerate(ranked)), key=lambda q: q.index
        )

    def calls(
        self,
        batch: Sequence[Window],
        memory: Memory,
        first: Sequence[int],
        places: Sequence[Place],
        m: int,
        tool: Tool | None,
    ) -> list[list[list[int]]]:
        """Sample m calls at each place; return the tokens that follow <API>.

        In stages, the first samples of a place are drawn for all places, and the others only where
        those do not agree. A sample is the same whether others are drawn or not.
        """
        draws = self._draws(batch, places, m, tool)
        ends = [first[place.row] + place.index for place in places]
        few = min(self.agree, m) or m

        def drawn(chosen: Sequence[int], part: slice) -> list[list[list[int]]]:
            starts = [Start(places[n].row, ends[n], u) for n in chosen for u in draws[n][part]]
            written = iter(self.complete(memory, starts))
            return [[next(written) for _ in draws[n][part]] for n in chosen]

        found = drawn(range(len(places)), slice(few))
        if few < m:
            open_ = [n for n, samples in enumerate(found) if not self._agreed(samples)]
            for n, more in zip(open_, drawn(open_, slice(few, m)), strict=True):
                found[n] += more
        return found

    def _agreed(self, samples: Sequence[Sequence[int]]) -> bool:
        """Whether samples are all the same call, or all no call."""
        bodies = {None if body is None else read_body(body) for body in map(self.body, samples)}
        return len(bodies) == 1

    def _wants(self, name: str, window: Window) -> bool:
        """Whether calls of a tool are sampled in a window's text."""
        return not self.likely_only or likely(name, window.document)

    def _draws(
        self, batch: Sequence[Window], places: Sequence[Place], m: int, tool: Tool | None
    ) -> list[Tensor]:
        """Uniform numbers (m, max_input) for each place, from the window's own generator."""
        name = tool.name if tool else ""
        sources = [generator(self.seed, "sample", w.document.id, str(w.start), name) for w in batch]
        return [torch.rand(m, self.max_input, generator=sources[q.row]) for q in places]

    def _ended(self, written: Sequence[int]) -> bool:
        """Whether a call ends with its last token, or can no longer become one."""
        if len(written) <= self._head_tokens and self._no_call(tuple(written)):
            return True
        last = written[-1]
        if last not in self._ends:
            return False
        return last == self.tokens.eos or self.body(written) is not None

    def _no_call(self, written: tuple[int, ...]) -> bool:
        """`hopeless`, known once for the many samples that begin alike."""
        if written not in self._judged:
            self._judged[written] = hopeless(self.tokens.decode(written), self._names)
        return self._judged[written]

    def body(self, written: Sequence[int]) -> str | None:
        """What stands between <API> and </API> or the arrow, or None where neither came."""
        text = self.tokens.decode(written)
        ends = [e for e in (text.find("]"), text.find("->")) if e >= 0]
        return text[: min(ends)] if ends else None

    def records(self, drawn: Drawn) -> list[ToolCall]:
        """The distinct calls of known tools that their settings allow."""
        found: dict[tuple[int, int, str, str], ToolCall] = {}
        for place, samples in zip(drawn.places, drawn.written, strict=True):
            window = drawn.batch[place.row]
            for number, written in enumerate(samples):
                body = self.body(written)
                call = read_body(body) if body is not None else None
                if call is None or not self._allowed(call.tool, place, number, drawn.tool):
                    continue
                if not self._wants(call.tool, window):
                    continue
                found.setdefault(
                    (place.row, place.index, call.tool, call.input),
                    ToolCall(
                        window.document.id,
                        window.start + place.index,
                        call.tool,
                        call.input,
                        p=place.p,
                        window=window.start,
                        offset=window.offsets[place.index],
                    ),
                )
        return list(found.values())

    def _allowed(self, name: str, place: Place, sample: int, tool: Tool | None) -> bool:
        """Whether a call is one of the tool that was asked for, within that tool's own numbers."""
        own = self.settings.get(name)
        if own is None or (tool is not None and name != tool.name):
            return False
        return place.p > own.tau_s and place.rank < own.k and sample < own.m


def _joined(parts: list[Read]) -> Read:
    """Several readings as one; the list is emptied, so that their memories are not held twice."""
    batches, memories, firsts, found = zip(*parts, strict=True)
    parts.clear()
    rows = [window for batch in batches for window in batch]
    first = [start for starts in firsts for start in starts]
    return rows, together(memories), first, [p for own in found for p in own]


def hopeless(text: str, names: Sequence[str]) -> bool:
    """Whether what stands behind <API> is no beginning of a call of one of the names: most samples of a
    model that was not trained on calls are none, and reading on with them finds nothing."""
    begun = text.lstrip().rstrip("\N{REPLACEMENT CHARACTER}")
    for name in names:
        behind = begun[len(name) :].lstrip()
        if name.startswith(begun) or (begun.startswith(name) and behind[:1] in ("", "(")):
            return False
    return True


def widest(settings: Sequence[ToolSettings]) -> ToolSettings:
    """Settings that sample whatever any of the given ones would."""
    return ToolSettings(
        tau_s=min(s.tau_s for s in settings),
        k=max(s.k for s in settings),
        m=max(s.m for s in settings),
    )


def ending_tokens(tokens: CallTokens, vocabulary: int) -> frozenset[int]:
    """Tokens with which a call can end: those with `]` or `>` in them, and the end of the text."""
    size = min(vocabulary, len(tokens.tokenizer))
    pieces = tokens.tokenizer.convert_ids_to_tokens(list(range(size)))
    found = {i for i, piece in enumerate(pieces) if piece and ("]" in piece or ">" in piece)}
    return frozenset(found | {t for t in (tokens.eos,) if t is not None})
