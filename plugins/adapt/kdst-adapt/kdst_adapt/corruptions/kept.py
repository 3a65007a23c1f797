"""Images corrupted once: kept in memory while a run lasts, and large ones on disk between runs."""

import hashlib
import os
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdst_adapt.corruptions import corrupt
from kdst_adapt.corruptions.types import Severities
from kdst_core.cache import user_cache
from kdst_core.files import whole_file

Array = NDArray[Any]
VERSION = 1
"""To be raised when a corruption gives other values, so that what is kept does not outlive it."""
ROOM = 1 << 28
"""Bytes of corrupted images that are kept in memory."""
FREE = 5 << 30
"""Bytes that stay free on the disk of the cache."""
LEVELS = (np.arange(256) / 255).astype(np.float32)
"""The values that corrupted images have."""


def folder() -> Path | None:
    """Return where corrupted images are kept between runs; None where KDST_CACHE is empty."""
    return None if os.environ.get("KDST_CACHE") == "" else user_cache("corrupted")


class Kept:
    """Corrupted images by a digest of all that they depend on; `made` and `found` count them."""

    def __init__(self) -> None:
        self.images: OrderedDict[str, Array] = OrderedDict()
        self.bytes = self.made = self.found = 0

    def image(self, x: Array, name: str, severity: int, **how: Any) -> Array:
        """Return an image (H, W, C) under a corruption, in bytes; see `corrupt.corrupt`."""
        key = _key(x, name, severity, how)
        if key in self.images:
            self.images.move_to_end(key)
            return self.images[key]
        large = min(x.shape[:2]) >= corrupt.LARGE
        image = _load(key, x.shape) if large else None
        if image is None:
            values = corrupt.corrupt(x, name, severity, **how)
            image = np.round(values * 255).astype(np.uint8)
            self.made += large
            if large:
                _store(key, image)
        else:
            self.found += 1
        self._keep(key, image)
        return image

    def _keep(self, key: str, image: Array) -> None:
        """Keep an image, and drop those not asked for the longest where there is no room."""
        self.images[key] = image
        self.bytes += image.nbytes
        while self.bytes > ROOM:
            self.bytes -= self.images.popitem(last=False)[1].nbytes

    def line(self) -> str:
        """Return a sentence on large images since the last call, '' where there were none."""
        made, found, place = self.made, self.found, folder()
        self.made = self.found = 0
        if not made and not found:
            return ""
        where = f"the cache in {place}" if place else "no cache, as KDST_CACHE is empty"
        return f"corrupted images: {made} made, {found} from an earlier run; {where}"


KEPT = Kept()
"""Those of this process."""


def batch(
    x: Array, name: str, severity: int, *, seed: int, places: Array, table: Severities | None
) -> Array:
    """Return images (B, H, W, C), float32, under a corruption; places: of the images in their data."""
    how = [{"seed": seed, "index": int(place), "table": table} for place in places]
    images = [KEPT.image(i, name, severity, **h) for i, h in zip(x, how, strict=True)]
    return LEVELS[np.stack(images)]


def _key(x: Array, name: str, severity: int, how: dict[str, Any]) -> str:
    """Return a digest of image, corruption, its parameters, and what its draws depend on."""
    table = how["table"] or corrupt.severities(name, x.shape)
    what = (VERSION, np.__version__, name, severity, how["seed"], how["index"], table, x.shape)
    digest = hashlib.blake2b(repr(what).encode(), digest_size=20)
    digest.update(np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()


def _load(key: str, shape: tuple[int, ...]) -> Array | None:
    """Return an image of the cache; None where it has none that is whole."""
    place = folder()
    if place is None:
        return None
    try:
        image: Array = np.load(place / key[:2] / f"{key}.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return image if image.shape == shape and image.dtype == np.uint8 else None


def _store(key: str, image: Array) -> None:
    """Put an image into the cache where it can be written and the disk has room."""
    place = folder()
    if place is None:
        return
    target = place / key[:2] / f"{key}.npy"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(place).free < FREE:
            return
        with whole_file(target, durable=False) as part:
            np.save(part, image, allow_pickle=False)
    except OSError:
        return
