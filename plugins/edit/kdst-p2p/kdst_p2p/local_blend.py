"""LocalBlend: outside the regions of chosen words, edits stay what the source is (section 3.3)."""

from collections.abc import Sequence

import torch
from attrs import define, field
from torch import Tensor
from torch.nn import functional as F

from kdst_core.contracts import EditRequest
from kdst_edit.control.rules import StoreMaps
from kdst_edit.control.session import Control, Rule
from kdst_edit.kit import carried_out, is_summed, shares, texts, word_layers
from kdst_edit.words import split
from kdst_p2p.options import Options
from kdst_p2p.ranges import Ranges, indices
from kdst_p2p.settings import Setting, check_words


def masks(
    maps: Tensor,
    words: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.3,
    subtract: Tensor | None = None,
    subtract_threshold: float = 0.3,
) -> Tensor:
    """Where (B, 1, H, W) each branch may differ from the source: 1 inside, 0 outside.

    maps: (B, h, w, T), mean cross-attention of source and edits so far. words: (B, T), one at the
    tokens that mark the region in each branch's prompt. The summed map is widened by one cell,
    enlarged to `size` and compared with `threshold` of its own maximum; the source's region is joined
    to every edit's. subtract: (B, T), tokens whose region, not widened, is taken away.
    """
    inside = _region(maps, words, size, threshold, widen=True)
    if subtract is not None:
        inside = inside & ~_region(maps, subtract, size, subtract_threshold, widen=False)
    return inside.to(maps.dtype)


def _region(
    maps: Tensor, words: Tensor, size: tuple[int, int], threshold: float, *, widen: bool
) -> Tensor:
    """The cells (B, 1, H, W) above the threshold in a branch or in the source."""
    heat = torch.einsum("bhwt,bt->bhw", maps, words.to(maps))[:, None]
    if widen:
        heat = F.max_pool2d(heat, 3, stride=1, padding=1)
    heat = F.interpolate(heat, size=size)
    peak = heat.amax((2, 3), keepdim=True)
    region = heat > threshold * peak
    return region[:1] | region


@define(eq=False, kw_only=True)
class LocalBlend(Rule):
    """After each step from `steps` on, edits are the source's latent outside their masks.

    store: the maps that masks are made of, for all branches and the tokens of `words` and `subtract`
    (B, K), in the order of `store.tokens`. `mask` is the last one, (B, 1, h, w).
    """

    store: StoreMaps
    words: Tensor
    subtract: Tensor | None = None
    threshold: float = 0.3
    subtract_threshold: float = 0.3
    blended: Sequence[int] = ()
    mask: Tensor | None = field(default=None, init=False)

    def attach(self, control: Control) -> None:
        """Ask for the maps."""
        self.mask = None
        self.store.fired = 0
        self.store.attach(control)

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """Put the source's latent back outside the masks."""
        if step not in self.steps:
            return latents
        branches = [0, *self.blended]
        maps = self.store.mean(branches)
        self.mask = masks(
            maps,
            self.words,
            (latents.shape[-2], latents.shape[-1]),
            threshold=self.threshold,
            subtract=self.subtract,
            subtract_threshold=self.subtract_threshold,
        )
        self.fired += 1
        source, result = latents[:1], latents.clone()
        inside = self.mask[1:].to(latents)
        chosen = list(self.blended)
        result[chosen] = source + inside * (latents[chosen] - source)
        return result


def blend_rules(
    request: EditRequest, source: str, settings: Sequence[Setting], options: Options
) -> list[Rule]:
    """LocalBlend for each edit that has words to blend by, with the source's region of these words."""
    if "none" in options.blend:
        return []
    check_words("--subtract", options.subtract, [source, *(s.prompt for s in settings)])
    words = [blend_words(source, setting, options) for setting in settings]
    return [
        _blend(request, [source, settings[branch - 1].prompt], chosen, branch, options)
        for branch, chosen in enumerate(words, 1)
        if chosen
    ]


def _blend(
    request: EditRequest,
    prompts: Sequence[str],
    words: Sequence[str],
    branch: int,
    options: Options,
) -> LocalBlend:
    """LocalBlend of one edit; prompts are the source's and its own."""
    ranges = texts(request)
    at = [_tokens(prompt, words, ranges) for prompt in prompts]
    minus = [_tokens(prompt, options.subtract, ranges) for prompt in prompts]
    tokens = sorted({position for row in (*at, *minus) for position in row})
    groups = {0: [at[0], minus[0]], branch: [at[1], minus[1]]} if is_summed(request) else None
    begin = min(shares(request, begin=options.blend_start).start, request.num_steps - 1)
    published = options.profile == "published"
    store = StoreMaps(
        layers=word_layers(request),
        steps=carried_out(request, begin=0 if published else begin),
        tokens=tokens,
        groups=groups,
        branches=[branch],
        edited=published,
    )
    return LocalBlend(
        store=store,
        steps=carried_out(request, begin=begin),
        words=_marks(at, tokens, groups is not None, 0, request.latents),
        subtract=(
            _marks(minus, tokens, groups is not None, 1, request.latents)
            if options.subtract
            else None
        ),
        threshold=options.blend_threshold,
        subtract_threshold=options.subtract_threshold,
        blended=[branch],
    )


def blend_words(source: str, setting: Setting, options: Options) -> list[str]:
    """The words, of source and target, whose regions may change in an edit."""
    if options.blend == ["auto"]:
        if setting.kind != "swap":
            return []
        pairs = zip(split(source), split(setting.prompt), strict=True)
        return [word for pair in pairs if pair[0] != pair[1] for word in pair]
    words = [word for word in options.blend if word != "none"]
    check_words("--blend", words, [source, setting.prompt])
    return words


def _tokens(prompt: str, words: Sequence[str], ranges: Ranges) -> list[int]:
    """Positions of all tokens of some words of a prompt."""
    return [p for word in dict.fromkeys(words) for p in indices(ranges, prompt, word)]


def _marks(
    rows: Sequence[Sequence[int]], tokens: Sequence[int], summed: bool, group: int, like: Tensor
) -> Tensor:
    """Rows (B, K) with one at the positions given, counted in `tokens`, or at the group that sums them."""
    count = 2 if summed else len(tokens)
    marks = torch.zeros(len(rows), count, device=like.device)
    for number, positions in enumerate(rows):
        marks[number, [group] if summed else [tokens.index(p) for p in positions]] = 1
    return marks
