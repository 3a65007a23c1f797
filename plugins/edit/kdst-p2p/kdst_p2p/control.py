"""The edit of cross-attention maps (Hertz et al., Algorithm 1 and section 3.3)."""

import torch
from torch import Tensor


def edit_cross(
    attention: Tensor,
    cross_alpha: Tensor,
    *,
    replace: Tensor | None = None,
    refine: tuple[Tensor, Tensor] | None = None,
    equalizer: Tensor | None = None,
) -> Tensor:
    """Maps (B, H, P, T) in which the edits' rows take the source's attention; row 0 is the source.

    cross_alpha: (B - 1, 1, 1, T), one where the source's attention is injected at this step. replace:
    mappers (B - 1, T, T) of a word swap. refine: mappers (B - 1, T) and alphas (B - 1, T) of added
    words. equalizer: weights c (1 or B - 1, T). Without any of them the source's maps are injected as
    they are. Rows are not normalised again after re-weighting, as in the authors' code.
    """
    source, own = attention[0], attention[1:]
    injected = source.expand_as(own)
    if replace is not None:
        injected = source @ replace[:, None].to(source)
    elif refine is not None:
        mapper, alphas = (x.to(source.device) for x in refine)
        kept = alphas[:, None, None].to(source)
        injected = source[..., mapper].movedim(-2, 0) * kept + own * (1 - kept)
    if equalizer is not None:
        injected = injected * equalizer[:, None, None].to(source)
    alpha = cross_alpha.to(source).expand_as(own)
    return torch.cat([attention[:1], torch.lerp(own, injected, alpha)])


def cross_weights(
    cross_alpha: Tensor,
    *,
    replace: Tensor | None = None,
    refine: tuple[Tensor, Tensor] | None = None,
    equalizer: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The edit of `edit_cross` as weights: W (B - 1, T, T) of the source's maps, v (B - 1, T) of own.

    Edited maps are source @ W + own * v; None where an edit keeps nothing of its own.
    """
    alpha = cross_alpha[:, 0, 0]
    strength = alpha if equalizer is None else alpha * equalizer.to(alpha)
    own = 1 - alpha
    tokens = alpha.shape[-1]
    if replace is not None:
        taken = replace.to(alpha)
    elif refine is not None:
        mapper, alphas = (x.to(alpha.device) for x in refine)
        kept = alphas.to(alpha)
        taken = torch.nn.functional.one_hot(mapper % tokens, tokens).mT.to(alpha) * kept[:, None]
        own = own + strength * (1 - kept)
    else:
        taken = torch.eye(tokens).to(alpha).expand(len(alpha), -1, -1)
    return taken * strength[:, None], own if own.any() else None
