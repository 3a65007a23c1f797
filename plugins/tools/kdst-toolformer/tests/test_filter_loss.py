"""The filter's loss against the paper's formula, written out plainly in float64."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_core.contracts import Document, ToolCall
from kdst_toolformer.filter import Filter
from kdst_toolformer.reading.forward import CausalModel
from kdst_toolformer.score import WEIGHTS, Query, Scorer
from kdst_toolformer.settings import ToolSettings
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.calls.windows import Window, windows
from kdst_tools.models import layouts

TOKENIZER = layouts.tokenizer()
TOKENS = CallTokens(TOKENIZER, "always")
MODELS = {name: layouts.model(name, len(TOKENIZER)).double() for name in ("gpt2", "llama", "gptj")}
CALLS = (("Calculator", "400 / 1400", "0.29"), ("Calendar", "", "Monday"), ("QA", "who?", "Anna"))


def windows_of(*texts: str) -> list[Window]:
    return [w for text in texts for w in windows(Document(text), TOKENS, 200)]


def plain_loss(
    model, x: list[int], i: int, z: list[int], placement: str, prefix: Sequence[int] = TOKENS.prefix
) -> float:
    """L_i(z) token by token: each log p(x_j | …) from a forward pass of its own.

    A token with nothing before it has no probability and counts nothing.
    """
    total = 0.0
    for j in range(i, len(x)):
        weight = max(0.0, 1 - 0.2 * (j - i)) / 3
        if weight == 0:
            continue
        before = z + x[:j] if placement == "prefix" else x[:i] + z + x[i:j]
        before = [*prefix, *before]
        if not before:
            continue
        with torch.no_grad():
            logits = model(torch.tensor([before])).logits[0, -1]
        total -= weight * float(logits.log_softmax(-1)[x[j]])
    return total


def test_weights_are_those_of_the_paper():
    assert pytest.approx([1 / 3, 0.8 / 3, 0.2, 0.4 / 3, 0.2 / 3], abs=1e-15) == WEIGHTS


@pytest.mark.parametrize("placement", ["prefix", "inline"])
@pytest.mark.parametrize("layout", ["gpt2", "llama", "gptj"])
def test_loss_equals_the_formula_in_float64_also_at_ends_and_for_overlapping_calls(
    layout, placement
):
    model = MODELS[layout]
    parts = windows_of("Of 1400 people 400 came.", "Short.")
    queries = []
    for number, window in enumerate(parts):
        last = len(window.ids) - 1
        for index in sorted({0, 1, 2, 3, last - 4, last - 3, last - 1, last} & {*range(last + 1)}):
            for tool, input, result in CALLS:
                queries.append(Query(number, index, tuple(TOKENS.call(tool, input))))
                queries.append(Query(number, index, tuple(TOKENS.call(tool, input, result))))
    for number, window in enumerate(parts):
        queries += [Query(number, index, ()) for index in range(0, len(window.ids), 2)]
    losses = Scorer(CausalModel(model), TOKENS, placement, 600)(parts, queries)
    for query, loss in list(zip(queries, losses, strict=True))[::2]:
        x = parts[query.window].ids
        expected = plain_loss(model, x, query.index, list(query.z), placement)
        assert loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("placement", ["prefix", "inline"])
def test_a_text_that_begins_with_nothing_has_the_loss_of_the_formula(placement):
    tokens, model = CallTokens(TOKENIZER), MODELS["llama"]
    assert tokens.prefix == []
    (window,) = windows_of("Of 1400 people 400 came.")
    call = tuple(TOKENS.call("QA", "who?", "Anna"))
    queries = [Query(0, index, z) for index in (0, 1, 2) for z in ((), call)]
    losses = Scorer(CausalModel(model), tokens, placement, 600)([window], queries)
    for query, loss in zip(queries, losses, strict=True):
        expected = plain_loss(model, window.ids, query.index, list(query.z), placement, ())
        assert loss == pytest.approx(expected, abs=1e-6)


@settings(max_examples=12, deadline=None)
@given(
    texts=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=3),
    placement=st.sampled_from(["prefix", "inline"]),
    data=st.data(),
)
def test_any_text_and_call_has_the_loss_of_the_formula(texts, placement, data):
    parts = windows_of(*texts)
    number = data.draw(st.integers(0, len(parts) - 1))
    index = data.draw(st.integers(0, len(parts[number].ids) - 1))
    tool, input, result = data.draw(st.sampled_from(CALLS))
    z = TOKENS.call(tool, input, data.draw(st.sampled_from([None, result])))
    scorer = Scorer(CausalModel(MODELS["gpt2"]), TOKENS, placement, 4000)
    (loss,) = scorer(parts, [Query(number, index, tuple(z))])
    expected = plain_loss(MODELS["gpt2"], parts[number].ids, index, z, placement)
    assert loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("placement", ["prefix", "inline"])
def test_losses_that_decide_keep_the_same_calls_and_leave_the_others_out(placement):
    document = Document("There were 400 of 1400 left, so 29 % of them, and Anna went home.")
    scorer = Scorer(CausalModel(MODELS["gpt2"]), TOKENS, placement, 4000)
    calls = [
        ToolCall(document.id, position, tool, input, result=result)
        for tool, input, result in CALLS
        for position in range(0, len(TOKENS.encode(document.text).ids), 3)
    ]
    found = {
        deciding: Filter(
            scorer,
            TOKENS,
            {t: ToolSettings(0, 9, 9, 0.02, 99) for t, *_ in CALLS},
            200,
            0,
            deciding,
            keep_all=True,
        )([document], calls)
        for deciding in (False, True)
    }
    kept = {deciding: [call.kept for call in of] for deciding, of in found.items()}
    assert kept[True] == kept[False]
    assert 0 < sum(kept[True]) < len(calls)
    assert any(call.L_call is None for call in found[True])
    for full, short in zip(found[False], found[True], strict=True):
        assert short.L_full == pytest.approx(full.L_full, abs=1e-9)
        assert short.reason == full.reason
        if short.L_call is None:
            assert full.gain <= short.gain + 1e-9 < 0.02
        else:
            assert short.gain == pytest.approx(full.gain, abs=1e-9)
