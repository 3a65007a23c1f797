"""Which calls of conversations help: the loss of what the assistant says next, as Toolformer's filter.

For each call the loss of the assistant's words behind it, up to the next message of the user, is taken
with nothing, with the call alone, and with the call and its result. The call stays when its result
lowers the loss by τ nats against the better of the other two. Calls are judged from the last to the
first, each beside those that stay, so that of two that say the same one is kept.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from attrs import field, frozen, mutable
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_tools.chat.conversations import ChatCall, Message, Row, calls_of, content, without
from kdst_tools.chat.rendering import Renderer, renderer, variants
from kdst_tools.models import configs
from kdst_tools.models.heads import Heads

TOKENS = 8192
"""Tokens of a batch, padding included."""
HORIZON = 64
"""Tokens of the assistant behind a call that count."""


@frozen
class Judged:
    """A call and what it was worth. reason: why it does not stay, or was not judged, which `kept` tells.

    call: its message and place are those of the conversation as it was read.
    """

    call: ChatCall
    L_empty: float | None = None
    L_call: float | None = None
    L_full: float | None = None
    gain: float | None = None
    kept: bool = True
    reason: str = ""


@mutable
class Case:
    """A conversation under judgement. messages: as they are by now. left: calls to judge, last one next."""

    row: Row
    messages: list[Message]
    left: list[ChatCall]
    judged: list[Judged] = field(factory=list)

    def drop(self, call: ChatCall) -> None:
        """Take a call out; the calls before it keep their places, but not the messages that answer them."""
        self.messages = without(self.messages, call)
        self.left = calls_of(self.messages)[: len(self.left)]

    def result(self) -> Row:
        """The conversation with the calls that stay."""
        return {**self.row, "messages": self.messages}


class Usefulness:
    """Judges the calls of conversations with a model. tau: nats that a result must save."""

    def __init__(self, model: Any, tokenizer: Any, tau: float, horizon: int = HORIZON) -> None:
        self.model, self.tau, self.horizon = model.eval(), tau, horizon
        self.heads, self.renderer = Heads(model), renderer(tokenizer)
        self.context = configs.context(model)
        self.device = next(model.parameters()).device

    def __call__(self, rows: Sequence[Row]) -> list[tuple[Row, list[Judged]]]:
        """Return each conversation with the calls that stay, and what became of every call."""
        cases = [Case(row, list(row["messages"]), calls_of(row["messages"])) for row in rows]
        while under_way := [case for case in cases if case.left]:
            self._round(under_way)
        return [(case.result(), case.judged[::-1]) for case in cases]

    def _round(self, cases: Sequence[Case]) -> None:
        """Judge the last call that is left of every conversation."""
        asked: list[tuple[list[int], list[int]]] = []
        places: list[tuple[Case, ChatCall, dict[str, list[int]]]] = []
        for case in cases:
            call = case.left.pop()
            try:
                wanted = queries(self.renderer, case.messages, call, case.row.get("tools"))
                self._check(wanted)
            except KdstError as error:
                case.judged.append(Judged(call, reason=f"not judged: {error}"))
                continue
            numbers: dict[str, list[int]] = {}
            for name, found in wanted.items():
                numbers[name] = list(range(len(asked), len(asked) + len(found)))
                asked += found
            places.append((case, call, numbers))
        losses = self._losses(asked)
        for case, call, numbers in places:
            summed = {name: sum(losses[i] for i in own) for name, own in numbers.items()}
            judged = self._judge(call, summed)
            case.judged.append(judged)
            if not judged.kept:
                case.drop(call)

    def _check(self, wanted: dict[str, list[tuple[list[int], list[int]]]]) -> None:
        """Cut what counts to the horizon; KdstError where it does not fit the context."""
        for found in wanted.values():
            left = self.horizon
            for number, (before, said) in enumerate(found):
                found[number] = before, said[:left]
                left -= len(said[:left])
            found[:] = [(before, said) for before, said in found if said]
            if any(len(before) + len(said) > self.context for before, said in found):
                raise KdstError(f"it does not fit the context of {self.context} tokens")

    def _judge(self, call: ChatCall, losses: dict[str, float]) -> Judged:
        """Compare the three losses of a call."""
        gain = min(losses["L_empty"], losses["L_call"]) - losses["L_full"]
        kept = gain >= self.tau
        reason = "" if kept else f"gains less than {self.tau:g}"
        return Judged(call, **losses, gain=gain, kept=kept, reason=reason)

    @torch.inference_mode()
    def _losses(self, asked: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """The summed losses, in nats, of tokens behind others."""
        losses = [0.0] * len(asked)
        for chosen in _batches([len(b) + len(s) for b, s in asked], TOKENS):
            rows = [asked[i] for i in chosen]
            for i, loss in zip(chosen, self._of_batch(rows), strict=True):
                losses[i] = loss
        return losses

    def _of_batch(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """The losses of a batch; only the tokens that count pass the model's head."""
        width = max(len(before) + len(said) for before, said in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        real = torch.zeros(len(rows), width, dtype=torch.long)
        places, targets = list[tuple[int, int]](), list[int]()
        for row, (before, said) in enumerate(rows):
            whole = [*before, *said]
            ids[row, : len(whole)] = torch.tensor(whole)
            real[row, : len(whole)] = 1
            places += [(row, i - 1) for i in range(len(before), len(whole)) if i > 0]
            targets += [whole[i] for i in range(len(before), len(whole)) if i > 0]
        nll = self._nll(ids, real, places, torch.tensor(targets)).tolist()
        found = [0.0] * len(rows)
        for (row, _), value in zip(places, nll, strict=True):
            found[row] += value
        return found

    def _nll(
        self, ids: Tensor, real: Tensor, places: Sequence[tuple[int, int]], targets: Tensor
    ) -> Tensor:
        """The loss (N,) of the token behind each place (row, column)."""
        rows = torch.tensor([row for row, _ in places], device=self.device)
        columns = torch.tensor([column for _, column in places], device=self.device)
        ids, mask = ids.to(self.device), real.to(self.device)
        targets = targets.to(self.device)
        if self.heads.trunk is None:
            logits = self.model(input_ids=ids, attention_mask=mask).logits[rows, columns]
            return _cross_entropy(logits, targets, self.renderer.start)
        hidden = self.heads.hidden(ids, attention_mask=mask, use_cache=False)[rows, columns]
        parts = [
            _cross_entropy(self.heads.logits(hidden[part]), targets[part], self.renderer.start)
            for part in self.heads.slices(len(targets))
        ]
        return torch.cat(parts)


def _cross_entropy(logits: Tensor, targets: Tensor, start: int | None) -> Tensor:
    """The loss (N,) of targets under logits (N, V), at least in float32, given that no call begins.

    start: the token that begins a call; a model that was about to call would else find any call helpful.
    """
    scores = logits if logits.dtype == torch.float64 else logits.float()
    if start is not None:
        scores = scores.clone()
        scores[targets != start, start] = -torch.inf
    return torch.nn.functional.cross_entropy(scores, targets, reduction="none").double()


def queries(
    renderer: Renderer, messages: Sequence[Message], call: ChatCall, tools: Any
) -> dict[str, list[tuple[list[int], list[int]]]]:
    """Return for each variant what the assistant says behind a call, with what stands before it.

    KdstError where a call has no result, or nothing is said behind it.
    """
    if call.answer is None:
        raise KdstError("it has no result")
    found: dict[str, list[tuple[list[int], list[int]]]] = {}
    following = list(_following(messages, call))
    if not following:
        raise KdstError("nothing is said behind it")
    for name in ("L_empty", "L_call", "L_full"):
        found[name] = [
            (
                renderer.before(variants(messages[:index], call)[name], tools),
                renderer.said(messages, index, tools),
            )
            for index in following
        ]
    return found


def _following(messages: Sequence[Message], call: ChatCall) -> Iterator[int]:
    """The messages of the assistant behind a call's result, up to the next one of the user."""
    assert call.answer is not None
    for index in range(call.answer + 1, len(messages)):
        message = messages[index]
        if message["role"] not in ("assistant", "tool"):
            return
        if message["role"] == "assistant" and (content(message) or message.get("tool_calls")):
            yield index


def _batches(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Indices in batches of about equal size, each at most so many tokens with padding."""
    chosen: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if chosen and (len(chosen) + 1) * sizes[i] > most:
            yield chosen
            chosen = []
        chosen.append(i)
    if chosen:
        yield chosen
