"""LocalBlend: outside the regions of chosen words, edits stay what the source is (section 3.3)."""

from collections.abc import Sequence

import torch
from attrs import define, field
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.control import Control
from kdst_edit.rules import Rule, StoreMaps


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
