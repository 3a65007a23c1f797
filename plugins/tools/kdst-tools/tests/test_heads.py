"""Logits in slices are those of the model, and no more of them are held at a time."""

import math

import pytest
import torch
import transformers as hf

from kdst_tools.evaluation import perplexity as of_perplexity
from kdst_tools.models import layouts
from kdst_tools.models.heads import Heads

IDS = torch.randint(0, 300, (3, 11), generator=torch.Generator().manual_seed(0))
SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def capped() -> torch.nn.Module:
    """A model that does something behind its head."""
    torch.manual_seed(0)
    return hf.Gemma2ForCausalLM(hf.Gemma2Config(head_dim=8, final_logit_softcapping=3.0, **SMALL))


def mamba() -> torch.nn.Module:
    torch.manual_seed(0)
    return hf.MambaForCausalLM(hf.MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2))


MAKE = {
    "gpt2": lambda: layouts.model("gpt2", 300),
    "gptj": lambda: layouts.model("gptj", 300),
    "gemma2": capped,
    "mamba": mamba,
}


@pytest.mark.parametrize("name", MAKE)
def test_logits_in_slices_are_those_of_the_whole_model(name):
    model = MAKE[name]().double().eval()
    heads = Heads(model, numbers=300 * 4)
    assert heads.sliced(IDS)
    with torch.no_grad():
        hidden = heads.hidden(IDS, use_cache=False).flatten(0, 1)
        parts = [heads.logits(hidden[part]) for part in heads.slices(len(hidden))]
        whole = model(IDS, use_cache=False).logits.flatten(0, 1)
    assert [len(part) for part in parts] == [4] * 8 + [1]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-12)
    assert "forward" not in vars(model.base_model)


def test_a_batch_that_fits_one_slice_is_read_at_once():
    model = layouts.model("gpt2", 300)
    assert not Heads(model, numbers=300 * 33).sliced(IDS)
    assert Heads(model, numbers=300 * 32).sliced(IDS)


def test_perplexity_in_slices_is_the_same(monkeypatch):
    tokenizer = layouts.tokenizer()
    model = layouts.model("llama", len(tokenizer))
    whole = of_perplexity.perplexity(model, tokenizer, layouts.TEXTS)
    monkeypatch.setattr(of_perplexity, "Heads", lambda m: Heads(m, numbers=len(tokenizer) * 7))
    monkeypatch.setattr(of_perplexity, "TOKENS", 70)
    assert math.isclose(
        of_perplexity.perplexity(model, tokenizer, layouts.TEXTS), whole, rel_tol=1e-5
    )
