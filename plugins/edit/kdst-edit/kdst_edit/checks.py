"""The conformance checks of an editing method, on the tiny model and a few steps."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from kdst_authors.testing import GIVEN, given_only, make_run
from kdst_authors.untouched import marks, touched
from kdst_core.bench.contract import Check
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Edit, EditRequest, RunServices, SourcePath
from kdst_core.plugins.method import Method
from kdst_core.runs.codecs import TorchCodec
from kdst_edit.inputs import DEFAULT_SOURCE, DEFAULT_TARGET
from kdst_edit.kit import sample_request
from kdst_edit.models.latents import condition, decode
from kdst_edit.models.pipelines import load
from kdst_edit.sampling.sample import Branch

STEPS = 4
OTHER_TARGET = "a red disc on a black background"
CLOSE = 1e-3
RESTORED, IMAGES = "the pipeline is restored", "one image a target, in order, in [0, 1]"
"""Names of checks that others follow from."""


@cache
def small_pipeline() -> Any:
    """The tiny model."""
    with silence_libraries("diffusers"):
        return load("tiny")


def small_request(targets: Sequence[str] = (DEFAULT_TARGET,), seed: int = 0) -> EditRequest:
    """A generated source to edit in four steps."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 3, 32, 32, generator=generator)
    return EditRequest(
        small_pipeline(),
        DEFAULT_SOURCE,
        None,
        tuple(targets),
        generator,
        noise,
        num_steps=STEPS,
        guidance=3.0,
        max_rows=16,
    )


def small_edit(method: Method, options: Any, run: RunServices) -> Edit:
    """Call the hook on the small request."""
    edit: Edit = method.call(small_request(seed=run.seed), options, run)
    return edit


def smoke(method: Method, options: Any, run: RunServices) -> str:
    """Edit one image of the tiny model in a few steps; return a digest of it."""
    pixels = small_edit(method, options, run).images[0].image.contiguous().cpu().numpy()
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def edit_checks(method: Method) -> Iterator[Check]:
    """Yield the checks; each edits anew, and those that follow name their cause."""
    yield Check(RESTORED, lambda: _restored(method))
    yield Check(IMAGES, lambda: _images(method), [RESTORED])
    yield Check(GIVEN, lambda: _given_only(method), [RESTORED, IMAGES])
    sound = (RESTORED, IMAGES, GIVEN)
    yield Check("the request is unchanged", lambda: _request_unchanged(method), sound)
    yield Check("the source is what it is without an edit", lambda: _source(method), sound)
    yield Check("an edit to its own prompt changes nothing", lambda: _no_edit(method), sound)
    yield Check("several targets are those of separate runs", lambda: _separate(method), sound)
    yield Check("a bound on rows changes nothing", lambda: _bounded(method), sound)
    yield Check("a real image's source stays on its path", lambda: _real(method), sound)


def _edit(method: Method, request: EditRequest) -> Edit:
    """Call the hook with default options."""
    with tempfile.TemporaryDirectory() as directory, silence_libraries("diffusers"):
        run = make_run(Path(directory), codec=TorchCodec())
        edit: Edit = method.call(request, method.description.options(), run)
    return edit


def _images(method: Method) -> None:
    """Images have the size of the model, values in [0, 1] and no gradients."""
    targets = (DEFAULT_TARGET, OTHER_TARGET)
    edit = _edit(method, small_request(targets))
    assert [e.prompt for e in edit.images] == list(targets), "prompts are not those asked for"
    for image in (edit.reconstruction, *(e.image for e in edit.images)):
        assert image.shape == (3, 32, 32), f"an image is {tuple(image.shape)}, not (3, H, W)"
        assert bool(((image >= 0) & (image <= 1)).all()), "an image has values outside [0, 1]"
        assert not image.requires_grad, "an image must not carry gradients"
    for heat in edit.attention.values():
        assert heat.ndim == 2, "attention maps must be (h, w)"


def _source(method: Method) -> None:
    """The source of a generated edit is what plain sampling makes of its prompt."""
    request = small_request()
    edit = _edit(method, request)
    with tempfile.TemporaryDirectory() as directory:
        run, branch = make_run(Path(directory)), Branch(DEFAULT_SOURCE, "", request.guidance)
        plain = decode(request.pipeline, sample_request(request, [branch], [], run))[0]
    _close(edit.reconstruction, plain, "the source differs from plain sampling of its prompt")


