"""PIE-Bench's measures of an edit, in the published definitions.

Ju et al., Direct Inversion (ICLR 2024), section 5.1 and the code that came with it. Masked measures
blacken the edited region in both images and average over all pixels, so a large mask raises the PSNR;
`kdst_edit.measures` averages over the pixels outside alone. Figures of the two must not be mixed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdst_edit.piebench.reader import KINDS, Image, Pixels

if TYPE_CHECKING:
    from kdst_edit.piebench.learned import Learned


def score(
    source: Image, edit: Image, mask: Pixels, target: str, learned: "Learned | None" = None
) -> dict[str, float]:
    """All measures of one edit for which there are weights.

    background_psnr (dB), background_mse, background_ssim always; with `learned`, where it has them,
    structure_distance, background_lpips, clip_whole and clip_edited (100 · cosine).
    """
    kept = [image * ~mask[..., None] for image in (source, edit)]
    found = pixel_measures(kept[0], kept[1])
    if learned:
        found |= learned.score(source, edit, mask, target)
    return found


def pixel_measures(source: Image, edit: Image) -> dict[str, float]:
    """PSNR, MSE and SSIM of two images, by scikit-image; SSIM as in Wang et al. (2004)."""
    from skimage.metrics import (
        mean_squared_error,
        peak_signal_noise_ratio,
        structural_similarity,
    )

    same = bool((source == edit).all())
    ssim: Any = structural_similarity(
        source,
        edit,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return {
        "background_psnr": 100.0
        if same
        else float(peak_signal_noise_ratio(source, edit, data_range=1.0)),
        "background_mse": float(mean_squared_error(source, edit)),
        "background_ssim": float(ssim),
    }


def summary(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean over items of every measure; items lack one only when all do."""
    values = list(rows.values())
    names = [n for n in values[0] if all(n in row for row in values)] if values else []
    return {name: float(np.mean([row[name] for row in values])) for name in names}


def by_kind(
    kinds: Mapping[str, int], rows: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """The summary of the items of each kind of edit, by its name; kinds: that of every item, 0 to 9."""
    found = sorted({kinds[name] for name in rows})
    return {
        KINDS[kind]: summary({name: row for name, row in rows.items() if kinds[name] == kind})
        for kind in found
    }
