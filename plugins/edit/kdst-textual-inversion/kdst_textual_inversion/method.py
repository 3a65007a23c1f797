"""An edit with a new word: learn it or read it, then sample every target with it."""

from collections.abc import Sequence

import attrs
import torch

from kdst_core.contracts import Edit, EditRequest, RunServices
from kdst_core.errors import KdstError
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.kit import edit_with
from kdst_edit.models.precision import computing_in
from kdst_edit.words import split
from kdst_textual_inversion import concept as concepts
from kdst_textual_inversion import word as words
from kdst_textual_inversion.learn import Training, learn
from kdst_textual_inversion.options import EMBEDDED_STEPS, PUBLISHED_STEPS, Options


def edit_with_new_word(request: EditRequest, options: Options, run: RunServices) -> Edit:
    """Sample source and targets from one noise, the targets with the new word; no control.

    The word is learned in float32: steps of its optimiser are lost in half precision.
    """
    pipeline, word = request.pipeline, options.word
    if family_of(pipeline).part != "unet":
        kind = type(network_of(pipeline)).__name__
        raise KdstError(f"textual-inversion learns a word of a UNet's model; this one has a {kind}")
    notes: list[str] = []
    if options.learned:
        vector = words.read(options.learned)
    else:
        vector = words.initial_vector(pipeline, options.initial)
    with words.spoken(pipeline, word, vector) as added:
        if not options.learned:
            with computing_in(pipeline, torch.float32):
                notes += _train(request, options, run, added)
        words.save(run.dir / "artifacts" / "word.safetensors", word, added.vector)
        said = tuple(placed(target, word, options.initial) for target in request.targets)
        edit = edit_with(attrs.evolve(request, targets=said), [], run)
    notes += [
        f"Sampled with {new!r}; scores that read the target's words still ask for"
        f" {options.initial!r}."
        for new in said
        if new not in request.targets
    ]
    images = [
        attrs.evolve(image, prompt=target)
        for image, target in zip(edit.images, request.targets, strict=True)
    ]
    warnings = _without(said, options)
    return attrs.evolve(
        edit,
        images=images,
        notes=(*edit.notes, *notes),
        warnings=warnings,
        learned=(word,),
    )


def _train(
    request: EditRequest,
    options: Options,
    run: RunServices,
    added: words.OneMoreWord,
) -> list[str]:
    """Learn the word's vector; returns what the user should know."""
    known = options.concept is None
    concept = (
        concepts.read(options.concept, request.pipeline)
        if options.concept
        else concepts.embedded(request.pipeline)
    )
    steps = options.train_steps or (EMBEDDED_STEPS if known else PUBLISHED_STEPS)
    how = Training(steps, options.lr or (0.03 if known else 0.005), options.batch)
    generator = torch.Generator().manual_seed(request.generator.initial_seed())
    learn(request.pipeline, added, concept, options.word, how, generator, run)
    count = len(concept.images)
    return [*concept.notes, f"{options.word} was learned from {count} images in {steps} steps."]


def placed(target: str, word: str, initial: str) -> str:
    """A target with the new word: its own, or in the place of the word it started from."""
    if word in split(target):
        return target
    return " ".join(word if w == initial else w for w in split(target))


def _without(targets: Sequence[str], options: Options) -> list[str]:
    """A warning for every target that the new word is not in."""
    return [
        f"{target!r} has neither {options.word} nor {options.initial!r}, so the learned word has no"
        " part in it."
        for target in targets
        if options.word not in split(target)
    ]