def _no_edit(method: Method) -> None:
    """With the source's prompt as its target, an edit is the source."""
    edit = _edit(method, small_request((DEFAULT_SOURCE,)))
    message = "an edit towards the source's own prompt is another image"
    _close(edit.images[0].image, edit.reconstruction, message)


def _restored(method: Method) -> None:
    """Weights, hooks and processors are those from before, in every part of the pipeline."""
    try:
        _edit_restores(method)
    except AssertionError:
        small_pipeline.cache_clear()  # what is left on it is no fault of other methods
        raise


def _edit_restores(method: Method) -> None:
    """Raise AssertionError where an edit leaves something on the pipeline."""
    pipeline = small_pipeline()
    parts = {k: v for k, v in pipeline.components.items() if isinstance(v, torch.nn.Module)}
    before = {k: v.clone() for part in parts.values() for k, v in part.state_dict().items()}
    hooks = {name: marks(part) for name, part in parts.items()}
    processors, scheduler = dict(pipeline.unet.attn_processors), pipeline.scheduler
    _edit(method, small_request())
    for name, part in parts.items():
        same = all(torch.equal(v, before[k]) for k, v in part.state_dict().items())
        assert same, f"the method changed weights of the pipeline ({name})"
        found = touched(hooks[name], part)
        assert found is None, f"{name} of the pipeline is not as it was: {found}"
    assert pipeline.unet.attn_processors == processors, "attention processors were not restored"
    assert pipeline.scheduler is scheduler, "the scheduler was not restored"


def _given_only(method: Method) -> None:
    """With other references every image is the same, bit for bit."""
    given_only(partial(_edited, method), "references")


def _edited(method: Method, number: int) -> str:
    """Edit while a wanted image and a mask lie open, and return a digest of the images."""
    reference = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(2 + number))
    mask = reference.mean(0) > 0.5
    edit = _edit(method, small_request())
    digest = hashlib.sha256()
    for image in (edit.reconstruction, *(e.image for e in edit.images)):
        assert image.shape[-2:] == mask.shape, "an image has another size than the source"
        digest.update(image.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _separate(method: Method) -> None:
    """Two targets in one run are the images of two runs."""
    both = _edit(method, small_request((DEFAULT_TARGET, OTHER_TARGET)))
    for number, target in enumerate((DEFAULT_TARGET, OTHER_TARGET)):
        alone = _edit(method, small_request((target,)))
        message = f"with two targets, {target!r} is another image than alone"
        _close(both.images[number].image, alone.images[0].image, message)


def _bounded(method: Method) -> None:
    """At most one row a call gives the images of one call a step."""
    request = small_request()
    whole = _edit(method, attrs.evolve(request, max_rows=None))
    parts = _edit(method, attrs.evolve(request, max_rows=1))
    message = "with max_rows=1 the edit is another image"
    _close(whole.images[0].image, parts.images[0].image, message)


def _real(method: Method) -> None:
    """With a path that resets, the source ends on the photograph."""
    request = small_request()
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(STEPS + 1, 3, 32, 32, generator=generator)
    path = SourcePath(latents, prompt=DEFAULT_SOURCE, guidance=1.0, resets=True)
    image = decode(request.pipeline, latents[-1:])[0]
    edit = _edit(method, attrs.evolve(request, path=path, source_image=image, latents=latents[:1]))
    _close(edit.reconstruction, image, "the source does not end on the photograph")


def _request_unchanged(method: Method) -> None:
    """The noise is the one from before, and the text encoder still says the same."""
    request = small_request()
    noise = request.latents.clone()
    words = condition(request.pipeline, [DEFAULT_SOURCE], (32, 32)).embeddings.clone()
    _edit(method, request)
    assert torch.equal(request.latents, noise), "the method changed the initial noise"
    after = condition(request.pipeline, [DEFAULT_SOURCE], (32, 32)).embeddings
    assert torch.equal(words, after), "the method changed the text encoder or its words"


def _close(image: Tensor, other: Tensor, message: str) -> None:
    """Raise when two images differ by more than rounding."""
    apart = float((image - other).abs().max())
    assert apart < CLOSE, f"{message}, by up to {apart:.2g}"
