"""LEDITS++ (Brack et al., CVPR 2024): exact inversion in few steps, several edits, implicit masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Edit, EditedImage, EditRequest, RunServices
from kdst_core.errors import KdstError
from kdst_edit.control.rules import StoreMaps
from kdst_edit.control.session import Control, Rule
from kdst_edit.families.registry import network_of
from kdst_edit.kit import attention_of, source_latents, word_layers, word_maps
from kdst_edit.models.latents import decode
from kdst_edit.sampling.schedule import Step
from kdst_edit.sampling.schedulers import takes_guidance
from kdst_ledits_pp.concepts import Concept, concepts_of, without_effect
from kdst_ledits_pp.estimates import Estimates, tokens
from kdst_ledits_pp.sampler import Sampler
from kdst_ledits_pp.solver import Inverted, Solver, invert, solver_of

if TYPE_CHECKING:
    from kdst_ledits_pp import Options


def check(request: EditRequest) -> None:
    """Raise KdstError for models and options that the method does not know."""
    name = type(network_of(request.pipeline)).__name__
    if name != "UNet2DConditionModel" or takes_guidance(request.pipeline):
        raise KdstError(
            "ledits-pp edits with UNets of Stable Diffusion 1.x, 2.x and XL that are guided by prompts;"
            f" this model has a {name}"
            + (" that is told the guidance" if name == "UNet2DConditionModel" else "")
        )
    if request.guidance_rescale:
        raise KdstError("ledits-pp takes no --guidance-rescale; leave it out")


def edit_where_it_belongs(request: EditRequest, options: "Options", run: RunServices) -> Edit:
    """Invert the source and edit it towards each target; a generated source is sampled first."""
    check(request)
    concepts = concepts_of(request, options)
    solver = solver_of(request.pipeline, request.num_steps, options.solver, options.level_skip)
    work = _Work(request, options, run, solver, concepts)
    inverted, shown = work.inverted(source_latents(request, run))
    edits, masks, maps = work.sampled(inverted)
    images = decode(request.pipeline, torch.cat([inverted.latents[-1:], edits]))
    edited = [
        EditedImage(image, target, mask.cpu(), heat)
        for image, target, mask, heat in zip(images[1:], request.targets, masks, maps, strict=True)
    ]
    return Edit(edited, images[0], shown, warnings=without_effect(request, options, concepts))


@frozen
class _Work:
    """One run: what is asked, by which steps, and the edits of each target."""

    request: EditRequest
    options: "Options"
    run: RunServices
    solver: Solver
    concepts: Sequence[Sequence[Concept]]

    def control(self, rules: Sequence[Rule]) -> Control:
        """Return the control of the network by rules."""
        height, width = self.request.latents.shape[-2:]
        return Control(network_of(self.request.pipeline), rules, (height, width))

    def noise(self, source: Tensor) -> Tensor:
        """Return the independent noises (N, C, h, w) of the levels; the request's generator stays."""
        generator = torch.Generator(self.request.generator.device)
        generator.set_state(self.request.generator.get_state())
        shape = (len(self.solver.steps), *source.shape[1:])
        return torch.randn(shape, generator=generator).to(source)

    def inverted(self, source: Tensor) -> tuple[Inverted, dict[str, Tensor]]:
        """Invert without words; where the source's words attend is read from a row beside."""
        said, words = self.request.source_prompt, word_maps(self.request)
        prompts = [self.request.negative_prompt, *([said] if said else [])]
        estimates, rows = Estimates.of(self.request, prompts, [0]), len(prompts)
        with (
            self.control([words] if said else []) as control,
            self.run.progress(len(self.solver.steps), "inversion") as advance,
        ):
            found = invert(
                self.solver,
                lambda x, step, i: estimates(x.expand(rows, -1, -1, -1), step, i, control)[:1],
                source,
                self.noise(source),
                exact=self.options.profile == "corrected",
                advance=advance,
            )
        return found, dict(attention_of(self.request, words, 1, said)) if said else {}

    def sampled(self, inverted: Inverted) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
        """Return the edits, where they acted, and where the words of what was added attended."""
        prompts, first = list[str](), list[int]()
        for each in self.concepts:
            first.append(len(prompts))
            prompts += [self.request.negative_prompt, *(concept.text for concept in each)]
        estimates = Estimates.of(self.request, prompts, first)
        attends = self.options.grounding in ("intersect", "attention") and any(self.concepts)
        now, words = StoreMaps(layers=word_layers(self.request)), word_maps(self.request)

        def estimate(x: Tensor, step: Step, number: int) -> Tensor:
            now.forget()
            return estimates(x, step, number, control)

        def heat(row: int, text: str) -> Tensor | None:
            if not attends:
                return None
            return now.mean([row])[0][..., tokens(self.request, text)].sum(-1)

        with (
            self.control([words, *([now] if attends else [])]) as control,
            self.run.progress(len(self.solver.steps), "editing") as advance,
        ):
            sampler = Sampler(
                self.solver,
                inverted,
                self.concepts,
                estimate,
                heat,
                self.options.grounding,
                self.options.profile == "published",
                self.request.pipeline.scheduler.config.num_train_timesteps,
                self.request.confine,
                advance,
            )
            edits = sampler.run()
        return edits, sampler.masks, self._attention(words, first)

    def _attention(self, words: StoreMaps, first: Sequence[int]) -> list[dict[str, Tensor]]:
        """Where the words of what each target adds attended. first: the row of each target."""
        return [
            {
                word: heat
                for row, concept in enumerate(each, at + 1)
                if concept.sign > 0
                for word, heat in attention_of(self.request, words, row, concept.text).items()
            }
            for at, each in zip(first, self.concepts, strict=True)
        ]
