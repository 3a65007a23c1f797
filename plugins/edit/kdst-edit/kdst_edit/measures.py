"""The numbers of a run: how far an edit stays what the source is, and whether it shows what was asked."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from kdst_edit.shapes import attributes
from kdst_edit.words import bare, split

Maps = Mapping[str, Tensor]
MOST_DB = 100.0
"""PSNR of images that are equal, so that means stay finite."""


def mse(image: Tensor, other: Tensor, inside: Tensor) -> float:
    """Mean squared error of two images (3, H, W) over the pixels `inside` (H, W)."""
    difference = (image - other).square().mean(0)[inside]
    return float(difference.double().mean()) if difference.numel() else 0.0


def psnr(image: Tensor, other: Tensor, inside: Tensor) -> float:
    """PSNR in dB of two images (3, H, W) in [0, 1] over the pixels `inside` (H, W), at most 100."""
    error = mse(image, other, inside)
    return MOST_DB if error <= 10 ** (-MOST_DB / 10) else float(-10 * np.log10(error))


def ssim(image: Tensor, other: Tensor, inside: Tensor) -> float:
    """Mean structural similarity over the pixels `inside` (H, W), by scikit-image.

    Wang et al. (2004): Gaussian window of 1.5 pixels.
    """
    from skimage.metrics import structural_similarity

    pair = [x.permute(1, 2, 0).double().numpy() for x in (image, other)]
    _, full = structural_similarity(
        *pair,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    chosen = torch.from_numpy(full).mean(-1)[inside]
    return float(chosen.mean()) if chosen.numel() else 1.0


def iou(region: Tensor, other: Tensor) -> float:
    """Intersection over union of two regions (H, W); 1 where both are empty."""
    union = int((region | other).sum())
    return float((region & other).sum()) / union if union else 1.0


def region_of(heat: Tensor, size: tuple[int, int], threshold: float = 0.3) -> Tensor:
    """Where (H, W) an attention map (h, w) exceeds a share of its maximum."""
    wide = torch.nn.functional.interpolate(heat[None, None].float(), size=size, mode="bilinear")
    return wide[0, 0] > threshold * wide.max()


@frozen
class PromptedImage:
    """One image (3, H, W) that was made for a prompt, and its words' attention maps (h, w)."""

    image: Tensor
    prompt: str
    attention: Maps


def changed_words(source: str, target: str) -> tuple[list[str], list[str]]:
    """The words of each prompt that the other does not have."""
    old, new = split(source), split(target)
    before, after = ({bare(word) for word in words} for words in (old, new))
    return [w for w in old if bare(w) not in after], [w for w in new if bare(w) not in before]


def region(shown: PromptedImage, words: Sequence[str]) -> Tensor | None:
    """Where (H, W) some words attend; None when there are no maps of them."""
    maps = [shown.attention[w] for w in words if w in shown.attention]
    if not maps:
        return None
    height, width = shown.image.shape[-2:]
    return region_of(torch.stack(maps).sum(0), (height, width))


def source_region(
    source: PromptedImage, target: str, given: Tensor | None
) -> tuple[Tensor, str] | None:
    """Where (H, W) the source may change, and how that is known.

    A mask that was given; on the tiny model's images the object; otherwise where the words attend
    that the target replaces.
    """
    if given is not None:
        return given, "the mask that was given"
    if attributes.applies(source.image) and attributes.parse(source.prompt):
        return attributes.silhouettes(source.image[None])[0], "the object, by image analysis"
    words = changed_words(source.prompt, target)[0]
    found = region(source, words)
    return None if found is None else (found, f"attention of {', '.join(words)}")


def score(edit: PromptedImage, source: PromptedImage, inside: Tensor | None) -> dict[str, float]:
    """The measures of one image; `inside` (H, W) is the region that may change."""
    kept = torch.ones(source.image.shape[-2:], dtype=torch.bool) if inside is None else ~inside
    found = {
        "background_psnr": psnr(edit.image, source.image, kept),
        "background_ssim": ssim(edit.image, source.image, kept),
        "background_mse": mse(edit.image, source.image, kept),
    }
    if inside is not None:
        beyond = ~attributes.widened(inside)
        found["beyond_edge_psnr"] = psnr(edit.image, source.image, beyond)
        found["object_psnr"] = psnr(edit.image, source.image, inside)
    said = attributes.parse(edit.prompt), attributes.parse(source.prompt)
    if attributes.applies(source.image) and said[0] and said[1]:
        return found | _exact(edit, source, said[1], said[0])
    regions = (
        region(source, changed_words(source.prompt, edit.prompt)[0]),
        region(edit, changed_words(source.prompt, edit.prompt)[1]),
    )
    if regions[0] is not None and regions[1] is not None:
        found["mask_iou"] = iou(regions[0], regions[1])
    return found


def _exact(
    edit: PromptedImage, source: PromptedImage, before: attributes.Said, after: attributes.Said
) -> dict[str, float]:
    """What image analysis can tell of the tiny model's images."""
    pair = torch.stack([source.image, edit.image])
    masks = attributes.silhouettes(pair)
    found = {
        "mask_iou": iou(masks[0], masks[1]),
        "success": float(attributes.success(edit.image[None], before, after)),
    }
    right = attributes.follows(edit.image[None], after)
    found |= {f"says.{name}": float(value) for name, value in right.items()}
    if len(after.objects) == len(before.objects) == 1:
        centres = attributes.places(pair)
        found["shift_px"] = float((centres[0] - centres[1]).norm())
    return found


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over targets of every measure that all of them have."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}
