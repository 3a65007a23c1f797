"""TEA as an algorithm: against a plain rendering of it, and through resets."""

import copy
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kdst_adapt.checks import small_network
from kdst_authors.testing import check_plugin, make_run
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_tea import Options, adapt

SHAPE = (3, 8, 8)


def batches(count: int, size: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(size, *SHAPE, generator=generator, dtype=dtype) for _ in range(count)]


def plain_tea(model: nn.Module, data: list[Tensor], seed: int, options: Options) -> list[Tensor]:
    """The algorithm in the plainest form: train-mode BatchNorm without running statistics, Adam."""
    model = copy.deepcopy(model).requires_grad_(False)
    affine = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
            affine += [module.weight.requires_grad_(), module.bias.requires_grad_()]
    adam = torch.optim.Adam(affine, options.lr)
    generator = torch.Generator().manual_seed(seed)
    dtype = data[0].dtype
    buffer = torch.empty(options.buffer_size, *SHAPE, dtype=dtype).uniform_(
        -1, 1, generator=generator
    )
    outputs = []
    for x in data:
        count = int(options.sgld_samples * len(x))
        rows = torch.randint(0, options.buffer_size, (count,), generator=generator)
        fresh = torch.empty(count, *SHAPE, dtype=dtype).uniform_(-1, 1, generator=generator)
        again = torch.rand(count, generator=generator) < options.reinit
        fake = torch.where(again[:, None, None, None], fresh, buffer[rows])
        for _ in range(options.sgld_steps):
            fake = fake.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(model(fake).logsumexp(1).sum(), fake)
            noise = torch.randn(fake.shape, generator=generator, dtype=dtype)
            fake = fake.detach() + options.sgld_lr * gradient + options.sgld_std * noise
        buffer[rows] = fake
        loss = model(fake).logsumexp(1).mean() - model(x).logsumexp(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            outputs.append(model(x))
    return outputs


@pytest.mark.parametrize(
    "options",
    [
        Options(buffer_size=20, sgld_steps=5, reinit=0.3),
        Options(buffer_size=20, profile="fast"),
        Options(buffer_size=20, sgld_steps=2, sgld_samples=1.5),
    ],
    ids=["corrected", "fast", "more samples than images"],
)
def test_tea_equals_a_plain_rendering_of_the_algorithm_in_float64(
    tmp_path: Path, options: Options
) -> None:
    model, data = small_network().double(), batches(3, 6)
    request = AdaptRequest(model, 5, SHAPE, torch.Generator().manual_seed(3))
    tea = adapt(request, options, make_run(tmp_path))
    for x, expected in zip(data, plain_tea(model, data, 3, options), strict=True):
        assert (tea.predict(x) - expected).abs().max() < 1e-10


def test_no_more_than_one_graph_is_held_at_a_time(tmp_path: Path) -> None:
    request = AdaptRequest(small_network(), 5, SHAPE, torch.Generator().manual_seed(3))
    tea = adapt(request, Options(buffer_size=20, sgld_steps=1), make_run(tmp_path))
    alive: weakref.WeakSet[nn.Identity] = weakref.WeakSet()
    held: list[int] = []

    def pack(tensor: Tensor) -> nn.Identity:
        box = nn.Identity()
        box.tensor = tensor.detach()
        alive.add(box)
        held.append(sum(b.tensor.numel() for b in alive))
        return box

    x = batches(1, 6, torch.float32)[0]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        tea.model(x).logsumexp(1).mean()
        one = max(held)
        held.clear()
        tea.predict(x)
    assert held
    assert max(held) < 1.2 * one


def test_corrected_reset_replays_a_fresh_run_bit_for_bit(tmp_path: Path) -> None:
    data = batches(3, 6, torch.float32)
    request = AdaptRequest(small_network(), 5, SHAPE, torch.Generator().manual_seed(3))
    tea = adapt(request, Options(buffer_size=20, sgld_steps=3), make_run(tmp_path))
    first = [tea.predict(x).clone() for x in data]
    tea.reset()
    assert all(torch.equal(a, tea.predict(x)) for a, x in zip(first, data, strict=True))


def test_a_reset_lets_the_old_buffer_go_before_it_draws_the_new_one(tmp_path: Path) -> None:
    request = AdaptRequest(small_network(), 5, SHAPE, torch.Generator().manual_seed(3))
    tea = adapt(request, Options(buffer_size=20), make_run(tmp_path))
    old = weakref.ref(tea.buffer)
    alive = []
    uniform = tea.draws.uniform

    def watched(*drawn: Any) -> Tensor:
        alive.append(old() is not None)
        return uniform(*drawn)

    tea.draws.uniform = watched
    tea.reset()
    assert alive == [False]


def test_published_reset_keeps_buffer_and_random_state(tmp_path: Path) -> None:
    data = batches(2, 6, torch.float32)
    request = AdaptRequest(small_network(), 5, SHAPE, torch.Generator().manual_seed(3))
    options = Options(buffer_size=20, sgld_steps=3, profile="published")
    tea = adapt(request, options, make_run(tmp_path))
    start = [p.detach().clone() for p in tea.parameters]
    first = tea.predict(data[0]).clone()
    buffer, state = tea.buffer.clone(), tea.generator.get_state()
    tea.reset()
    assert torch.equal(tea.buffer, buffer)
    assert torch.equal(tea.generator.get_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(start, tea.parameters, strict=True))
    assert not torch.equal(first, tea.predict(data[0]))


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_the_users_model_is_unchanged(tmp_path: Path, profile: str) -> None:
    model = small_network().train()
    before = copy.deepcopy(model.state_dict())
    request = AdaptRequest(model, 5, SHAPE, torch.Generator().manual_seed(3))
    options = Options(buffer_size=20, sgld_steps=3, profile=profile)  # type: ignore[arg-type]
    tea = adapt(request, options, make_run(tmp_path))
    tea.predict(batches(1, 6, torch.float32)[0])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())


