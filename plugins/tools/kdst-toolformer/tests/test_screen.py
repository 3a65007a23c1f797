"""Calls screened in bfloat16: layers against rounded products, the same calls kept, exact losses of these."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import nn
from transformers.pytorch_utils import Conv1D

from kdst_core.contracts import Document, ToolCall, ToolsRequest
from kdst_core.errors import KdstError
from kdst_toolformer import ToolformerOptions
from kdst_toolformer.filter import MARGIN, Filter
from kdst_toolformer.method import PROPOSED, SCREENED, Annotator
from kdst_toolformer.reading import layers, precision, sixteen_bits
from kdst_toolformer.reading.sixteen_bits import Bf16Linear
from kdst_toolformer.score import Query, Scorer
from kdst_tools.calls.windows import Window, windows
from kdst_tools.kit import LETTERS
from kdst_tools.models import layouts

TOKENIZER = layouts.tokenizer()
DOCUMENTS = [Document(text) for text in layouts.TEXTS[:3]]


@pytest.fixture(autouse=True)
def _any_cpu(monkeypatch):
    """Products in bfloat16 are right on every CPU, only slow on most."""
    monkeypatch.setattr(sixteen_bits, "supported", lambda: True)


def annotator(layout: str = "llama", model: Any = None, **options: Any) -> Annotator:
    usual = {"sampler": "seeded", "tau_s": ["0"], "k": ["3"], "m": ["3"], "placement": "prefix"}
    chosen = ToolformerOptions(max_input=6, **{**usual, **options})
    model = model or layouts.model(layout, len(TOKENIZER), width=64)
    return Annotator(ToolsRequest(model, TOKENIZER, [LETTERS], seed=5), chosen)


def planted(worker: Annotator) -> list[ToolCall]:
    """Twelve calls in each text, executed."""
    found = []
    for document in DOCUMENTS:
        (window,) = windows(document, worker.tokens, 200)
        for index in (3, 9, 15, 20):
            found += [
                ToolCall(document.id, index, "Letters", word, offset=window.offsets[index])
                for word in ("cat", "horse", "elephants")
            ]
    return worker.execute(DOCUMENTS, found)


@pytest.mark.parametrize("kind", ["linear", "biased", "conv1d"])
def test_a_layer_is_the_product_of_rounded_numbers(kind):
    torch.manual_seed(0)
    layer = Conv1D(9, 13) if kind == "conv1d" else nn.Linear(13, 9, bias=kind == "biased")
    own = layers.replaced(nn.Sequential(layer), Bf16Linear)[0]  # type: ignore[index]
    x = torch.randn(2, 3, 13)
    weight = layer.weight.T if kind == "conv1d" else layer.weight
    wanted = x.bfloat16().double() @ weight.bfloat16().double().T
    bias = torch.zeros(9) if layer.bias is None else layer.bias
    with torch.inference_mode():
        assert own(x).dtype == torch.float32
        assert torch.allclose(own(x).double() - bias, wanted, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("layout", ["llama", "gpt2"])
def test_the_head_and_what_is_no_linear_layer_stay_and_are_shared(layout):
    model = annotator(layout).request.model
    found = sixteen_bits.rounded(model)
    head = found.get_output_embeddings()
    assert type(head) is nn.Linear
    assert head.weight is model.get_output_embeddings().weight
    kinds = {type(part) for part in found.modules()}
    assert Bf16Linear in kinds
    assert Conv1D not in kinds
    assert not any(isinstance(part, Bf16Linear) for part in model.modules())


@pytest.mark.parametrize("layout", ["llama", "gpt2"])
@pytest.mark.parametrize("placement", ["prefix", "inline"])
@pytest.mark.parametrize("losses", ["auto", "deciding"])
def test_screening_keeps_the_same_calls_with_the_same_losses(layout, placement, losses):
    given = {"placement": placement, "losses": losses, "keep_all": True}
    exact = annotator(layout, screen="no", **given)
    calls = planted(exact)
    tau_f = middle(exact.filter(DOCUMENTS, calls))
    exact = annotator(layout, screen="no", tau_f=[str(tau_f)], **given)
    screened = annotator(layout, screen="bfloat16", tau_f=[str(tau_f)], **given)
    ours, theirs = (found.filter(DOCUMENTS, calls) for found in (screened, exact))
    assert [call.kept for call in ours] == [call.kept for call in theirs]
    assert 0 < sum(call.kept for call in theirs) < len(calls)
    again = 0
    for a, b in zip(ours, theirs, strict=True):
        assert (a.L_empty, a.L_full) == pytest.approx((b.L_empty, b.L_full), abs=MARGIN / 4)
        if a.L_call is not None and b.L_call is not None:
            assert a.L_call == pytest.approx(b.L_call, abs=MARGIN / 4)
        if a.gain >= tau_f - MARGIN:
            again += 1
            assert (a.L_empty, a.L_full) == pytest.approx((b.L_empty, b.L_full), abs=2e-6)
            assert a.gain == pytest.approx(b.gain, abs=2e-6)
    assert 0 < again < len(calls)


def middle(calls: Sequence[ToolCall]) -> float:
    """A threshold between two gains, where they are furthest apart, in the upper half."""
    gains = sorted(call.gain or 0.0 for call in calls)[len(calls) // 2 :]
    apart, low = max((b - a, a) for a, b in pairwise(gains))
    return low + apart / 2


class Fixed(Scorer):
    """Losses that are given by z; it counts what it was asked."""

    def __init__(self, like: Scorer, off: float) -> None:
        super().__init__(like.model, like.tokens, like.placement, 256)
        self.off, self.asked = off, list[Query]()

    def __call__(self, windows: Sequence[Window], queries: Sequence[Query]) -> list[float]:
        self.asked += queries
        return [
            4.0 if not q.z else 5.0 if "->" not in self.tokens.decode(list(q.z)) else self._full(q)
            for q in queries
        ]

    def _full(self, query: Query) -> float:
        """3.2 to 3.8 by position, so gains of 0.8 to 0.2."""
        return 3.2 + 0.05 * query.index + self.off


def fixed(off: float) -> tuple[Filter, Fixed, Fixed]:
    """A filter with a threshold of 0.5 whose screening is off by so much."""
    worker = annotator(screen="bfloat16", tau_f=["0.5"], keep_all=True)
    found = worker._filter
    assert found.screen is not None
    exact, rough = Fixed(found.scorer, 0.0), Fixed(found.scorer, off)
    found.scorer, found.screen = exact, rough
    return found, exact, rough


def test_only_calls_within_the_margin_are_read_again():
    found, exact, rough = fixed(0.06)
    (window,) = windows(DOCUMENTS[0], found.tokens, 200)
    calls = [
        ToolCall(DOCUMENTS[0].id, i, "Letters", "cat", "3", offset=window.offsets[i])
        for i in range(3, 15)
    ]
    judged = found(DOCUMENTS, calls)
    kept = [call.position for call in judged if call.kept]
    assert kept == [3, 4, 5, 6]
    again = sorted({q.index for q in exact.asked})
    assert again == [i for i in range(3, 15) if 4 - 3.2 - 0.05 * i - 0.06 >= 0.5 - MARGIN]
    assert {q.index for q in rough.asked} == set(range(3, 15))
    for call in judged:
        gain = 0.8 - 0.05 * call.position - (0 if call.position in again else 0.06)
        assert call.gain == pytest.approx(gain)


@pytest.mark.parametrize("off", [-0.14, 0.14])
def test_a_screening_that_is_far_off_is_not_trusted(off):
    found, exact, _ = fixed(off)
    (window,) = windows(DOCUMENTS[0], found.tokens, 200)
    call = ToolCall(DOCUMENTS[0].id, 3, "Letters", "cat", "3", offset=window.offsets[3])
    far = evolve(call, position=14, offset=window.offsets[14])
    judged = found(DOCUMENTS, [call, far])
    assert [c.gain for c in judged] == pytest.approx([0.65, 0.1])
    assert {q.index for q in exact.asked} == {3, 14}


def test_large_models_propose_and_screen_in_bfloat16_and_say_so(monkeypatch):
    monkeypatch.setattr("kdst_toolformer.reading.eight_bits.supported", lambda: False)
    assert annotator().notes == []
    assert annotator()._filter.screen is None
    monkeypatch.setattr(layers, "LARGE", 10)
    proposed = PROPOSED["bfloat16"]
    assert annotator().notes == [proposed, SCREENED]
    assert annotator()._filter.screen is not None
    assert annotator(screen="no").notes == [proposed]
    assert annotator(losses="all").notes == [proposed]
    assert annotator(sampling_dtype="same").notes == [SCREENED]
    assert annotator(dtype="float64").notes == []
    assert annotator(prompt="A cat").notes == []
    given = {"screen": "bfloat16", "sampling_dtype": "bfloat16"}
    assert annotator(dtype="float64", **given).notes == [proposed, SCREENED]
    monkeypatch.setattr("kdst_toolformer.reading.eight_bits.supported", lambda: True)
    assert annotator().notes == [PROPOSED["int8"], SCREENED]


def test_proposals_and_screening_share_their_layers_and_not_the_head():
    worker = annotator(screen="bfloat16", sampling_dtype="bfloat16")
    screen = worker._filter.screen
    assert screen is not None
    theirs, ours = screen.model.model, worker.proposer.model
    assert isinstance(ours.get_output_embeddings(), Bf16Linear)
    assert type(theirs.get_output_embeddings()) is nn.Linear
    one, other = (
        {id(p) for part in model.modules() if type(part) is Bf16Linear for p in part.parameters()}
        for model in (theirs, ours)
    )
    assert one < other
    assert worker(DOCUMENTS)


@pytest.mark.parametrize("layout", ["llama", "gpt2"])
def test_what_is_proposed_in_bfloat16_is_near_what_the_model_proposes(layout):
    model = annotator(layout).request.model
    ids = torch.tensor([TOKENIZER(text)["input_ids"][:40] for text in layouts.TEXTS[:1]])
    near = sixteen_bits.with_head(sixteen_bits.rounded(model))
    with torch.inference_mode():
        exact, found = (m(ids).logits.log_softmax(-1) for m in (model, near))
    assert 0 < float((exact - found).std()) < 0.02 * float(exact.std())


def test_a_screening_that_cannot_be_is_refused_before_work_starts(monkeypatch):
    monkeypatch.setattr(layers, "LARGE", 10)
    with pytest.raises(KdstError, match="--losses all asks for the losses of every call") as caught:
        _ = annotator(screen="bfloat16", losses="all").notes
    assert len(str(caught.value).splitlines()) == 2
    monkeypatch.setattr(sixteen_bits, "supported", lambda: False)
    assert SCREENED not in annotator().notes
    for given in ({"screen": "bfloat16"}, {"sampling_dtype": "bfloat16"}):
        with pytest.raises(KdstError, match="no instructions for products in bfloat16"):
            _ = annotator(**given).notes
    monkeypatch.setattr(sixteen_bits, "supported", lambda: True)
    with pytest.raises(KdstError, match="the model lies on meta"):
        precision.screening(nn.Linear(2, 2, device="meta"), "bfloat16", "auto")


def test_the_instructions_are_looked_for_and_their_absence_is_no_error(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert sixteen_bits.supported() == torch.backends.mkldnn.is_available()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not sixteen_bits.supported()
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not sixteen_bits.supported()
