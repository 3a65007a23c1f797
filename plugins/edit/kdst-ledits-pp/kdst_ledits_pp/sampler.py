"""Sampling of several targets from one inversion, under the guidance of their edits."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from kdst_edit.sampling.schedule import Step
from kdst_ledits_pp.concepts import Concept
from kdst_ledits_pp.guidance import Mask, kind_at, masked, psi
from kdst_ledits_pp.solver import Inverted, Solver

Heat = Callable[[int, str], Tensor | None]
"""A row and its text -> where the text's words attended in this step (h', w'), or None."""


@define(eq=False)
class Sampler:
    """Samples the edits of E targets from one inversion.

    estimate: ε (B, C, h, w) of latents, of which each target has a row without words and one a concept.
    heat: of rows of the last estimate. inside: (h, w), 1 where edits may differ, or None.
    masks: (E, h, w), where edits acted so far.
    """

    solver: Solver
    inverted: Inverted
    concepts: Sequence[Sequence[Concept]]
    estimate: Callable[[Tensor, Step, int], Tensor]
    heat: Heat
    kind: Mask
    published: bool
    levels: int
    inside: Tensor | None = None
    advance: Callable[[int], Any] = lambda _: None
    masks: Tensor = field(init=False)

    def run(self) -> Tensor:
        """Return the edits (E, C, h, w)."""
        path, maps = self.inverted.latents, self.inverted.maps
        x, before = path[:1].expand(len(self.concepts), -1, -1, -1), None
        self.masks = torch.zeros_like(x[:, 0])
        repeats = torch.tensor([1 + len(each) for each in self.concepts], device=x.device)
        for number, step in enumerate(self.solver.steps):
            estimates = self.estimate(x.repeat_interleave(repeats, 0), step, number)
            image = self.solver.image(number, x, self.guided(estimates, step, number))
            x, before = (
                self.solver.mean(number, x, image, before)
                + self.solver.scale(number) * maps[number],
                image,
            )
            if self.inside is not None:
                x = torch.where(self.inside.to(x) > 0, x, path[number + 1])
            self.advance(1)
        return x

    def guided(self, estimates: Tensor, step: Step, number: int) -> Tensor:
        """Return ε̂ (E, C, h, w): the unconditional estimates and the guidance of all concepts."""
        kind = kind_at(self.kind, step.timestep, self.levels, self.published)
        found, row = [], 0
        for target, concepts in enumerate(self.concepts):
            unconditional = estimates[row]
            total = torch.zeros_like(unconditional)
            for at, concept in enumerate(concepts, row + 1):
                if not concept.acts(number, len(self.solver.steps)):
                    continue
                direction = psi(estimates[at], unconditional, concept)
                mask = masked(direction, self.heat(at, concept.text), concept, kind)
                self.masks[target] = self.masks[target].maximum(mask)
                total = total + concept.scale * mask * direction
            found.append(unconditional + total)
            row += 1 + len(concepts)
        return torch.stack(found)
