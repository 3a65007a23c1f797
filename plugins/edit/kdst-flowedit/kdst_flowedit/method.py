"""FlowEdit: the edit follows the difference of the target's and the source's velocity.

Kulikov et al. (2024), algorithm 1. At each level the source is noised anew, and the edit by the same
noise; no path back to noise is needed, and no layer is touched.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Edit, EditedImage, EditRequest, RunServices
from kdst_edit.control.rules import StoreMaps
from kdst_edit.control.session import Control
from kdst_edit.families.registry import network_of
from kdst_edit.kit import attention_of, source_latents, word_maps
from kdst_edit.models.latents import decode
from kdst_edit.sampling.guided import Guided
from kdst_edit.sampling.sample import Branch
from kdst_edit.sampling.straight import Move, moves
from kdst_flowedit.settings import Settings, settings_of

if TYPE_CHECKING:
    from kdst_flowedit import Options

Velocity = Callable[[Tensor, Move, int], Tensor]
"""Points (B, C, h, w) at a move, its number from 0 -> velocities (B, C, h, w)."""


@frozen
class FlowEdit:
    """The algorithm for one source X_src (1, C, h, w) and E targets.

    both: velocities of the source's row and the targets'. targets: of the targets' alone. inside: (h, w),
    1 where edits may differ from the source, or None. advance: told 1 after each step.
    """

    path: Sequence[Move]
    source: Tensor
    both: Velocity
    targets: Velocity
    how: Settings
    generator: torch.Generator
    inside: Tensor | None = None
    advance: Callable[[int], Any] = lambda _: None

    def run(self, count: int) -> Tensor:
        """Return the edits (E, C, h, w) of `count` targets."""
        z = self.source.expand(count, -1, -1, -1).clone()
        noise = torch.zeros_like(self.source)
        for number, move in enumerate(self.path):
            i = len(self.path) - number
            if i > self.how.n_max:
                continue
            if i > self.how.n_min:
                z = move.euler(z, self.difference(z, move, number))
                z = self._confined(z, self.source)
            else:
                if i == self.how.n_min:
                    noise = self._noise()
                    z = z + self._noised(move.sigma, noise) - self.source
                z = move.euler(z, self.targets(z, move, number))
                z = self._confined(z, self._noised(move.sigma_next, noise))
            self.advance(1)
        return z

    def difference(self, z: Tensor, move: Move, number: int) -> Tensor:
        """Return V^Δ (E, C, h, w) at the edits z, averaged over noises."""
        total = torch.zeros_like(z)
        for _ in range(self.how.n_avg):
            source = self._noised(move.sigma, self._noise())
            target = z + source - self.source
            velocity = self.both(torch.cat([source, target]), move, number)
            total += velocity[1:] - velocity[:1]
        return total / self.how.n_avg

    def _noise(self) -> Tensor:
        """One noise, the same for all edits."""
        return torch.randn(self.source.shape, generator=self.generator).to(self.source)

    def _noised(self, sigma: float, noise: Tensor) -> Tensor:
        """The source at a level."""
        return (1 - sigma) * self.source + sigma * noise

    def _confined(self, z: Tensor, source: Tensor) -> Tensor:
        """The edits, with the source outside the mask."""
        return z if self.inside is None else torch.where(self.inside.to(z) > 0, z, source)


def edit_along_flow(request: EditRequest, options: "Options", run: RunServices) -> Edit:
    """Edit the source towards each target; a generated source is sampled first."""
    how, height, width = settings_of(request, options), *request.latents.shape[-2:]
    source = source_latents(request, run)
    generator = torch.Generator(request.generator.device)
    generator.set_state(request.generator.get_state())  # the request's stays where it is
    pipeline = request.pipeline
    words = word_maps(request, [request.source_prompt, *request.targets])
    branches = [
        Branch(request.source_prompt, request.negative_prompt, how.source),
        *(Branch(t, request.negative_prompt, how.target) for t in request.targets),
    ]
    guided = [
        Guided.of(pipeline, b, (height, width), request.max_rows) for b in (branches, branches[1:])
    ]
    with (
        Control(network_of(pipeline), [words], (height, width)) as control,
        run.progress(how.n_max, "editing") as advance,
    ):
        edits = FlowEdit(
            moves(pipeline, request.num_steps, (height, width)),
            source,
            velocity_of(guided[0], control),
            velocity_of(guided[1]),
            how,
            generator,
            request.confine,
            advance,
        ).run(len(request.targets))
    return _edit(request, words, decode(pipeline, torch.cat([source, edits])))


def velocity_of(guided: Guided, control: Control | None = None) -> Velocity:
    """Return the velocities of a network; control is told of its calls."""

    def velocity(z: Tensor, move: Move, number: int) -> Tensor:
        output = guided(move.latents(z), move.timestep, number, control)
        if control is not None:
            control.call = None
        return move.velocity(z, output)

    return velocity


def _edit(request: EditRequest, words: StoreMaps, images: Tensor) -> Edit:
    """What a run hands back: images and where words attended."""
    prompts = [request.source_prompt, *request.targets]
    shown = [attention_of(request, words, i, prompt) for i, prompt in enumerate(prompts)]
    edited = [
        EditedImage(image, target, None, found)
        for image, target, found in zip(images[1:], request.targets, shown[1:], strict=True)
    ]
    return Edit(edited, images[0], shown[0])
