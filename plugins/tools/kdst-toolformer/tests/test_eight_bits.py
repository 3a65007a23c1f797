"""Calls proposed in 8 bits: layers against integers, samples near those of the model, losses equal."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from kdst_core.contracts import Document, ToolCall, ToolsRequest
from kdst_core.errors import KdstError
from kdst_toolformer import ToolformerOptions
from kdst_toolformer.method import PROPOSED, Annotator
from kdst_toolformer.reading import eight_bits, layers, precision
from kdst_toolformer.reading.eight_bits import Int8Linear, rounded
from kdst_toolformer.reading.plain import PlainModel
from kdst_tools.calls.windows import windows
from kdst_tools.kit import LETTERS
from kdst_tools.models import layouts

TOKENIZER = layouts.tokenizer()
DOCUMENTS = [Document(text) for text in layouts.TEXTS[:3]]

needs = pytest.mark.skipif(not eight_bits.supported(), reason="no instructions for 8 bits")


def model_of(layout: str) -> Any:
    return layouts.model(layout, len(TOKENIZER), width=64)


def annotator(layout: str = "llama", model: Any = None, **options: Any) -> Annotator:
    usual = {"sampler": "seeded", "tau_s": ["0"], "k": ["3"], "m": ["3"], "losses": "all"}
    chosen = ToolformerOptions(max_input=6, **{**usual, **options})  # type: ignore[arg-type]
    request = ToolsRequest(model or model_of(layout), TOKENIZER, [LETTERS], seed=5)
    return Annotator(request, chosen)


def integers(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in 8 bits and their scales, number by number."""
    scales = [max(abs(float(w)) for w in row) / 127 or 1.0 for row in weight]
    rows = [[round(float(w) / s) for w in row] for row, s in zip(weight, scales, strict=True)]
    return torch.tensor(rows, dtype=torch.int64), torch.tensor(scales, dtype=torch.float64)


@needs
@pytest.mark.parametrize("kind", ["linear", "biased", "conv1d"])
def test_a_layer_is_the_product_of_rounded_rows_and_tokens(kind):
    torch.manual_seed(0)
    layer = Conv1D(9, 13) if kind == "conv1d" else nn.Linear(13, 9, bias=kind == "biased")
    own = rounded(nn.Sequential(layer))[0]
    assert isinstance(own, Int8Linear)
    x = 10 * torch.randn(2, 3, 13)
    x[0, 0] = 0
    weight = layer.weight.T if kind == "conv1d" else layer.weight
    (w, s_w), (q, s_x) = integers(weight.detach()), integers(x.reshape(6, 13))
    wanted = (q @ w.T).double() * s_x[:, None] * s_w
    if layer.bias is not None:
        wanted = wanted + layer.bias.double()
    with torch.inference_mode():
        assert torch.allclose(own(x).double().reshape(6, 9), wanted, rtol=1e-5, atol=1e-5)
        assert own(x[:, :0]).shape == (2, 0, 9)


@needs
@pytest.mark.parametrize("layout", ["llama", "gpt2", "gptj"])
def test_what_is_said_of_a_text_is_near_what_the_model_says(layout):
    model = model_of(layout)
    ids = torch.tensor([TOKENIZER(text)["input_ids"][:40] for text in layouts.TEXTS[:1]])
    with torch.inference_mode():
        exact = model(ids).logits.log_softmax(-1)
        near = rounded(model)(ids).logits.log_softmax(-1)
    divergence = (exact.exp() * (exact - near)).sum(-1)
    spread = exact.std()
    assert spread > 0.3
    assert 0 < float((exact - near).std()) < 0.08 * spread
    assert float(divergence.max()) < 0.03


