"""Decoding with calls (Toolformer, section 2, inference): at the arrow the tool answers.

A call starts when <API> is among the k likeliest tokens (`top-k`, the paper's k = 10, for vocabularies
of tens of thousands) or when its probability passes a threshold (`probability`). At most `max_calls`
calls an input. A call that fails is recorded and taken back, as if it had not been begun: it does not
count among them, but after MAX_FAILED that failed no other is begun.
"""

from collections.abc import Sequence

import torch
from attrs import field, frozen, mutable
from torch import Tensor

from kdst_core.contracts import Document, Generation, ToolCall
from kdst_core.errors import KdstError
from kdst_toolformer.reading.draws import generator, pick
from kdst_toolformer.reading.forward import CausalModel, batches
from kdst_toolformer.reading.memory import Memory
from kdst_toolformer.settings import Trigger
from kdst_tools.calls import escape, read_body, unescape, write
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.tools.runner import Answer, ToolRunner

MAX_FAILED = 8
"""Calls that may fail in one continuation, so that a model that cannot call does not go on trying."""


@frozen
class Decoding:
    """How text is generated. temperature: 0 is greedy. rows: most continuations in a batch, fewer where
    they would remember more than 8 × budget tokens."""

    trigger: Trigger = "top-k"
    top_k: int = 10
    threshold: float = 0.5
    max_calls: int = 1
    max_tokens: int = 64
    max_input: int = 48
    temperature: float = 0.0
    rows: int = 256
    budget: int = 8192


@mutable
class Row:
    """One continuation under way.

    pieces: tokens of plain text and calls, in order; the last is under way. call: tokens after
    <API>, None outside a call. queue: tokens that it reads before it writes again. read: tokens read,
    those of failed calls not. instead: what it would have written instead of <API>.
    """

    prompt: Document
    length: int
    u: Tensor
    pieces: list[list[int] | ToolCall] = field(factory=lambda: [[]])
    calls: list[ToolCall] = field(factory=list)
    call: list[int] | None = None
    queue: list[int] = field(factory=list)
    read: int = 0
    before_call: int = 0
    instead: int = 0
    p: float = 0.0
    tokens: int = 0
    written: int = 0
    done: bool = False

    def write(self, token: int) -> None:
        """Append a token of plain text."""
        last = self.pieces[-1]
        if isinstance(last, list):
            last.append(token)
        self.queue = [token]
        self.written += 1

    def generation(self, tokens: CallTokens) -> Generation:
        """The continuation as text, plain and with its calls."""
        plain = annotated = ""
        for piece in self.pieces:
            if isinstance(piece, list):
                text = tokens.decode(piece)
                plain, annotated = plain + text, annotated + text
            else:
                annotated += write(piece.tool, piece.input, piece.result)
        return Generation(self.prompt, unescape(plain), annotated, self.calls, self.tokens)


