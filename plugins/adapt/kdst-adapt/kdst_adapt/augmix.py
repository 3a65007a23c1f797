"""AugMix's augmentations (Hendrycks et al., ICLR 2020), for small images and all copies at once.

Every copy is shifted by up to an eighth of the image and mirrored or not; then three chains of one to
three operations are mixed with each other and with the copy itself. An operation takes images
(n, C, H, W) in [0, 1] and levels (n,) in [0, 1] of the strongest.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

CHAINS, LONGEST = 3, 3


def augment(
    image: Tensor, count: int, generator: Generator, *, severity: float = 1.0, flip: bool = False
) -> Tensor:
    """Return `count` augmented copies (count, C, H, W) of an image (C, H, W) in [0, 1]."""
    copies = _shifted(image, count, generator)
    if flip:
        mirrored = _uniform(count, generator=generator) < 0.5
        copies = torch.where(_beside(mirrored, image), copies.flip(-1), copies)
    return mix(copies, generator, severity=severity)


def mix(copies: Tensor, generator: Generator, *, severity: float = 1.0) -> Tensor:
    """Return copies (n, C, H, W) in [0, 1], each mixed with three chains of operations on it."""
    chains = copies.repeat_interleave(CHAINS, 0)
    length = torch.randint(1, LONGEST + 1, (len(chains),), generator=generator)
    for turn in range(LONGEST):
        chosen = torch.randint(len(OPERATIONS), (len(chains),), generator=generator)
        level = (0.1 + (severity - 0.1) * _uniform(len(chains), generator=generator)) / 10
        sign = torch.randint(2, (len(chains),), generator=generator) * 2 - 1
        for number, operation in enumerate(OPERATIONS):
            at = ((chosen == number) & (turn < length)).nonzero()[:, 0].to(copies.device)
            if len(at):
                chains[at] = operation(chains[at], _beside((level * sign)[at.cpu()], copies))
    share = -_uniform(len(copies), CHAINS, generator=generator).log()  # Dirichlet(1, 1, 1)
    share = _beside(share / share.sum(1, keepdim=True), copies)
    mixed = (share * chains.unflatten(0, (-1, CHAINS))).sum(1)
    return torch.lerp(copies, mixed, _beside(_uniform(len(copies), generator=generator), copies))


def _uniform(*shape: int, generator: Generator) -> Tensor:
    """Draw from U(0, 1) in float64."""
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def _beside(values: Tensor, image: Tensor) -> Tensor:
    """Give values (n, ...) three more axes and the device of an image, and its type to numbers."""
    values = values.to(image.device)[..., None, None, None]
    return values if values.dtype == torch.bool else values.to(image.dtype)


def _shifted(image: Tensor, count: int, generator: Generator) -> Tensor:
    """Return copies moved by up to an eighth of the sides, black beyond the border."""
    height, width = image.shape[-2:]
    up, left = height // 8, width // 8
    padded = functional.pad(image, (left, left, up, up))
    rows = torch.randint(2 * up + 1, (count,), generator=generator).tolist()
    columns = torch.randint(2 * left + 1, (count,), generator=generator).tolist()
    places = zip(rows, columns, strict=True)
    return torch.stack([padded[:, r : r + height, c : c + width] for r, c in places])


def autocontrast(x: Tensor, level: Tensor) -> Tensor:
    """Stretch every channel to [0, 1]; one of a single value stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-12), x)


def equalize(x: Tensor, level: Tensor) -> Tensor:
    """Equalise the histogram of every channel, in 256 values."""
    values = (x * 255).round().long().clamp(0, 255).flatten(2)
    counts = torch.zeros(*x.shape[:2], 256, dtype=x.dtype, device=x.device)
    counts.scatter_add_(2, values, torch.ones_like(values, dtype=x.dtype))
    below = counts.cumsum(2)
    first = below.gather(2, values.amin(2, keepdim=True))
    equal = (below.gather(2, values) - first) / (values.shape[2] - first).clamp(min=1)
    return torch.where(first == values.shape[2], x.flatten(2), equal).view_as(x)


def posterize(x: Tensor, level: Tensor) -> Tensor:
    """Keep the upper 4 bits of 8, fewer at higher levels."""
    steps = 2.0 ** (4 - (4 * level.abs()).floor())
    return (x * 255 / 256 * steps).floor() / steps


def solarize(x: Tensor, level: Tensor) -> Tensor:
    """Invert what is brighter than 1 less the level."""
    return torch.where(x >= 1 - level.abs(), 1 - x, x)


def warped(matrix: Callable[[Tensor], list[list[Tensor]]]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return an operation that maps coordinates by a matrix (2, 3) of the level."""

    def operation(x: Tensor, level: Tensor) -> Tensor:
        theta = torch.stack([torch.stack(row, -1) for row in matrix(level.flatten())], -2)
        grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)

    return operation


def _turn(level: Tensor) -> list[list[Tensor]]:
    """Rotate by up to 30 degrees."""
    angle = level * math.radians(30)
    zero = torch.zeros_like(level)
    return [[angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero]]


def _move(row: int, column: int, most: float) -> Callable[[Tensor], list[list[Tensor]]]:
    """Add up to `most` to one entry of the identity."""

    def matrix(level: Tensor) -> list[list[Tensor]]:
        one, zero = torch.ones_like(level), torch.zeros_like(level)
        entries = [[one, zero, zero], [zero, one, zero]]
        entries[row][column] = level * most
        return entries

    return matrix


OPERATIONS: list[Callable[[Tensor, Tensor], Tensor]] = [
    autocontrast,
    equalize,
    posterize,
    solarize,
    warped(_turn),
    warped(_move(0, 1, 0.3)),
    warped(_move(1, 0, 0.3)),
    warped(_move(0, 2, 2 / 3)),
    warped(_move(1, 2, 2 / 3)),
]
"""Those of AugMix that are none of the corruptions of CIFAR-10-C and ImageNet-C."""
