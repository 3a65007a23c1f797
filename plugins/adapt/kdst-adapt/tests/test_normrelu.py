"""BatchNorm, addition and ReLU as kernels: the same as torch's operations, outputs and gradients."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kdst_adapt.models import normrelu
from kdst_adapt.models.normrelu import norm_relu, twin
from kdst_adapt.models.norms import use_batch_statistics
from kdst_adapt.models.resnet import ResNet


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernels take images that are too small to gain."""
    monkeypatch.setattr(normrelu, "SMALLEST", 0)


def layer(channels: int, dtype: torch.dtype = torch.float64) -> nn.BatchNorm2d:
    """A BatchNorm of drawn weights that normalises by the batch."""
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    use_batch_statistics(norm.eval().to(dtype))
    return norm


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images laid out channels last."""
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def outcome(
    norm: nn.BatchNorm2d, x: Tensor, r: Tensor | None, plain: bool, names: str = "first"
) -> list[Tensor]:
    """Output, and gradients of input, residual, weight and bias, of a loss that weighs pixels apart.

    names: under which of its two names the loss has the output.
    """
    inputs = [t.clone().requires_grad_() for t in (x, r) if t is not None]
    added = inputs[1] if r is not None else 0
    y = F.relu(norm(inputs[0]) + added) if plain else norm_relu(norm, *inputs)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    loss = torch.zeros((), dtype=y.dtype)
    if names != "second":
        loss = loss + (y * y * weights).sum()
    if names != "first":
        loss = loss + (twin(y) ** 3 * weights.flip(0)).sum()
    return [y.detach(), *torch.autograd.grad(loss, [*inputs, norm.weight, norm.bias])]


@settings(deadline=None)  # the first call compiles
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(2, 40), st.integers(2, 9), st.integers(1, 9)),
    added=st.booleans(),
    names=st.sampled_from(["first", "second", "both"]),
    seed=st.integers(0, 999),
)
def test_it_equals_torch_in_float64(
    shape: tuple[int, int, int, int], added: bool, names: str, seed: int
) -> None:
    torch.manual_seed(seed)
    norm, x, r = layer(shape[1]), 3 * images(*shape) + 1, images(*shape)
    residual = r if added else None
    ours, theirs = (outcome(norm, x, residual, plain, names) for plain in (False, True))
    for mine, other in zip(ours, theirs, strict=True):
        scale = other.abs().max().clamp(1)
        assert (mine - other).abs().max() <= 1e-10 * scale


def test_the_kernels_are_used_and_hand_on_the_layout() -> None:
    y = norm_relu(layer(16), images(2, 16, 4, 4).requires_grad_(), images(2, 16, 4, 4))
    assert "_NormReLU" in type(y.grad_fn).__name__
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_the_gradients_of_both_names_are_added_by_the_kernel() -> None:
    """None of the two is changed, but the first, which belongs to the layer."""
    torch.manual_seed(0)
    norm, x, r = layer(16), images(2, 16, 4, 4), images(2, 16, 4, 4).requires_grad_()
    y = norm_relu(norm, x, r)
    assert twin(y) is not y
    assert twin(x) is x
    assert twin(y).data_ptr() == y.data_ptr()
    g, h = images(2, 16, 4, 4), images(2, 16, 4, 4)
    kept = h.clone()
    dr = torch.autograd.grad([y, twin(y)], r, [g.clone(), h])[0]
    assert torch.equal(dr, (g + h) * (y > 0))
    assert torch.equal(h, kept)


def test_a_bias_learns_beside_a_frozen_weight() -> None:
    torch.manual_seed(0)
    norm, x = layer(8), images(2, 8, 4, 4)
    norm.weight.requires_grad_(False)
    ours, theirs = (
        torch.autograd.grad(y.pow(2).sum(), norm.bias)[0]
        for y in (norm_relu(norm, x), F.relu(norm(x)))
    )
    assert (ours - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("threads", [1, 3])
def test_float32_keeps_its_digits_with_any_number_of_threads(threads: int) -> None:
    """More rows than are added up in float32, and a mean a thousand times the deviation."""
    torch.manual_seed(0)
    x, r = images(40, 16, 32, 32) + 1000, images(40, 16, 32, 32)
    norm = layer(16)
    want = outcome(norm, x.float().double(), r, plain=True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = outcome(norm.float(), x.float(), r.float(), plain=False)
    finally:
        torch.set_num_threads(before)
    for mine, other in zip(got, want, strict=True):
        assert (mine - other).norm() <= 2e-4 * other.norm()


@pytest.mark.parametrize(
    "case", ["hook", "standard layout", "training statistics", "no weights", "small"]
)
def test_what_the_kernels_do_not_do_is_left_to_torch(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(normrelu, "_in_pieces", None)  # a kernel would fail
    norm, x, calls = layer(4), images(3, 4, 5, 5), []
    if case == "hook":
        norm.register_forward_hook(lambda *_: calls.append(1))
    elif case == "small":
        monkeypatch.setattr(normrelu, "SMALLEST", x.numel() + 1)
    elif case == "standard layout":
        x = x.contiguous()
    elif case == "training statistics":
        norm = nn.BatchNorm2d(4).eval().double()
    else:
        norm = nn.BatchNorm2d(4, affine=False).double()
        use_batch_statistics(norm.eval())
    assert torch.equal(norm_relu(norm, x), F.relu(norm(x)))
    assert len(calls) == (2 if case == "hook" else 0)


def test_a_gradient_that_is_not_dense_is_read_right() -> None:
    """Average pooling hands one value to a whole plane; it must not be written over."""
    torch.manual_seed(0)
    norm, x = layer(8), images(2, 8, 6, 6).requires_grad_()
    ours = torch.autograd.grad(norm_relu(norm, x).mean((2, 3)).pow(2).sum(), x)[0]
    theirs = torch.autograd.grad(F.relu(norm(x)).mean((2, 3)).pow(2).sum(), x)[0]
    assert (ours - theirs).abs().max() < 1e-12


def test_the_pieces_of_several_threads_are_whole_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    z = images(1, 3, 3, 3).permute(0, 2, 3, 1).reshape(-1).numpy()
    normrelu._in_pieces(lambda a, b, *_: ranges.append((a, b)), z[None, :3], z)
    ranges.sort()
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(z)
    assert all(first % 3 == 0 for first, _ in ranges)
    assert all(one[1] == two[0] for one, two in pairwise(ranges))


def built_in() -> tuple[nn.Module, Tensor]:
    """A residual network by batch statistics in float64, and images that the kernels take."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResNet(1, 4, width=4).double().eval()
        x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    use_batch_statistics(net)
    return net, x.contiguous(memory_format=torch.channels_last)


