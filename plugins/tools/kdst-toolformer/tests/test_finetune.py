"""Finetuning: what is trained on, and that it resumes."""

import copy
import sys
from itertools import pairwise

import pytest
import torch

from kdst_core.contracts import Document, ToolAnnotation, ToolsRequest
from kdst_core.errors import KdstError
from kdst_toolformer import ToolformerOptions, adapters
from kdst_toolformer.finetune import FineTuning, Recipe, capped, most_tokens, sequences
from kdst_toolformer.method import Annotator
from kdst_tools.calls import write
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.models import layouts
from kdst_tools.models.heads import Heads

TOKENIZER = layouts.tokenizer()
TOKENS = CallTokens(TOKENIZER, "always")


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


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
def test_a_vocabulary_in_slices_gives_the_same_gradients(layout, monkeypatch):
    whole, sliced = training(layout=layout), training(layout=layout)
    sliced.heads = Heads(sliced.model, numbers=7 * len(TOKENIZER))
    held = []
    logits = sliced.heads.logits
    monkeypatch.setattr(sliced.heads, "logits", lambda h: held.append(len(h)) or logits(h))
    a, b = next(iter(whole)), next(iter(sliced))
    assert a.loss == pytest.approx(b.loss, rel=1e-6)
    assert max(held) == 7
    for a, b in zip(whole.model.parameters(), sliced.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-6)


def test_half_precision_is_trained_in_float32():
    start = layouts.model("llama", len(TOKENIZER)).to(torch.bfloat16)
    steps = {}
    for kind in (torch.bfloat16, torch.float32):
        given = copy.deepcopy(start).to(kind)
        run = FineTuning(given, TOKENS, annotations(8), {}, Recipe(lr=1e-5, batch=4, epochs=4),
                         seed=0, budget=10**6)  # fmt: skip
        steps[kind] = [step.loss for step in run]
        assert {p.dtype for p in run.model.parameters()} == {torch.float32}
        assert {p.dtype for p in given.parameters()} == {kind}
    assert steps[torch.bfloat16] == steps[torch.float32]


def test_micro_batches_on_a_cpu_are_bounded_by_what_their_gradients_need():
    wide = layouts.model("gpt2", 50)
    wide.config.n_embd, wide.config.n_layer = 1024, 32
    assert 40 * 1024 * 32 * most_tokens(wide) <= 2**28
    assert most_tokens(layouts.model("gpt2", 50)) > 8192


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


def lora(layout: str, kind: torch.dtype = torch.float32) -> FineTuning:
    model = layouts.model(layout, len(TOKENIZER)).to(kind)
    recipe = Recipe(lr=1e-2, batch=4, epochs=4, rank=4)
    return FineTuning(model, TOKENS, annotations(12), {}, recipe, seed=0, budget=256)


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_lora_trains_little_and_ends_as_a_plain_model(layout, kind):
    pytest.importorskip("peft")
    run = lora(layout, kind)
    whole = sum(p.numel() for p in run.model.parameters())
    assert sum(p.numel() for p in run.trained.values()) < 0.4 * whole
    assert {p.dtype for p in run.trained.values()} == {torch.float32}
    assert not any("lm_head" in name or "wte" in name for name in run.trained)
    losses = [step.loss for step in run]
    assert sum(losses[-3:]) < 0.97 * sum(losses[:3])
    plain, given = run.model, layouts.model(layout, len(TOKENIZER)).to(kind)
    assert plain.state_dict().keys() == given.state_dict().keys()
    assert {p.dtype for p in plain.parameters()} == {torch.float32}
    again = FineTuning(plain, TOKENS, annotations(12), {}, run.recipe, seed=0, budget=256)
    assert next(iter(again)).loss < 0.97 * losses[0]


def test_lora_goes_on_from_what_it_trains():
    pytest.importorskip("peft")
    straight, other = lora("llama"), lora("llama")
    steps = iter(straight)
    for _ in range(4):
        next(steps)
    state = copy.deepcopy(straight.state_dict())
    assert state["model"].keys() == straight.trained.keys()
    other.load_state_dict(state)
    assert [s.loss for s in other] == [s.loss for s in steps]


def test_large_models_are_trained_by_lora_unless_all_weights_are_asked_for(monkeypatch):
    model = layouts.model("gpt2", 50)
    assert not adapters.chosen(model, full=False)
    monkeypatch.setattr(adapters, "LARGE", 1000)
    assert not adapters.chosen(model, full=True)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(KdstError, match=r"pip install 'kdst-toolformer\[lora\]', or give --full"):
        adapters.chosen(model, full=False)


@pytest.mark.parametrize(("full", "expected"), [(False, (8, 3, 2e-4)), (True, (128, 1, 1e-5))])
def test_lora_takes_small_steps_and_several_passes_by_default(monkeypatch, full, expected):
    """By the paper's batches of 128 a thousand texts are eight steps, which teach no call."""
    monkeypatch.setattr(adapters, "LARGE", 1000)
    monkeypatch.setattr(adapters, "_library", lambda why: None)
    monkeypatch.setattr(adapters, "inject", lambda model, rank, seed: model)
    request = ToolsRequest(layouts.model("gpt2", len(TOKENIZER)), TOKENIZER, [])
    recipe = Annotator(request, ToolformerOptions(full=full)).finetune(annotations(2)).recipe
    assert (recipe.batch, recipe.epochs, recipe.lr) == expected
