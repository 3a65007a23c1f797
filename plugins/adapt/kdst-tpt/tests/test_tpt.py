"""TPT as an algorithm: against a plain rendering of it, at zero steps, and what it refuses."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import kdst_core
from kdst_adapt.augmix import mix
from kdst_adapt.checks import small_batches, small_request
from kdst_adapt.models import clip, text
from kdst_adapt.models.small_clip import small_clip
from kdst_adapt.testing import save_clip
from kdst_adapt.views import views
from kdst_authors.testing import check_plugin, make_run
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_tpt import Options, adapt
from kdst_tpt.method import marginal_entropy, most_confident

transformers = pytest.importorskip("transformers")

NAMES = ["cat", "sea_lion", "dog", "owl"]
WORDS = "a photo of a"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a small CLIP model."""
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder


def asked(place: Path, dtype: torch.dtype = torch.float64) -> AdaptRequest:
    """A request on the small model, four classes, with a generator of its own."""
    model = clip.load(str(place), NAMES, [clip.TEMPLATE]).to(dtype)
    generator = torch.Generator().manual_seed(3)
    return AdaptRequest(model, len(NAMES), (3, 32, 32), generator, **clip.parts(model))


def pictures(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images of many colours."""
    generator = torch.Generator().manual_seed(5)
    colours = torch.rand(count, 3, 1, 1, generator=generator, dtype=dtype)
    return (colours + torch.rand(count, 3, 32, 32, generator=generator, dtype=dtype)) / 2


class PlainText:
    """The text tower of a CLIP model, written out: causal attention, the state at the end of text."""

    def __init__(self, place: Path) -> None:
        net = transformers.CLIPModel.from_pretrained(place).double()
        self.w = {k: v.detach() for k, v in net.state_dict().items()}
        self.heads = net.config.text_config.num_attention_heads
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        self.end = net.config.text_config.eos_token_id

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def feature(self, context: Tensor, name: str) -> Tensor:
        """The feature (D,) of a class under context vectors (n, E)."""
        ids = self.tokenizer(f"{WORDS} {name.replace('_', ' ')}.")["input_ids"]
        table = self.w["text_model.embeddings.token_embedding.weight"]
        x = torch.cat([table[ids[:1]], context, table[ids[1 + len(context) :]]])
        x = x + self.w["text_model.embeddings.position_embedding.weight"][: len(ids)]
        later = torch.ones(len(ids), len(ids)).triu(1).bool()
        for number in range(2):
            layer = f"text_model.encoder.layers.{number}"
            y = self.norm(f"{layer}.layer_norm1", x)
            q, k, v = (self.linear(f"{layer}.self_attn.{n}_proj", y) for n in "qkv")
            outs = []
            for a, b, c in zip(*(t.chunk(self.heads, 1) for t in (q, k, v)), strict=True):
                scores = (a @ b.T / math.sqrt(a.shape[1])).masked_fill(later, -math.inf)
                outs.append(scores.softmax(1) @ c)
            x = x + self.linear(f"{layer}.self_attn.out_proj", torch.cat(outs, 1))
            y = self.linear(f"{layer}.mlp.fc1", self.norm(f"{layer}.layer_norm2", x))
            x = x + self.linear(f"{layer}.mlp.fc2", y * torch.sigmoid(1.702 * y))
        x = self.norm("text_model.final_layer_norm", x)[ids.index(self.end)]
        x = self.w["text_projection.weight"] @ x
        return x / x.norm()

    def start(self) -> Tensor:
        """The embeddings (n, E) of the context's words."""
        ids = self.tokenizer(WORDS)["input_ids"][1:-1]
        return self.w["text_model.embeddings.token_embedding.weight"][ids]


def plain_tpt(place: Path, request: AdaptRequest, x: Tensor, o: Options) -> Tensor:
    """The logits of images, one after the other; AdamW by hand."""
    tower, generator = PlainText(place), torch.Generator().manual_seed(3)
    model: Any = request.model
    out = []
    for image in x:
        seen = views(image, o.views, generator, o.smallest, flip=o.flip)
        if o.augmix:
            seen = torch.cat([seen[:1], mix(seen[1:], generator)])
        f = model.image_features(seen).detach()
        v = tower.start()
        kept: list[int] = []
        first, second = torch.zeros_like(v), torch.zeros_like(v)
        for step in range(1, o.steps + 1):
            v = v.detach().requires_grad_()
            t = torch.stack([tower.feature(v, name) for name in NAMES])
            p = (model.logit_scale * f @ t.T).softmax(1)
            if not kept:
                entropies = [-float((row * row.log()).sum()) for row in p.detach()]
                order = sorted(range(len(f)), key=lambda i: entropies[i])
                kept = order[: max(1, int(len(f) * o.rho))]
            mean = p[kept].mean(0)
            (g,) = torch.autograd.grad(-(mean * mean.log()).sum(), v)
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            mended = (first / (1 - 0.9**step), second / (1 - 0.999**step))
            v = v.detach() * (1 - o.lr * 0.01) - o.lr * mended[0] / (mended[1].sqrt() + 1e-8)
        t = torch.stack([tower.feature(v, name) for name in NAMES])
        out.append(model.logit_scale * f[0] @ t.T)
    return torch.stack(out).detach()


@pytest.mark.parametrize(
    "options",
    [
        Options(views=20),
        Options(views=12, rho=0.3, steps=2, lr=0.05, flip=False, smallest=0.4),
        Options(views=12, rho=0.3, augmix=True),
    ],
    ids=["paper", "two steps", "augmix"],
)
def test_tpt_equals_a_plain_rendering_in_float64(
    place: Path, tmp_path: Path, options: Options
) -> None:
    x = pictures(4)
    tpt = adapt(asked(place), options, make_run(tmp_path))
    ours = torch.cat([tpt.predict(x[:1]), tpt.predict(x[1:])])
    assert (ours - plain_tpt(place, asked(place), x, options)).abs().max() < 1e-10
    shown = tpt.diagnostics
    assert (shown.after_update - shown.before_update).abs().max() > 1e-3, "the prompts moved"
    assert shown.updates == 3 * options.steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_steps_the_logits_are_those_of_zero_shot(
    place: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    request, x = asked(place, dtype), pictures(3, dtype)
    logits = adapt(request, Options(steps=0, views=2), make_run(tmp_path)).predict(x)
    with torch.no_grad():
        assert (logits - request.model(x)).abs().max() < 1e-6


def test_more_classes_than_a_block_give_the_same(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, options = pictures(2), Options(views=10)
    whole = adapt(asked(place), options, make_run(tmp_path)).predict(x)
    monkeypatch.setattr(text, "BLOCK", 3)
    parts = adapt(asked(place), options, make_run(tmp_path)).predict(x)
    assert (whole - parts).abs().max() < 1e-10


def test_the_loss_is_the_entropy_of_the_mean_over_the_most_confident() -> None:
    logits = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 9.0], [1.0, 0.0]], dtype=torch.float64)
    assert most_confident(logits, 0.5).tolist() == [2, 1]
    assert most_confident(logits, 0.01).tolist() == [2], "one view at least"
    mean = logits[[2, 1]].softmax(1).mean(0)
    assert float(marginal_entropy(logits[[2, 1]])) == pytest.approx(
        -float((mean * mean.log()).sum())
    )


