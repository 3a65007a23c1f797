"""Decoding with calls, by a model that writes what it is told to."""

import sys
from itertools import pairwise

import attrs
import pytest
import torch
from torch import Tensor, nn

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_toolformer.generate import MAX_FAILED, Decoding, Generator
from kdst_toolformer.reading.forward import CausalModel
from kdst_tools.calls import escape
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.models import layouts
from kdst_tools.tools import toolset
from kdst_tools.tools.kit import FunctionTool
from kdst_tools.tools.runner import ToolRunner

TOKENIZER = layouts.tokenizer()
TOKENS = CallTokens(TOKENIZER, "always")
PROMPT = Document("Two and two [sic] is")


def answer(argument, document):
    if argument == "bad":
        raise ValueError("cannot add that")
    return "4 [Sum(1) -> 5]"


SUM = FunctionTool("Sum", "Two numbers.", answer)


class Scripted(nn.Module):
    """Writes a script by position: after the token at position i it prefers script[i + 1].

    second: what it prefers next.
    """

    def __init__(self, script: list[int], second: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.script, self.second = script, second
        self.config = type("C", (), {"vocab_size": len(TOKENIZER), "max_position_embeddings": 256})
        self.seen: list[tuple[int, int]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, **_):
        logits = torch.zeros(*input_ids.shape, len(TOKENIZER))
        logits[..., self.second] = 5.0
        for row, places in enumerate(position_ids.tolist()):
            for column, place in enumerate(places):
                self.seen.append((place, int(input_ids[row, column])))
                if place + 1 < len(self.script):
                    logits[row, column, self.script[place + 1]] = 10.0
        return type("Output", (), {"logits": logits})


class Chain(nn.Module):
    """Writes what follows its last token: following[token], or else `other`."""

    def __init__(self, following: dict[int, int], other: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.following, self.other = following, other
        self.config = type("C", (), {"vocab_size": len(TOKENIZER), "max_position_embeddings": 256})

    def forward(self, input_ids: Tensor, **_):
        after = input_ids.clone().apply_(lambda token: self.following.get(token, self.other))
        logits = 10.0 * nn.functional.one_hot(after, len(TOKENIZER)).float()
        logits[..., self.other] += 1.0
        return type("Output", (), {"logits": logits})


def script(annotated: str) -> list[int]:
    """The tokens of the prompt, of a continuation with calls, and of the end."""
    assert TOKENS.eos is not None
    prompt = TOKENS.prefix + TOKENS.encode(escape(PROMPT.text)).ids
    return [*prompt, *TOKENS.annotated(annotated), TOKENS.eos]


def generate(annotated: str, tools: bool = True, **decoding):
    model = Scripted(script(annotated), TOKENS.encode("a").ids[0])
    chosen = Decoding(**{"max_tokens": 20, "trigger": "probability", **decoding})
    generator = Generator(CausalModel(model), TOKENS, ToolRunner([SUM]), chosen, 0)
    (found,) = generator([PROMPT], tools)
    return found, model


def test_at_the_arrow_the_tool_answers_and_its_result_is_read():
    found, model = generate(" [Sum(2 + 2) -> 4 Sum(1) 5] 4. Yes")
    assert found.text == " 4. Yes"
    assert found.annotated == " [Sum(2 + 2) -> 4 Sum(1) 5] 4. Yes"
    (call,) = found.calls
    assert (call.tool, call.input, call.result, call.reason) == ("Sum", "2 + 2", "4 Sum(1) 5", "")
    assert call.p == pytest.approx(float(torch.tensor([10.0]).softmax(0)[0]), abs=0.2)
    assert [token for _, token in model.seen] == model.script[:-1]
    assert [place for place, _ in model.seen] == list(range(len(model.script) - 1))


def test_a_call_that_fails_is_recorded_and_taken_back():
    found, model = generate(" 1 [Sum(bad) -> 4] 4", max_tokens=4)
    assert [(c.input, c.result, c.reason) for c in found.calls] == [
        ("bad", None, "cannot add that")
    ]
    assert "[" not in found.annotated
    assert found.text == found.annotated
    places = [place for place, _ in model.seen]
    start = next(p for p, token in model.seen if token == TOKENS.start_id)
    assert places.count(start) == 2


def test_what_is_no_call_is_taken_back_too():
    found, _ = generate(" 1 [Sum(2) -> 4] 4", max_tokens=4, max_input=1)
    assert found.calls[0].reason == "is no call of the form Name(input)"
    assert "[" not in found.annotated


def test_no_call_is_begun_where_calls_are_forbidden():
    found, _ = generate(" [Sum(2 + 2) -> 4] 4.", tools=False)
    assert found.calls == []
    assert "[" not in found.annotated


def test_at_most_max_calls_are_made():
    text = " [Sum(1) -> 4 Sum(1) 5] 4 [Sum(2) -> 4 Sum(1) 5] 5"
    assert len(generate(text, max_calls=2)[0].calls) == 2
    assert len(generate(text, max_calls=1)[0].calls) == 1
    assert generate(text, max_calls=0)[0].calls == []


def test_a_call_that_failed_does_not_count_among_max_calls():
    model = Scripted(script(" 1" * 20), TOKENS.start_id)
    decoding = Decoding("top-k", 2, max_calls=1, max_tokens=30, max_input=3)
    generator = Generator(CausalModel(model), TOKENS, ToolRunner([SUM]), decoding, 0)
    (found,) = generator([PROMPT], True)
    assert len(found.calls) == MAX_FAILED
    assert all(call.result is None for call in found.calls)


def test_after_a_call_that_failed_another_is_made():
    made = iter([ValueError("cannot add that"), "4"])

    def answer_once_more(argument, document):
        said = next(made)
        if isinstance(said, Exception):
            raise said
        return said

    tool = FunctionTool("Sum", "Two numbers.", answer_once_more)
    call, (a,) = TOKENS.call("Sum", "2"), TOKENS.encode("a").ids
    assert len(set(call)) == len(call)
    model = Chain({**dict(pairwise(call)), a: call[0]}, a)
    decoding = Decoding("probability", max_calls=1, max_tokens=8, max_input=12)
    generator = Generator(CausalModel(model), TOKENS, ToolRunner([tool]), decoding, 0)
    (found,) = generator([PROMPT], True)
    assert [c.result for c in found.calls] == [None, "4"]


SERVER = """import json, os, sys
for line in sys.stdin:
    m, r = json.loads(line), {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}}
    if m["method"] == "tools/list":
        r = {"tools": [{"name": "Half", "inputSchema": {"properties": {"of": {"type": "integer"}}}}]}
    if m["method"] == "tools/call":
        of = m["params"]["arguments"]["of"]
        if of == 13: os.kill(os.getpid(), 9)
        r = {"content": [{"type": "text", "text": str(of // 2)}]}
    if "id" in m: print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"""


def test_a_server_of_ten_lines_answers_in_generation_and_killed_costs_that_call(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    (tool,) = toolset.load([f"mcp:{sys.executable} {tmp_path / 'server.py'}"], False)
    executor, found = ToolRunner([tool]), []
    for text in (" [Half(14) -> 7] 7.", " [Half(13) -> 6] 6.", " [Half(16) -> 8] 8."):
        model = Scripted(script(text), TOKENS.encode("a").ids[0])
        decoding = Decoding("probability", max_tokens=3)
        found += Generator(CausalModel(model), TOKENS, executor, decoding, 0)([PROMPT], True)
    assert [(c.input, c.result, c.reason) for g in found for c in g.calls] == [
        ("14", "7", ""),
        ("13", None, "its server ended (signal 9)"),
        ("16", "8", ""),
    ]
    assert [g.annotated[:15] for g in found[::2]] == [" [Half(14) -> 7", " [Half(16) -> 8"]
    assert "[" not in found[1].annotated


def test_top_k_begins_a_call_that_is_only_likely():
    model = Scripted(script(" 4"), TOKENS.start_id)
    for trigger, top_k, calls in (("top-k", 2, 1), ("top-k", 1, 0), ("probability", 9, 0)):
        decoding = Decoding(trigger, top_k, 0.9, max_tokens=1, max_input=4)
        generator = Generator(CausalModel(model), TOKENS, ToolRunner([SUM]), decoding, 0)
        (found,) = generator([PROMPT], True)
        assert len(found.calls) == calls


def test_a_prompt_that_leaves_no_room_is_refused():
    model = Scripted([], 1)
    generator = Generator(CausalModel(model), TOKENS, ToolRunner([SUM]), Decoding(), 0)
    with pytest.raises(KdstError, match="leaves room for 144"):
        generator([Document("a b" * 200)], True)


@pytest.mark.parametrize("layout", ["gpt2", "llama", "gptj"])
def test_a_batch_writes_what_its_rows_write_alone(layout):
    model = CausalModel(layouts.model(layout, len(TOKENIZER)).double())
    decoding = Decoding("top-k", 40, max_tokens=12, max_input=6, temperature=1.0)
    prompts = [Document(text) for text in (*layouts.TEXTS, "A", "Now [then] ->")]
    together = Generator(model, TOKENS, ToolRunner([SUM]), decoding, 3)(prompts, True)
    one = attrs.evolve(decoding, rows=1)
    apart = Generator(model, TOKENS, ToolRunner([SUM]), one, 3)(prompts, True)
    assert [(g.annotated, len(g.calls)) for g in together] == [
        (g.annotated, len(g.calls)) for g in apart
    ]
    assert [g.prompt for g in together] == prompts
    assert all(g.text for g in together)