def test_group_and_layer_norm_are_adapted_too(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Flatten(), nn.LayerNorm(256),
        nn.Linear(256, 5),
    )  # fmt: skip
    request = AdaptRequest(model, 5, SHAPE, torch.Generator().manual_seed(3))
    tea = adapt(request, Options(buffer_size=20, sgld_steps=2), make_run(tmp_path))
    before = [p.detach().clone() for p in tea.parameters]
    tea.predict(batches(1, 4, torch.float32)[0])
    assert len(before) == 4
    assert all(not torch.equal(a, b) for a, b in zip(before, tea.parameters, strict=True))


def test_a_model_without_norms_is_refused_with_a_way_out(tmp_path: Path) -> None:
    request = AdaptRequest(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), 5, SHAPE, torch.Generator()
    )
    with pytest.raises(KdstError, match=r"nothing to adapt.*\n.*--params all"):
        adapt(request, Options(), make_run(tmp_path))


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 7),
    clamp=st.booleans(),
    conditional=st.booleans(),
    reinit=st.sampled_from([0.0, 0.5, 1.0]),
    params=st.sampled_from(["norm-affine", "all"]),
    steps=st.integers(1, 2),
    episodic=st.booleans(),
)
def test_every_combination_of_options_gives_finite_logits(
    tmp_path_factory: pytest.TempPathFactory, size: int, **chosen: object
) -> None:
    options = Options(buffer_size=9, sgld_steps=2, **chosen)  # type: ignore[arg-type]
    request = AdaptRequest(small_network(), 5, SHAPE, torch.Generator().manual_seed(3))
    tea = adapt(request, options, make_run(tmp_path_factory.mktemp("run")))
    x = batches(1, size, torch.float32)[0]
    logits = tea.predict(x)
    assert logits.shape == (size, 5)
    assert logits.isfinite().all()
    assert tea.diagnostics.updates == chosen["steps"]
    if chosen["clamp"]:
        assert tea.diagnostics.images["samples"].min() >= 0


def test_tea_conforms() -> None:
    check_plugin("tea")


def test_the_fast_profile_goes_the_same_distance_in_fewer_steps() -> None:
    slow, fast = Options(), Options(profile="fast")
    assert slow.schedule == (20, 0.1)
    assert fast.schedule == (2, 1.0)
    assert (fast.sgld_steps, fast.sgld_lr) == fast.schedule
    assert (slow.sgld_samples, fast.sgld_samples) == (1, 0.5)
    assert Options(profile="fast", sgld_samples=1).share == 1
    assert Options(profile="fast", sgld_steps=7, sgld_lr=0.0).schedule == (7, 0.0)


def test_sampling_in_bfloat16_draws_nearby_samples_and_updates_in_float32(tmp_path: Path) -> None:
    data, found, forms = batches(1, 6, torch.float32)[0], [], []
    for dtype in ("float32", "bfloat16"):
        request = AdaptRequest(small_network(), 5, SHAPE, torch.Generator().manual_seed(3))
        options = Options(buffer_size=20, sgld_steps=2, sampling_dtype=dtype)  # type: ignore[arg-type]
        tea = adapt(request, options, make_run(tmp_path))
        layer = next(m for m in tea.model.modules() if isinstance(m, nn.Conv2d))
        layer.register_forward_hook(lambda _m, _x, y: forms.append(y.dtype))
        logits = tea.predict(data)
        found.append(tea.diagnostics.images["samples"])
        assert logits.dtype == torch.float32
    half, whole = torch.bfloat16, torch.float32
    assert forms[len(forms) // 2 :] == [half] * 2 + [whole] * (len(forms) // 2 - 2)
    assert 0 < (found[0] - found[1]).abs().max() < 0.05


def test_bfloat16_is_refused_for_a_model_of_float64(tmp_path: Path) -> None:
    request = AdaptRequest(small_network().double(), 5, SHAPE, torch.Generator())
    with pytest.raises(KdstError, match=r"bfloat16 was given for a model of float64.*\n.*float32"):
        adapt(request, Options(sampling_dtype="bfloat16"), make_run(tmp_path))
