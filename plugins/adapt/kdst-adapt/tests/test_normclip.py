"""BatchNorm with ReLU6 after it, or alone, as kernels: the same as torch's operations."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdst_adapt.models import normrelu
from kdst_adapt.models.normclip import norm_only, norm_relu6
from kdst_adapt.models.norms import use_batch_statistics

KINDS = pytest.mark.parametrize(
    ("ours", "after"), [(norm_relu6, F.relu6), (norm_only, torch.clone)], ids=["relu6", "alone"]
)
Applied = Callable[[nn.BatchNorm2d, Tensor], Tensor]


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernels take images that are too small to gain."""
    monkeypatch.setattr(normrelu, "SMALLEST", 0)


def layer(channels: int) -> nn.BatchNorm2d:
    """A BatchNorm of drawn weights, large enough that both bounds act."""
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 0, 4)
    nn.init.normal_(norm.bias, 3)
    use_batch_statistics(norm.eval().double())
    return norm


def images(*shape: int) -> Tensor:
    """Images laid out channels last."""
    x = torch.randn(*shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


@KINDS
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 33, 9, 3), (4, 520, 2, 2)])
def test_it_equals_torch_in_float64(
    ours: Applied, after: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    norm, x = layer(shape[1]), images(*shape)
    weights = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view_as(x)
    found = []
    for y in (ours(norm, x), after(norm(x))):
        loss = (y * y * weights).sum()
        found.append([y, *torch.autograd.grad(loss, [x, norm.weight, norm.bias])])
    assert "NormClip" in type(ours(norm, x).grad_fn).__name__
    for mine, other in zip(*found, strict=True):
        assert (mine - other).abs().max() <= 1e-10 * other.abs().max().clamp(1)


@KINDS
def test_a_gradient_that_two_sides_share_is_left_as_it_is(
    ours: Applied, after: Callable[[Tensor], Tensor]
) -> None:
    torch.manual_seed(1)
    norm, x = layer(4), images(3, 4, 5, 5)
    found = [
        torch.autograd.grad((y + x).square().sum(), x)[0] for y in (ours(norm, x), after(norm(x)))
    ]
    assert (found[0] - found[1]).abs().max() <= 1e-9


@KINDS
def test_its_gradient_has_derivatives(ours: Applied, after: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(2)
    norm, x = layer(3), images(2, 3, 3, 3)
    found = []
    for y in (ours(norm, x), after(norm(x))):
        (gradient,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), [x, norm.weight]))
    for mine, other in zip(*found, strict=True):
        assert (mine - other).abs().max() <= 1e-9 * other.abs().max().clamp(1)


def test_a_layer_with_a_hook_is_called() -> None:
    norm, seen = layer(4), []
    norm.register_forward_hook(lambda *_: seen.append(1))
    norm_relu6(norm, images(2, 4, 3, 3))
    assert seen


@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 33, 9, 3)])
def test_a_gradient_of_a_convolution_is_overwritten_by_the_same_values(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(3)
    norm, x, kernel = layer(shape[1]), images(*shape), torch.randn(4, shape[1], 1, 1).double()
    found, arrived = [], []
    for own in (True, False):
        y = norm_relu6(norm, x, to_convolution=own)
        y.register_hook(arrived.append)
        loss = F.conv2d(y, kernel).square().sum()
        found.append(torch.autograd.grad(loss, [x, norm.weight, norm.bias]))
    for mine, other in zip(*found, strict=True):
        assert torch.equal(mine, other)
    assert arrived[0].data_ptr() == found[0][0].data_ptr()
    assert arrived[1].data_ptr() != found[1][0].data_ptr()
