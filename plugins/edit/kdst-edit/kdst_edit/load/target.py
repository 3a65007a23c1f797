"""What a run edits: its model, its source and its targets, loaded and checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.bench.contract import Job
from kdst_core.bench.libraries import silence_libraries
from kdst_core.bench.sealed import SealedArray, hidden
from kdst_edit.inputs import EditInputs
from kdst_edit.models.precision import chosen, computing_in
from kdst_edit.options import inverts
from kdst_edit.sampling.schedulers import Plan


@frozen(kw_only=True)
class Target:
    """The inputs of a run as objects.

    image: the photograph (3, H, W) in [0, 1], or None for a generated source. sealed_mask: where (H, W)
    edits are scored as wanted. notes: what was changed to fit, as sentences. confine: latents (h, w)
    that edits may change, or None for all. size: height and width in pixels.
    """

    job: Job
    device: str
    pipeline: Any
    source: str
    targets: tuple[str, ...]
    image: Tensor | None
    sealed_mask: SealedArray | None
    notes: tuple[str, ...]
    plan: Plan
    confine: Tensor | None
    size: tuple[int, int]

    @property
    def inputs(self) -> EditInputs:
        """The bench's options."""
        inputs: EditInputs = self.job.inputs
        return inputs

    @property
    def inverted(self) -> bool:
        """Whether the run inverts a photograph: there is one, and the method needs it."""
        return self.image is not None and inverts(self.job.options)

    @property
    def mask(self) -> Tensor | None:
        """Where (H, W) edits are scored as wanted; RuntimeError while a method works."""
        return None if self.sealed_mask is None else torch.from_numpy(self.sealed_mask.read())

    @property
    def dtype(self) -> torch.dtype:
        """The precision of UNet and text encoders."""
        return chosen(self.inputs.dtype, self.pipeline, self.device)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Enclose the work on the pipeline: in its precision, quietly, without the mask's file."""
        files = [self.inputs.mask] if self.inputs.mask is not None else []
        with silence_libraries("diffusers"), computing_in(self.pipeline, self.dtype), hidden(files):
            yield
