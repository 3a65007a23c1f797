"""Any causal language model: losses are those of a plain reading, with shortcuts or said to be without."""

import copy
from typing import Any

import pytest
import torch
import transformers as hf

from kdst_core.contracts import Document, ToolsRequest
from kdst_core.errors import KdstError
from kdst_toolformer import ToolformerOptions
from kdst_toolformer.method import Annotator
from kdst_toolformer.reading import forward
from kdst_toolformer.reading.forward import CausalModel
from kdst_toolformer.reading.plain import PlainModel
from kdst_toolformer.reading.probe import choose, furthest, steps
from kdst_toolformer.score import WEIGHTS, Query, Scorer
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.calls.windows import windows
from kdst_tools.kit import LETTERS
from kdst_tools.models import configs, layouts

TOKENIZER = layouts.tokenizer()
TOKENS = CallTokens(TOKENIZER)
SIZE = len(TOKENIZER)
SMALL: dict[str, Any] = {
    "vocab_size": SIZE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "initializer_range": 0.2,
}  # fmt: skip
MIXED = ["sliding_attention", "full_attention"]
HEADS: dict[str, Any] = {"vocab_size": SIZE, "n_heads": 4, "n_layers": 2}
STATE: dict[str, Any] = {"vocab_size": SIZE, "hidden_size": 32, "num_hidden_layers": 2}

SHARED = {
    "gpt2": lambda: layouts.model("gpt2", SIZE),
    "gptj": lambda: layouts.model("gptj", SIZE),
    "llama": lambda: layouts.model("llama", SIZE),
    "qwen2, window of a layer": lambda: hf.Qwen2ForCausalLM(
        hf.Qwen2Config(use_sliding_window=True, sliding_window=9, max_window_layers=1, **SMALL)
    ),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(head_dim=8, **SMALL)),
    "gemma2, window": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(head_dim=8, sliding_window=9, **{**SMALL, "initializer_range": 0.02})
    ),
    "gemma3, window": lambda: hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(head_dim=8, sliding_window=9, layer_types=MIXED, **SMALL)
    ),
    "phi3, window": lambda: hf.Phi3ForCausalLM(
        hf.Phi3Config(pad_token_id=0, sliding_window=9, **SMALL)
    ),
    "mistral, window": lambda: hf.MistralForCausalLM(hf.MistralConfig(sliding_window=9, **SMALL)),
    "falcon": lambda: hf.FalconForCausalLM(hf.FalconConfig(num_attention_heads=4, **STATE)),
}
PLAIN = {
    "mpt": lambda: hf.MptForCausalLM(hf.MptConfig(d_model=32, max_seq_len=256, **HEADS)),
    "bloom": lambda: hf.BloomForCausalLM(
        hf.BloomConfig(vocab_size=SIZE, hidden_size=32, n_layer=2, n_head=4)
    ),
    "falcon, alibi": lambda: hf.FalconForCausalLM(
        hf.FalconConfig(num_attention_heads=4, alibi=True, **STATE)
    ),
    "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(**STATE)),
    "lfm2": lambda: hf.Lfm2ForCausalLM(
        hf.Lfm2Config(layer_types=["conv", "full_attention"], **SMALL)
    ),
    "gpt-neo, window": lambda: hf.GPTNeoForCausalLM(
        hf.GPTNeoConfig(
            vocab_size=SIZE,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            window_size=9,
            attention_types=[[["global", "local"], 1]],
            max_position_embeddings=256,
        )
    ),
}


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    return {**SHARED, **PLAIN}[name]().double().eval()


def plain_loss(model: Any, x: list[int], i: int, z: list[int], placement: str) -> float:
    """L_i(z) from one reading of everything, by the model alone."""
    lead = TOKENS.prefix
    ids = [*lead, *z, *x] if placement == "prefix" else [*lead, *x[:i], *z, *x[i:]]
    first = len(lead) + len(z) + i
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    return -sum(
        w * float(logits[first + t - 1, x[i + t]]) for t, w in enumerate(WEIGHTS) if i + t < len(x)
    )


@pytest.mark.parametrize("name", [*SHARED, *PLAIN])
def test_losses_are_plain_ones_or_the_run_says_that_it_reads_plainly(name):
    given = model_of(name)
    model, said = choose(given, TOKENS)
    assert (type(model) is PlainModel) == (name in PLAIN) == bool(said)
    (window,) = windows(Document(layouts.TEXTS[0]), TOKENS, 200)
    queries = [
        Query(0, index, tuple(z))
        for index in (1, 12, len(window.ids) - 2)
        for z in ([], TOKENS.call("Calculator", "1+2"), TOKENS.call("Calculator", "1+2", "3"))
    ]
    for placement in ("prefix", "inline"):
        losses = Scorer(model, TOKENS, placement, 600)([window], queries)
        for query, loss in zip(queries, losses, strict=True):
            wanted = plain_loss(given, window.ids, query.index, list(query.z), placement)
            assert loss == pytest.approx(wanted, abs=1e-6), placement


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3, window", "mistral, window"])
def test_both_ways_of_reading_say_the_same_of_every_kind_of_step(name, heavy, monkeypatch):
    if heavy:
        monkeypatch.setattr(forward, "HEAVY", 0)
    model = model_of(name)
    texts = [TOKENS.encode(text).ids for text in layouts.TEXTS[:2]]
    fast, plain = (steps(kind(model), texts) for kind in (CausalModel, PlainModel))
    assert furthest(fast, plain) < 1e-9
    assert max(map(len, texts)) > 20


@pytest.mark.parametrize("name", ["mpt", "mamba"])
def test_a_model_that_is_read_plainly_samples_trains_and_generates(name):
    options = ToolformerOptions(
        sampler="seeded", max_input=4, max_tokens=3, k=["1"], m=["2"], tau_s=["0"]
    )
    given = model_of(name)
    before = copy.deepcopy(given.state_dict())
    worker = Annotator(ToolsRequest(given, TOKENIZER, [LETTERS]), options)
    (note,) = worker.notes
    assert "is read plainly" in note
    shard = [Document("A cat sat."), Document("Two dogs ran off.")]
    annotations = worker(shard)
    assert [a.text for a in annotations] == [d.text for d in shard]
    assert [step.step for step in worker.finetune(annotations)] == [1]
    assert [bool(g.text) for g in worker.generate(shard)] == [True, True]
    assert all(torch.equal(value, before[key]) for key, value in given.state_dict().items())


def test_what_is_no_causal_language_model_is_refused():
    few = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
    both_ways = hf.BertLMHeadModel(hf.BertConfig(is_decoder=False, **few)).eval()
    with pytest.raises(KdstError, match="BertLMHeadModel is not causal"):
        choose(both_ways, TOKENS)
    pair = hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=SIZE, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    )
    with pytest.raises(KdstError, match="cannot be read as a causal language model"):
        choose(pair.eval(), TOKENS)


def test_a_model_whose_weights_are_no_numbers_is_not_called_anything_else():
    model = layouts.model("llama", SIZE)
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(KdstError, match="says what is no number"):
        choose(model, TOKENS)


def test_the_window_of_layers_is_not_the_context_of_the_model():
    assert CausalModel(model_of("gemma3, window")).context == 256
    assert CausalModel(model_of("mistral, window")).context == 256
    assert configs.sliding_window(model_of("mistral, window")) == 9
    assert configs.sliding_window(model_of("llama")) is None
    assert configs.context(model_of("mpt")) == 256
    assert configs.context(model_of("mamba")) == configs.UNBOUNDED
