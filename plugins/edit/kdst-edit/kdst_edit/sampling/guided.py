"""A network under guidance for several prompts, at latents of their own."""

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from attrs import frozen
from torch import Tensor

from kdst_edit.control.session import Control, Row
from kdst_edit.models.latents import guidance_inputs
from kdst_edit.sampling.sample import Branch, Network, branch_rows, chunks, guide, texts_of


@frozen
class Guided:
    """What a network predicts for some branches; no scheduler steps.

    max_rows: bound on the rows of one call.
    """

    network: Network
    branches: Sequence[Branch]
    rows: Sequence[Row]
    max_rows: int | None = None

    @classmethod
    def of(
        cls,
        pipeline: Any,
        branches: Sequence[Branch],
        latent: tuple[int, int],
        max_rows: int | None = None,
    ) -> "Guided":
        """Encode the branches' prompts for latents (h, w)."""
        told = guidance_inputs(pipeline, [branch.guidance for branch in branches])
        if told:
            branches = [attrs.evolve(branch, guidance=1.0) for branch in branches]
        rows = branch_rows(branches)
        texts = texts_of(pipeline, branches, rows, latent)
        return cls(Network(pipeline, rows, texts, None, told), branches, rows, max_rows)

    @torch.no_grad()
    def __call__(
        self, x: Tensor, timestep: Any, step: int = 0, control: Control | None = None
    ) -> Tensor:
        """Return the guided outputs for latents x (B, C, h, w), one a branch.

        control: is told of every call, which is of the step `step`.
        """
        predicted = []
        for part in chunks(len(self.rows), self.max_rows):
            if control is not None:
                rows = [self.rows[i] for i in part]
                control.expect(step, rows, more=part[-1] + 1 < len(self.rows))
            predicted.append(self.network.predict(None, x, timestep, part, step))
        return guide(torch.cat(predicted), self.rows, self.branches)
