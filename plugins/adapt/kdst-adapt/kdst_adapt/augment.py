"""Augmentations of a batch, those of CoTTA: colour, position, blur and noise, drawn once a call."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness."""
MOVE = 1 / 8
"""Largest shift in shares of the sides: the authors' 1/16 is one of images padded to twice their side."""


def augment(
    x: Tensor,
    generator: Generator,
    *,
    flip: bool = False,
    soften: bool = True,
    reflect: bool = False,
) -> Tensor:
    """Return images (B, C, H, W) in [0, 1] in one random variation, the same for all of them.

    flip: mirror half of the calls. soften: blur, and add noise. reflect: mirror the images at their
    borders where they move away from them, else repeat the border. Ranges are those of CoTTA's authors
    for CIFAR (Wang et al., CVPR 2022). Saturation and hue act on three channels only; hue turns in the
    plane of chroma (YIQ), not in HSV.
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * _uniform(1, generator).item()

    colours: list[Callable[[Tensor], Tensor]] = [
        lambda x: x * draw(0.6, 1.4),
        lambda x: _blend(x, _grey(x).mean((1, 2, 3), keepdim=True), draw(0.7, 1.3)),
        lambda x: _blend(x, _grey(x), draw(0.5, 1.5)),
        lambda x: _turn_hue(x, draw(-0.06, 0.06)),
        lambda x: x.clamp(min=1e-6) ** draw(0.7, 1.3),
    ]
    for number in torch.randperm(len(colours), generator=generator).tolist():
        x = colours[number](x).clamp(0, 1)
    move = (draw(-MOVE, MOVE), draw(-MOVE, MOVE))
    beyond = "reflection" if reflect else "border"
    x = _affine(x, math.radians(draw(-15, 15)), draw(0.9, 1.1), move, beyond)
    if soften:
        x = _blur(x, draw(0.001, 0.5))
    if flip and draw(0, 1) < 0.5:
        x = x.flip(-1)
    if not soften:
        return x.clamp(0, 1)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return (x + 0.005 * noise.to(x)).clamp(0, 1)


def _uniform(count: int, generator: Generator) -> Tensor:
    """Draw from U(0, 1) in float64."""
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _grey(x: Tensor) -> Tensor:
    """Return the brightness (B, 1, H, W); of other than three channels, their mean."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * x.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)


def _blend(x: Tensor, other: Tensor, factor: float) -> Tensor:
    """Move away from (factor above 1) or towards another picture."""
    return other + factor * (x - other)


def _turn_hue(x: Tensor, turns: float) -> Tensor:
    """Turn the colours of three channels around grey."""
    if x.shape[1] != 3:
        return x
    luma = [list(GREY), [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
    to_yiq = torch.tensor(luma, dtype=torch.float64)
    cos, sin = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    matrix = (torch.linalg.inv(to_yiq) @ turn @ to_yiq).to(x)
    return torch.einsum("ij,bjhw->bihw", matrix, x)


def _affine(
    x: Tensor, angle: float, scale: float, move: tuple[float, float], beyond: str
) -> Tensor:
    """Turn, scale and move by shares of the sides, bilinear; beyond: `padding_mode` of grid_sample."""
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    rows = [[cos, sin, 2 * move[0]], [-sin, cos, 2 * move[1]]]
    theta = x.new_tensor(rows).expand(len(x), 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode=beyond, align_corners=False)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian of five pixels a side."""
    at = torch.arange(-2, 3, dtype=torch.float64)
    weights = (-(at**2) / (2 * sigma**2)).exp()
    weights = (weights / weights.sum()).to(x)
    channels = x.shape[1]
    across = weights.expand(channels, 1, 1, 5)
    padded = functional.pad(x, (2, 2, 2, 2), mode="replicate")
    blurred = functional.conv2d(padded, across, groups=channels)
    return functional.conv2d(blurred, across.transpose(2, 3), groups=channels)