def test_prompts_are_tuned_and_the_model_is_not(tmp_path: Path) -> None:
    request = small_request(model=small_clip())
    before = {k: v.clone() for k, v in request.model.state_dict().items()}
    tpt: Any = adapt(request, Options(views=4), make_run(tmp_path))
    read = tpt.prompts.features(tpt.prompts.start)
    assert request.text_features is not None
    assert torch.allclose(read, request.text_features, rtol=0, atol=1e-6)
    tpt.predict(small_batches(1)[0])
    assert torch.equal(tpt.prompts.features(tpt.prompts.start), read)
    assert all(torch.equal(v, before[k]) for k, v in request.model.state_dict().items())


@pytest.mark.parametrize(
    ("context", "message"),
    [("", "must be words"), ("a {} of", "must be words"), ("a photo " * 30, "more than the 64")],
)
def test_a_context_that_is_no_context_is_refused(
    tmp_path: Path, context: str, message: str
) -> None:
    with pytest.raises(KdstError, match=message):
        adapt(small_request(model=small_clip()), Options(context=context), make_run(tmp_path))


def test_a_context_that_runs_into_the_names_is_refused(tmp_path: Path) -> None:
    model = small_clip()
    assert model.text is not None
    model.text.tokenizer = _merged
    with pytest.raises(KdstError, match="runs into the names"):
        adapt(small_request(model=model), Options(context="a photo-"), make_run(tmp_path))


def _merged(prompts: list[str], **_: Any) -> dict[str, Tensor]:
    """A tokenizer for which a hyphen is one token with the word after it."""
    rows = [[1, 5, 9 + ("- " in p), *map(ord, p.replace(" ", "")[7:]), 2] for p in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([[*r, *[0] * (longest - len(r))] for r in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def test_models_without_a_text_tower_are_refused(tmp_path: Path) -> None:
    line = "tpt needs a CLIP-like model with its text tower: --model clip:DIR"
    with pytest.raises(KdstError) as told:
        adapt(small_request(), Options(), make_run(tmp_path))
    assert str(told.value) == line
    with pytest.raises(KdstError) as told:
        kdst_core.run("tpt", out=tmp_path / "r", images=4)
    assert str(told.value) == line
    assert not (tmp_path / "r").exists()


def test_a_run_tunes_prompts_and_a_live_model_too(place: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("zebra", "ant"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for k in range(3):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "d" / name / f"{k}.png")
    wanted: dict[str, Any] = {"data": f"folder:{tmp_path / 'd'}", "model": f"clip:{place}"}
    found = kdst_core.run("tpt", out=tmp_path / "r", batch_size=2, views=4, **wanted)
    assert found.metrics["updates"] == 6
    assert found.metrics["after_update.nll.mean"] != found.metrics["before_update.nll.mean"]
    model: nn.Module = clip.load(str(place), NAMES, [clip.TEMPLATE])
    live = kdst_core.load("tpt")(model, views=4)
    assert live.predict(pictures(2, torch.float32)).shape == (2, len(NAMES))
    assert F.softmax(live.diagnostics.after_update, 1).isfinite().all()


def test_tpt_conforms() -> None:
    check_plugin("tpt")