def curvature(net: nn.Module, x: Tensor) -> list[Tensor]:
    """The gradients of the squared norm of a gradient, by the image and two parameters."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    of = [x, net.bn1.weight, net.layer2[0].bn2.bias]  # type: ignore[union-attr,index]
    first = torch.autograd.grad(net(x).square().sum(), of, create_graph=True)
    return list(torch.autograd.grad(sum(g.square().sum() for g in first), of))


def test_second_derivatives_are_those_of_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = built_in()
    ours = curvature(net, x)
    monkeypatch.setattr("kdst_adapt.models.normrelu.SMALLEST", 1 << 60)
    for mine, plain in zip(ours, curvature(net, x), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-8, atol=1e-10)


def test_torch_func_on_a_built_in_network() -> None:
    net, x = built_in()
    parameters = {n: p.detach() for n, p in net.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(net, parameters, (x,)).square().sum()

    found = torch.func.grad(loss)(parameters, x)
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-9)
    small = x[:2].clone()
    many = torch.func.vmap(lambda x: loss(parameters, x))(torch.stack([small, 2 * small]))
    assert many.isfinite().all()
    _, slope = torch.func.jvp(lambda x: loss(parameters, x), (small,), (small,))
    ahead, behind = (loss(parameters, small * (1 + e)) for e in (1e-6, -1e-6))
    torch.testing.assert_close(slope, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-5)
