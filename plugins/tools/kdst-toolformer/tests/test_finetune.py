"""Finetuning: what is trained on, and that it resumes."""

import copy
from itertools import pairwise

import pytest
import torch

from kdst_core.contracts import Document, ToolAnnotation
from kdst_core.errors import KdstError
from kdst_toolformer.finetune import FineTuning, Recipe, capped, sequences
from kdst_tools import layouts
from kdst_tools.calls import write
from kdst_tools.tokens import CallTokens

TOKENIZER = layouts.tokenizer()
TOKENS = CallTokens(TOKENIZER)


def annotations(count: int) -> list[ToolAnnotation]:
    found = []
    for i in range(count):
        text = f"Text {i} is {layouts.TEXTS[i % 4]}"
        call = write("Tool", str(i), "x") if i % 2 else write("Other", str(i), "y")
        found.append(ToolAnnotation(Document(text), f"{text[:8]}{call}{text[8:]}", ()))
    return found


def training(count: int = 12, layout="gpt2", **recipe) -> FineTuning:
    model = layouts.model(layout, len(TOKENIZER))
    chosen = Recipe(**{"lr": 1e-2, "batch": 4, "epochs": 4, **recipe})
    return FineTuning(model, TOKENS, annotations(count), {}, chosen, seed=0, budget=256)


def test_the_loss_falls_and_the_given_model_stays():
    model = layouts.model("gpt2", len(TOKENIZER))
    before = copy.deepcopy(model.state_dict())
    run = FineTuning(model, TOKENS, annotations(12), {}, Recipe(lr=1e-2, batch=4, epochs=5),
                     seed=0, budget=256)  # fmt: skip
    losses = [step.loss for step in run]
    assert len(losses) == run.total == 15
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_state_goes_on_with_the_same_losses():
    straight = training()
    steps = iter(straight)
    first = [next(steps) for _ in range(5)]
    assert first[-1].step == 5
    other = training()
    other.load_state_dict(copy.deepcopy(straight.state_dict()))
    assert [s.loss for s in other] == [s.loss for s in steps]


def test_micro_batches_give_the_update_of_the_whole_batch():
    small, large = training(layout="llama"), training(layout="llama")
    small.budget, large.budget = 64, 10**6
    for _ in range(3):
        a, b = next(iter(small)), next(iter(large))
        assert a.loss == pytest.approx(b.loss, rel=1e-4)


def test_the_rate_rises_over_a_tenth_and_falls_to_zero():
    run = training(epochs=10, lr=1.0)
    rates = [run.rate(step) for step in range(run.total)]
    assert run.total == 30
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.05


def test_a_tool_has_at_most_its_cap_of_examples_and_texts_stay():
    texts = list(capped(annotations(8), {"Tool": 1, "Other": 100}))
    assert len(texts) == 8
    assert sum("[Tool(" in text for text in texts) == 1
    assert sum("[Other(" in text for text in texts) == 4


def test_long_texts_are_cut_into_sequences_that_lose_no_prediction():
    ids = list(range(10, 40))
    parts = list(sequences(ids, TOKENS, 8))
    whole = [*TOKENS.prefix, *ids, TOKENS.eos]
    pairs = [(a, b) for part in parts for a, b in pairwise(part)]
    assert pairs == list(pairwise(whole))
    assert max(map(len, parts)) == 8


def test_nothing_to_train_on_is_refused():
    with pytest.raises(KdstError, match="no text to finetune on"):
        training(count=0)
