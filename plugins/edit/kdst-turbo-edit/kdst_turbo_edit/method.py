"""TurboEdit: edit-friendly inversion with a shifted schedule, and pseudo-guidance.

Deutch et al. (2024), sections 3 and 4. The noise map of a step is what its mean, from the noised source,
lacks of the next noised source. An edit takes the mean from its own latents, and the same map; what the
target's prompt changes in the mean is scaled by w.
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
from kdst_turbo_edit.levels import Level, check, levels, norm_of

if TYPE_CHECKING:
    from kdst_turbo_edit import Options

FEW = 8
"""Steps up to which a run counts as one of few steps."""
Predict = Callable[[Tensor, Level, int], Tensor]
"""Latents (1 + 2 E, C, h, w) at a level, its number from 0 -> what the network predicts of them.

Rows: the source; then, for each edit, its latents under the source's prompt and under the target's.
"""


@frozen
class TurboEdit:
    """The algorithm for one source x_0 (1, C, h, w) and E targets.

    norm: bound on the last noise map, or None. inside: (h, w), 1 where edits may differ, or None.
    """

    path: Sequence[Level]
    source: Tensor
    predict: Predict
    w: float
    norm: float | None
    generator: torch.Generator
    inside: Tensor | None = None
    advance: Callable[[int], Any] = lambda _: None

    def run(self, count: int) -> Tensor:
        """Return the edits (E, C, h, w) of `count` targets."""
        sources = self.sources()
        x = sources[0].expand(count, -1, -1, -1)
        for number, level in enumerate(self.path):
            rows = torch.cat([sources[number], x.repeat_interleave(2, 0)])
            mean, _ = level.step.mean_and_sigma(rows, self.predict(rows, level, number))
            z = sources[number + 1] - mean[:1]
            if number + 1 == len(self.path):
                z = self.bounded(z)
            own, target = mean[1::2], mean[2::2]
            x = own + z + self.w * (target - own)
            if self.inside is not None:
                x = torch.where(self.inside.to(x) > 0, x, sources[number + 1])
            self.advance(1)
        return x

    def sources(self) -> list[Tensor]:
        """Return x_t of the source, each (1, C, h, w), before every step, and x_0 at the end."""
        shape = (len(self.path), *self.source.shape[1:])
        noise = torch.randn(shape, generator=self.generator).to(self.source)
        noised = [
            level.source(self.source, n[None]) for level, n in zip(self.path, noise, strict=True)
        ]
        return [*noised, self.source]

    def bounded(self, z: Tensor) -> Tensor:
        """Return a noise map with at most the norm."""
        size = float(z.norm())
        return z if self.norm is None or size <= self.norm else z * (self.norm / size)


def edit_in_few_steps(request: EditRequest, options: "Options", run: RunServices) -> Edit:
    """Edit the source towards each target; a generated source is sampled first."""
    check(request)
    path = levels(request, options)
    source = source_latents(request, run)
    generator = torch.Generator(request.generator.device)
    generator.set_state(request.generator.get_state())  # the request's stays where it is
    height, width = request.latents.shape[-2:]
    words, said = word_maps(request), request.source_prompt
    prompts = [said, *(p for target in request.targets for p in (said, target))]
    branches = [Branch(p, request.negative_prompt, request.guidance) for p in prompts]
    guided = Guided.of(request.pipeline, branches, (height, width), request.max_rows)
    with (
        Control(network_of(request.pipeline), [words], (height, width)) as control,
        run.progress(len(path), "editing") as advance,
    ):

        def predict(x: Tensor, level: Level, number: int) -> Tensor:
            output = guided(x, level.step.timestep, number, control)
            control.call = None
            return output

        edits = TurboEdit(
            path,
            source,
            predict,
            options.w,
            norm_of(request, options),
            generator,
            request.confine,
            advance,
        ).run(len(request.targets))
    images = decode(request.pipeline, torch.cat([source, edits]))
    return _edit(request, options, words, images)


def _edit(request: EditRequest, options: "Options", words: StoreMaps, images: Tensor) -> Edit:
    """What a run hands back: images, where words attended, and what cannot have an effect."""
    edited = [
        EditedImage(image, target, None, attention_of(request, words, 2 * number + 2, target))
        for number, (image, target) in enumerate(zip(images[1:], request.targets, strict=True))
    ]
    shown = attention_of(request, words, 0, request.source_prompt)
    return Edit(edited, images[0], shown, warnings=without_effect(request, options))


def without_effect(request: EditRequest, options: "Options") -> list[str]:
    """Return what cannot have an effect, and what the method was not made for, as sentences."""
    found = []
    if options.w == 0:
        found.append("--w 0 leaves the target's prompt out, so it cannot have an effect.")
    found += [
        f"The target {target!r} is the source's prompt, so it cannot have an effect."
        for target in request.targets
        if target == request.source_prompt
    ]
    if request.num_steps > FEW:
        found.append(
            f"turbo-edit is published for 3 or 4 steps of a few-step model; this run takes"
            f" {request.num_steps}. Give --steps 4."
        )
    return found
