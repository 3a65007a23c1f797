"""For authors: an edit from a list of rules."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
from torch import Tensor

from kdst_core.contracts import Edit, EditedImage, EditRequest, RunServices
from kdst_edit.control.layers import READ, Layers, find_layers, map_factor
from kdst_edit.control.rules import Confine, SourceReset, StoreMaps
from kdst_edit.control.session import Rule
from kdst_edit.families.conditioning import TokenRange
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.models.latents import decode, encode
from kdst_edit.sampling.sample import Branch, sample
from kdst_edit.words import unique_words

NO_RULE = "No control acts with these options, at any step: the edit is sampling without control."
Masks = Callable[[], Tensor | None]


def source_branch(request: EditRequest) -> Branch:
    """The branch of the source: of a real image, as it was inverted."""
    path = request.path
    if path is None:
        return Branch(request.source_prompt, request.negative_prompt, request.guidance)
    guidance = request.guidance if path.guidance is None else path.guidance
    return Branch(path.prompt, request.negative_prompt, guidance)


def aligned_branch(request: EditRequest) -> Branch:
    """The branch of the source for methods that read the words of the source prompt in it.

    A real image that is put back on its path after each step can be read with any words; another gets
    back under the prompt that it was inverted with only.
    """
    branch, path = source_branch(request), request.path
    if path is None or not path.resets:
        return branch
    return attrs.evolve(branch, prompt=request.source_prompt)


def carried_out(request: EditRequest, end: int | None = None, begin: int = 0) -> range:
    """The steps from `begin` to before `end` that sampling carries out; some inversions skip the first."""
    start = request.path.start if request.path else 0
    return range(max(begin, start), request.num_steps if end is None else end)


def shares(request: EditRequest, begin: float = 0.0, end: float = 1.0) -> range:
    """The steps between two shares of those that are carried out, rounded down, as absolute numbers."""
    first = carried_out(request).start
    count = request.num_steps - first
    return range(first + int(begin * count), first + int(end * count))


def target_branches(request: EditRequest) -> list[Branch]:
    """One branch a target."""
    return [Branch(t, request.negative_prompt, request.guidance) for t in request.targets]


def edit_with(
    request: EditRequest,
    rules: Iterable[Rule],
    run: RunServices,
    *,
    branches: Sequence[Branch] | None = None,
    masks: Masks | None = None,
) -> Edit:
    """Sample the source and one edit a target from the same noise under `rules`.

    A real image's source is put back on its path where the inversion asks for it, a mask confines the
    edits where the request has one, and the words' maps are kept for the report. A warning says
    when there is no rule. branches: the source and the edits, where they are
    not those of the request. masks: called after sampling, (E, H, W) in [0, 1] of what may change.
    """
    branches = branches or [source_branch(request), *target_branches(request)]
    words = word_maps(request, [branch.prompt for branch in branches])
    given = list(rules)
    used = [*given, words, *resets(request)]
    images = decode(request.pipeline, sample_request(request, branches, used, run))
    shown = masks() if masks else None
    maps = [attention_of(request, words, i, b.prompt) for i, b in enumerate(branches)]
    edited = [
        EditedImage(image, branch.prompt, None if shown is None else shown[i], maps[i + 1])
        for i, (image, branch) in enumerate(zip(images[1:], branches[1:], strict=True))
    ]
    return Edit(edited, images[0], maps[0], warnings=() if given else (NO_RULE,))


def sample_request(
    request: EditRequest,
    branches: Sequence[Branch],
    rules: Sequence[Rule],
    run: RunServices,
    label: str = "editing",
) -> Tensor:
    """Latents (B, C, h, w) of branches under rules, with progress."""
    with run.progress(len(carried_out(request)), label) as advance:
        return sample(
            request.pipeline,
            request.latents,
            branches,
            rules,
            num_steps=request.num_steps,
            path=request.path,
            max_rows=request.max_rows,
            advance=advance,
            scheduler=request.scheduler,
            sampler_steps=request.sampler_steps,
            generator=request.generator,
            rescale=request.guidance_rescale,
        )


def source_latents(request: EditRequest, run: RunServices) -> Tensor:
    """Return latents (1, C, h, w) of the source for methods that need no inversion.

    The photograph's, or those that plain sampling ends on for the source's prompt.
    """
    if request.path is not None:
        return request.path.latents[-1:].to(request.latents)
    if request.source_image is not None:
        return encode(request.pipeline, request.source_image).to(request.latents)
    return sample_request(request, [source_branch(request)], [], run, "source")


def resets(request: EditRequest) -> list[Rule]:
    """The rules that a request asks for: Direct Inversion's, and the mask that confines the edits."""
    found: list[Rule] = []
    if request.path is not None and request.path.resets:
        found.append(SourceReset(path=request.path.latents))
    if request.confine is not None:
        path = None if request.path is None else request.path.latents
        found.append(Confine(inside=request.confine, path=path))
    return found


def word_layers(request: EditRequest) -> Layers:
    """Return the layers in which words are read best: all of one resolution, near 16 cells a side.

    A transformer has one resolution; its words are read in the middle third of its blocks.
    """
    height, width = request.latents.shape[-2:]
    network = network_of(request.pipeline)
    factor = map_factor(network, (height, width))
    blocks = sorted({x.number for x in find_layers(network) if x.place == "block"})
    third = len(blocks) // 3
    numbers = tuple(blocks[third : len(blocks) - third]) or None
    return Layers("cross", READ, (factor,), numbers)


def texts(request: EditRequest) -> Sequence[TokenRange]:
    """Return where the tokens of a prompt are in the text that attention sees."""
    return family_of(request.pipeline).texts(request.pipeline)


def is_summed(request: EditRequest) -> bool:
    """Return whether words are read as sums of their tokens' columns: in the blocks of a transformer."""
    layers = word_layers(request)
    found = find_layers(network_of(request.pipeline))
    return any(x.place == "block" and layers(x) for x in found)


def word_maps(request: EditRequest, prompts: Sequence[str] | None = None) -> StoreMaps:
    """The rule that keeps where words attend, in the source and in every edit.

    prompts: of all branches, in their order. Of a transformer only their words are kept then, which is
    cheaper.
    """
    layers = word_layers(request)
    if prompts is None or not is_summed(request):
        return StoreMaps(layers=layers)
    ranges = texts(request)
    words = [list(unique_words(ranges, prompt).values()) for prompt in prompts]
    return StoreMaps(layers=layers, groups=dict(enumerate(words)))


def attention_of(
    request: EditRequest, store: StoreMaps, branch: int, prompt: str
) -> Mapping[str, Tensor]:
    """Each word of a branch's prompt to its mean map (h, w), summed over the word's tokens."""
    (maps,) = store.mean([branch])
    words = unique_words(texts(request), prompt)
    if store.groups is not None:
        return {word: maps[..., number].cpu() for number, word in enumerate(words)}
    return {word: maps[..., list(at)].sum(-1).cpu() for word, at in words.items()}
