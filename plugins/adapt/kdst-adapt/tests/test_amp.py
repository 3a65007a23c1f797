"""Runs in mixed precision: what methods see, how near float32 they stay, loss scaling, what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kdst_core
from kdst_adapt.checks import small_batches, small_network
from kdst_adapt.compare.pairing import mismatch
from kdst_adapt.models import amp, clip
from kdst_adapt.models.small_clip import small_clip
from kdst_core.errors import KdstError

SETTINGS: dict[str, Any] = {"images": 100, "types": ["fog"]}
TOLERANCE = {"accuracy": 0.03, "nll": 0.03}
"""Within which bfloat16 agrees with float32 on the digits: a share of images, and nats."""


def run(method: str, out: Path, **options: Any) -> Any:
    """Run a method on a few digits, TEA with few steps."""
    few = {"sgld_steps": 3, "buffer_size": 200} if method == "tea" else {}
    return kdst_core.run(method, out=out, **{**SETTINGS, **few, **options})


@pytest.mark.parametrize("method", ["norm", "tent", "sar", "tea"])
def test_bfloat16_agrees_with_float32(tmp_path: Path, method: str) -> None:
    if method != "norm":
        pytest.importorskip(f"kdst_{method}")
    full = run(method, tmp_path / "full").metrics
    half = run(method, tmp_path / "half", amp="bfloat16").metrics
    for reading in ("", "before_update.", "after_update."):
        for figure, most in TOLERANCE.items():
            key = f"{reading}{figure}.mean"
            assert abs(full[key] - half[key]) <= most, key
    assert full["nll.mean"] != half["nll.mean"], "it is another precision"
    assert full["updates"] == half["updates"]


def test_the_same_seed_gives_the_same_result_and_the_result_says_the_precision(
    tmp_path: Path,
) -> None:
    pytest.importorskip("kdst_tent")
    one, two = (run("tent", tmp_path / n, amp="bfloat16") for n in "ab")
    measured = ("second", "cost", "memory")
    plain = [
        {k: v for k, v in r.metrics.items() if not any(m in k for m in measured)}
        for r in (one, two)
    ]
    assert plain[0] == plain[1]
    data = json.loads((tmp_path / "a" / "result.json").read_text())
    assert data["input"]["amp"] == "bfloat16"
    assert any(f["sentence"].startswith("Forward passes run in bfloat16") for f in data["audit"])
    assert "Forward passes in bfloat16." in (tmp_path / "a" / "report.html").read_text()
    before = {**data, "input": {k: v for k, v in data["input"].items() if k != "amp"}}
    assert mismatch(data, before) == "amp is bfloat16 in one and no in the other"


class Seen(nn.Module):
    """A network that notes in which precision its layers compute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.kinds: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.kinds.append(y.dtype)
        out: Tensor = self.last(y.relu().mean((2, 3)))
        return out


def test_copies_compute_in_half_precision_and_return_float32() -> None:
    model, x = Seen(), small_batches(1)[0]
    amp.install(model, x, "cpu", "bfloat16")
    clone = copy.deepcopy(model)
    clone.kinds.clear()
    logits = clone(x)
    assert clone.kinds == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert clone.conv.weight.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu"), "what follows is in float32"
    logits.logsumexp(1).mean().backward()
    assert clone.conv.weight.grad is not None
    assert clone.conv.weight.grad.dtype == torch.float32
    with pytest.raises(RuntimeError):
        clone(x[:, :2])
    assert not torch.is_autocast_enabled("cpu"), "a pass that fails ends it too"


def gradients(model: nn.Module, x: Tensor, weight: float) -> list[Tensor]:
    """Gradients of the images and of all parameters of a small loss."""
    x = x.clone().requires_grad_()
    loss = weight * model(x).logsumexp(1).mean()
    return list(torch.autograd.grad(loss, [x, *model.parameters()]))


@pytest.mark.parametrize("weight", [1.0, 1e-7, 1e5])
def test_gradients_in_float16_are_scaled_and_methods_see_none_of_it(weight: float) -> None:
    """Float16 runs on CUDA; the hooks are the same on a CPU, where this is tried."""
    x, plain = small_batches(1)[0], small_network().requires_grad_(True)
    half = copy.deepcopy(plain)
    hooks = amp.Amp(torch.float16)
    half.register_forward_pre_hook(hooks.enter, with_kwargs=True)
    half.register_forward_hook(hooks.leave, always_call=True)
    kept = dict(half.named_parameters())
    expected, found = gradients(plain, x, weight), gradients(half, x, weight)
    for theirs, ours in zip(expected, found, strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - theirs).norm()) <= 0.04 * float(theirs.norm())
    if weight < 1:
        with torch.autocast("cpu", dtype=torch.float16):
            lost = gradients(plain, x, weight)
        assert float((lost[0] - expected[0]).norm()) > 0.5 * float(expected[0].norm())
    assert all(p is kept[n] for n, p in half.named_parameters())
    both = half(x).logsumexp(1).mean() + 1e-6 * half(1 - x).logsumexp(1).mean()
    both.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in half.parameters())


def test_of_a_clip_like_model_the_image_tower_is_in_half_precision() -> None:
    model, x = small_clip(), small_batches(1)[0]
    expected = model(x).detach()
    amp.install(model, x, "cpu", "bfloat16")
    with torch.no_grad():
        logits, features = model(x), model.image_features(x)
    assert features.dtype == logits.dtype == torch.float32
    assert torch.equal(logits, model.logit_scale * (features @ model.text_features.T))
    assert 0 < (logits - expected).abs().max() < 0.05
    assert clip.parts(model)["text"] is model.text


class Plain(torch.autograd.Function):
    """An operation for float32 alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() * 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


class OwnKernel(Seen):
    """A network with an operation that half precision does not pass."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Plain.apply(self.conv(x))  # type: ignore[no-untyped-call]
        out: Tensor = self.last(y.mean((2, 3)))
        return out


class Whole(Seen):
    """A network with a table of whole numbers, as quantised layers have."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(3, dtype=torch.int8))


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (Seen, ("cpu", "float16"), "float16 is for CUDA; on a CPU give --amp bfloat16"),
        (Seen, ("mps", "bfloat16"), "for the CPU and CUDA, not for mps"),
        (lambda: Seen().double(), ("cpu", "bfloat16"), "this one is float64"),
        (Whole, ("cpu", "bfloat16"), "this one has quantised layers"),
        (OwnKernel, ("cpu", "bfloat16"), "does not run under --amp bfloat16: .*BFloat16"),
    ],
    ids=["float16", "mps", "float64", "int8", "kernel"],
)
def test_what_cannot_work_is_refused(model: Any, given: tuple[str, str], message: str) -> None:
    with pytest.raises(KdstError, match=message) as told:
        amp.install(model(), small_batches(1)[0], *given)
    assert len(str(told.value).splitlines()) <= 2


def test_a_processor_without_instructions_for_bfloat16_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags, quick in (("fma avx512f", False), ("fma avx512_bf16", True), ("asimd bf16", True)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(amp, "CPU", tmp_path / "cpuinfo")
        assert amp.has_quick_bfloat16() is quick
    monkeypatch.setattr(amp, "CPU", tmp_path / "none")
    assert amp.has_quick_bfloat16()