class Generator:
    """Continues prompts in batches, with calls or with calls forbidden."""

    def __init__(
        self,
        model: CausalModel,
        tokens: CallTokens,
        executor: ToolRunner,
        decoding: Decoding,
        seed: int,
    ) -> None:
        self.model, self.tokens, self.executor = model, tokens, executor
        self.decoding, self.seed = decoding, seed

    def __call__(self, prompts: Sequence[Document], tools: bool) -> list[Generation]:
        """Return one continuation a prompt, in order; KdstError for one that leaves no room."""
        ids = [self.tokens.prefix + self.tokens.encode(escape(p.text)).ids for p in prompts]
        for prompt, row in zip(prompts, ids, strict=True):
            self._check(prompt, row)
        found: dict[int, Generation] = {}
        sizes = [len(row) + self._room() for row in ids]
        for chosen in batches(sizes, 8 * self.decoding.budget, self.decoding.rows):
            rows = [self._row(prompts[i], ids[i]) for i in chosen]
            self._decode(rows, [ids[i] for i in chosen], tools)
            found |= {i: r.generation(self.tokens) for i, r in zip(chosen, rows, strict=True)}
        return [found[i] for i in range(len(prompts))]

    def _room(self) -> int:
        """Tokens that a continuation usually adds: plain text, a call and its result."""
        return self.decoding.max_tokens + 2 * self.decoding.max_input

    def _check(self, prompt: Document, ids: Sequence[int]) -> None:
        """Refuse a prompt that is empty or too long; nothing is cropped."""
        if not ids:
            raise KdstError(
                "the prompt is empty, and nothing stands before it; give some text, or --begin-token always"
            )
        most = self.model.context - self.decoding.max_tokens - self.decoding.max_input
        if len(ids) > most:
            raise KdstError(
                f"the prompt {prompt.text[:40]!r}… has {len(ids)} tokens; with --max-tokens"
                f" {self.decoding.max_tokens} the model's context leaves room for {max(most, 0)}"
            )

    def _row(self, prompt: Document, ids: Sequence[int]) -> Row:
        """A continuation that begins, with random numbers of its own."""
        calls = self.decoding.max_calls + MAX_FAILED if self.decoding.max_calls else 0
        count = self.decoding.max_tokens + calls * (self.decoding.max_input + 1) + 1
        u = torch.rand(count, generator=generator(self.seed, "generate", prompt.id))
        return Row(prompt, len(ids), u, read=len(ids))

    def _decode(self, rows: list[Row], ids: list[list[int]], tools: bool) -> None:
        """Carry continuations to their ends."""
        padded, real = self.model.pad(ids, left=True)
        memory = self.model.empty(len(rows), self._room())
        logits, memory = self.model.read(memory, padded, real, keep=1)
        while True:
            memory = self._step(rows, logits[:, 0], memory, tools)
            if all(row.done for row in rows):
                return
            rows, memory = self._under_way(rows, memory)
            reading = torch.tensor([not row.done for row in rows], device=self.model.device)
            next_ids = [0 if row.done else row.queue.pop(0) for row in rows]
            for row in rows:
                row.read += not row.done
            ids_ = torch.tensor(next_ids, device=self.model.device)[:, None]
            logits, memory = self.model.read(memory, ids_, reading[:, None], keep=1)

    def _under_way(self, rows: list[Row], memory: Memory) -> tuple[list[Row], Memory]:
        """Leave out the rows that are done, once they are half of them."""
        places = [i for i, row in enumerate(rows) if not row.done]
        if 2 * len(places) > len(rows):
            return rows, memory
        chosen = torch.tensor(places, device=self.model.device)
        memory = self.model.branch(memory, chosen, memory.lengths[chosen], self._room())
        return [rows[i] for i in places], memory

    def _step(self, rows: list[Row], logits: Tensor, memory: Memory, tools: bool) -> Memory:
        """Let every row that has read its queue write a token; carry out the calls that are ready."""
        plain, p, above = self._choose(rows, logits)
        ready: list[tuple[int, str]] = []
        for i, row in enumerate(rows):
            row.done = row.done or row.read >= self.model.context
            if row.done or row.queue:
                continue
            row.tokens += 1
            if row.call is not None:
                body = self._write_call(row, plain[i])
                ready += [] if body is None else [(i, body)]
            elif tools and self._triggers(row, p[i], above[i]):
                row.call, row.queue = [], [self.tokens.start_id]
                row.before_call, row.instead, row.p = row.read, plain[i], p[i]
            else:
                self._write_plain(row, plain[i])
        return self._answer(rows, ready, memory) if ready else memory

    def _choose(
        self, rows: Sequence[Row], logits: Tensor
    ) -> tuple[list[int], list[float], list[int]]:
        """What each row writes without a call, p(<API>), and how many tokens are likelier."""
        scores = logits if logits.dtype == torch.float64 else logits.float()
        start = scores[:, self.tokens.start_id].clone()
        p = (start - scores.logsumexp(-1)).exp().tolist()
        above = (scores > start[:, None]).sum(-1).tolist()
        without = scores.clone()
        without[:, self.tokens.start_id] = -torch.inf
        u = torch.stack([row.u[min(row.tokens, len(row.u) - 1)] for row in rows])
        chosen = pick(without, u.to(scores.device), self.decoding.temperature).tolist()
        return chosen, p, above

    def _triggers(self, row: Row, p: float, above: int) -> bool:
        """Whether a call begins: one is left, and <API> is likely enough."""
        failed = sum(call.result is None for call in row.calls)
        if len(row.calls) - failed >= self.decoding.max_calls or failed >= MAX_FAILED:
            return False
        if self.decoding.trigger == "top-k":
            return above < self.decoding.top_k
        return p > self.decoding.threshold

    def _write_plain(self, row: Row, token: int) -> None:
        """Append a token of plain text; the end of the text or of the allowance ends the row."""
        if token == self.tokens.eos:
            row.done = True
            return
        row.write(token)
        row.done = row.written >= self.decoding.max_tokens

    def _write_call(self, row: Row, token: int) -> str | None:
        """Append a token of a call; return its body when it has come to its arrow or its end."""
        assert row.call is not None
        row.call.append(token)
        row.queue = [token]
        text = self.tokens.decode(row.call)
        ends = [e for e in (text.find("->"), text.find("]")) if e >= 0]
        if ends:
            return text[: min(ends)]
        over = token == self.tokens.eos or len(row.call) >= self.decoding.max_input
        return text if over else None

    def _answer(
        self, rows: Sequence[Row], ready: Sequence[tuple[int, str]], memory: Memory
    ) -> Memory:
        """Carry out calls: results are read next, calls that failed are taken back."""
        read = [read_body(body) for _, body in ready]
        known = [
            (c.tool, c.input, rows[i].prompt)
            for (i, _), c in zip(ready, read, strict=True)
            if c is not None
        ]
        answers = iter(self.executor(known))
        mask = memory.mask.clone()
        for (i, body), call in zip(ready, read, strict=True):
            row = rows[i]
            answer = next(answers) if call else Answer(None, "is no call of the form Name(input)")
            tool, input = (call.tool, call.input) if call else (body[:80], "")
            position = row.length + row.written
            made = ToolCall(
                row.prompt.id, position, tool, input, answer.result, row.p, reason=answer.reason
            )
            row.calls.append(made)
            if answer.result is None:
                mask[i] &= mask[i].cumsum(0) <= row.before_call
                row.read, row.call = row.before_call, None
                self._write_plain(row, row.instead)
            else:
                self._insert(row, made, answer.result)
        return Memory(memory.cache, mask)

    def _insert(self, row: Row, call: ToolCall, result: str) -> None:
        """Read on behind a call with its result, spelled as in the training texts."""
        read = [self.tokens.start_id, *(row.call or [])[:-1]]
        spelled = self.tokens.call(call.tool, call.input, result)
        usual = spelled[: len(read)] == read
        row.queue = (
            spelled[len(read) :] if usual else self.tokens.arrow + self.tokens.result(result)
        )
        row.pieces += [call, []]
        row.call = None
