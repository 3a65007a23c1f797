"""Compile every CPU kernel before the clock of a run starts."""

from functools import cache

import torch

from kdst_3dgs.adam import VisibleAdam, adam_rows
from kdst_3dgs.grids import BilateralGrids, adam_grids
from kdst_3dgs.loss import MIN_SIDE, photometric_loss
from kdst_3dgs.parallel import compiling
from kdst_3dgs.rasterizer import compile_rasterizer
from kdst_3dgs.simd import kept_on_disk


@cache
def compile_kernels() -> None:
    """Load the kernels of a training step from disk, or compile them and say so on stderr."""
    compile_rasterizer()
    with compiling(kept_on_disk(adam_rows)), torch.enable_grad():
        image = torch.zeros(MIN_SIDE, MIN_SIDE, 3, requires_grad=True)
        photometric_loss(image, torch.zeros_like(image)).backward()
        VisibleAdam([image], 0.0).step()


@cache
def compile_grids() -> None:
    """Load or compile the kernels of bilateral grids, which few runs need."""
    with compiling(kept_on_disk(adam_grids)), torch.enable_grad():
        grids = BilateralGrids(1, 0.0, 1.0)
        image = torch.zeros(MIN_SIDE, MIN_SIDE, 3, requires_grad=True)
        grids.applied(image, 0).sum().backward()
        grids.step(1.0)
