"""The one check of pixels and labels, whatever the source: shape, type, range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdst_core.errors import KdstError

Array = NDArray[Any]
CHANNELS = (1, 3)
"""Numbers of channels by which the order of the axes is told."""
RARER = (2, 4)
"""Those that tell it where these do not."""
ROUNDING = 1e-5
"""Floats may leave [0, 1] by this much: resizing and half precision round."""


def channels_last(images: Any, place: str, *, first: bool = False) -> Any:
    """Return images as (N, H, W, C), from (N, H, W), (N, H, W, C) or (N, C, H, W).

    first: whether channels stand first where the shape leaves it open, as in tensors. KdstError for
    any other shape, and where there is no image.
    """
    if images.ndim == 3 and len(images):
        return images[..., None]
    if images.ndim != 4 or not len(images):
        raise KdstError(f"{place}: images have shape {images.shape}, not (N, height, width[, C])")
    for usual in (CHANNELS, RARER):
        front, back = images.shape[1] in usual, images.shape[3] in usual
        if front != back:
            return np.moveaxis(images, 1, -1) if front else images
        if front:
            break
    return np.moveaxis(images, 1, -1) if first else images


def check_range(images: Any, place: str, start: int = 0) -> None:
    """Raise KdstError for pixels that are neither whole numbers from 0 to 255 nor floats in [0, 1].

    images: (n, …). start: number of the first of them, by which the message names an image.
    """
    if images.dtype == np.uint8:
        return
    if images.dtype.kind not in "iuf":
        raise KdstError(
            f"{place}: images are {images.dtype}; whole numbers from 0 to 255 or floats in [0, 1] are"
            " allowed"
        )
    floats = images.dtype.kind == "f"
    if floats:
        bad = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(1))
        if len(bad):
            raise KdstError(
                f"{place}: image {start + bad[0]} has NaN or infinite pixels ({len(bad)} such images)"
            )
    low, high = images.min(), images.max()
    slack = ROUNDING if floats else 0
    if low < -slack or high > (1 if floats else 255) + slack:
        allowed = "floats must be in [0, 1]" if floats else "whole numbers must be from 0 to 255"
        raise KdstError(
            f"{place}: pixels reach from {low:.7g} to {high:.7g}; {allowed}.\n{_advice(low)}"
        )


def _advice(low: float) -> str:
    """Return what to do about pixels out of range."""
    if low < 0:
        return "Leave out the normalisation of the images and give it by --mean and --std"
    return "Divide by the largest value that the format allows, such as 255"


def check_labels(labels: Array, place: str) -> Array:
    """Return labels (N,), from (N,) or (N, 1); KdstError unless they are whole numbers from 0."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise KdstError(
            f"{place}: labels must be whole numbers of shape (N,), not {labels.dtype} of shape"
            f" {labels.shape}"
        )
    if len(labels) and labels.min() < 0:
        raise KdstError(f"{place}: label {labels.min()} is below 0")
    return labels


def check(images: Any, labels: Array, place: str, *, first: bool = False) -> tuple[Any, Array]:
    """Return images (N, H, W, C) and labels (N,); KdstError for a wrong shape, type, range or NaN."""
    images, labels = channels_last(images, place, first=first), check_labels(labels, place)
    if len(images) != len(labels):
        raise KdstError(f"{place}: {len(images)} images but {len(labels)} labels")
    check_range(images, place)
    return images, labels