@needs
def test_the_copy_holds_no_weights_twice_and_the_model_stays():
    model = model_of("llama")
    before = copy.deepcopy(model.state_dict())
    found = rounded(model)
    assert found.model.embed_tokens.weight is model.model.embed_tokens.weight
    assert isinstance(found.lm_head, Int8Linear)
    assert type(model.lm_head) is nn.Linear
    assert found.config is not model.config
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@needs
@pytest.mark.parametrize("layout", ["llama", "gpt2"])
def test_losses_are_those_of_the_model_whatever_calls_are_proposed_with(layout):
    model = model_of(layout)
    exact = annotator(model=model, sampling_dtype="same")
    near = annotator(model=model, sampling_dtype="int8")
    executed = exact.execute(DOCUMENTS, planted(exact))
    near.sample(DOCUMENTS)
    filtered = near.filter(DOCUMENTS, executed)
    assert filtered == exact.filter(DOCUMENTS, executed)
    assert sum(call.gain is not None for call in filtered) == len(executed) == 6
    assert near.model.model is model
    assert near.proposer.model is not model


def planted(worker: Annotator) -> list[ToolCall]:
    """Two calls in each text."""
    found = []
    for document in DOCUMENTS:
        (window,) = windows(document, worker.tokens, 200)
        for index, word in ((3, "cat"), (9, "horse")):
            offset = window.offsets[index]
            found.append(ToolCall(document.id, index, "Letters", word, offset=offset))
    return found


@needs
def test_the_same_seed_proposes_the_same_and_a_text_does_not_hang_on_others():
    def drawn(documents: list[Document]) -> dict[Any, Any]:
        worker = annotator(sampling_dtype="int8")
        return {
            (found.batch[place.row].document.id, place.index): (round(place.p, 4), samples)
            for found in worker.sampler.draw(documents)
            for place, samples in zip(found.places, found.written, strict=True)
        }

    together = drawn(DOCUMENTS)
    assert together == drawn(DOCUMENTS)
    assert len(together) == 9
    assert {k: v for d in DOCUMENTS for k, v in drawn([d]).items()} == together


@needs
def test_large_models_propose_in_eight_bits_and_say_so(monkeypatch):
    assert annotator().notes == []
    monkeypatch.setattr(layers, "LARGE", 10)
    monkeypatch.setattr("kdst_toolformer.reading.sixteen_bits.supported", lambda: False)
    assert annotator().notes == [PROPOSED["int8"]]
    assert annotator(sampling_dtype="same").notes == []
    assert annotator(dtype="float64").notes == []
    assert annotator(prompt="A cat").notes == []
    double = annotator(dtype="float64", sampling_dtype="int8")
    assert double.notes == [PROPOSED["int8"]]
    assert double.sampler.model.dtype == torch.float64
    assert double(DOCUMENTS)


@needs
def test_a_model_that_is_read_plainly_is_in_eight_bits_too(monkeypatch):
    worker = annotator(sampling_dtype="int8")
    monkeypatch.setattr("kdst_toolformer.method.choose", lambda m, _: (PlainModel(m), "plainly"))
    assert worker.notes == ["plainly", PROPOSED["int8"]]
    assert isinstance(worker.proposer, PlainModel)
    assert any(isinstance(part, Int8Linear) for part in worker.proposer.model.modules())


def test_what_cannot_be_in_eight_bits_is_refused_before_work_starts(monkeypatch):
    monkeypatch.setattr(eight_bits, "supported", lambda: False)
    monkeypatch.setattr("kdst_toolformer.reading.sixteen_bits.supported", lambda: False)
    monkeypatch.setattr(layers, "LARGE", 10)
    assert annotator().notes == []
    with pytest.raises(KdstError, match="no instructions for products of 8 bits") as caught:
        _ = annotator(sampling_dtype="int8").notes
    assert len(str(caught.value).splitlines()) == 2
    monkeypatch.setattr(eight_bits, "supported", lambda: True)
    with pytest.raises(KdstError, match="Embedding has no linear layers"):
        precision.proposing(nn.Embedding(2, 2), "int8")
    with pytest.raises(KdstError, match="the model lies on meta"):
        precision.proposing(nn.Linear(2, 2, device="meta"), "int8")
