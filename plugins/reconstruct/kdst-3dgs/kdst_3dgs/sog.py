"""The .sog format in and out: Gaussians as lossless WebP pictures in a zip (PlayCanvas, SOG, version 2).

One pixel a Gaussian, in the order of a curve that fills space, so that neighbours look alike and the
pictures get small. Positions have 16 bits an axis on a logarithmic scale, rotations their three smallest
components in bytes; sizes and colours are one of 256 values each, harmonics above degree 0 one of at
most 65,536 rows. Axes are those of a .ply.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from attrs import frozen

VERSION = 2
LEVELS, ROWS = 256, 1 << 16
"""Values of a codebook, and rows of the palette of harmonics."""
ACROSS = 64
"""Rows of the palette that stand beside one another in its picture."""
COEFFICIENTS = (0, 3, 8, 15)
"""Harmonics above degree 0, by degree."""
LOOKED_AT = 1 << 20
"""Values that a codebook is made from, at most."""
ROUNDS = 10
"""Times that a codebook moves its values to the middle of what they stand for."""
LARGEST_PART = 1 << 30
"""Bytes of a file in the zip above which it is not read."""
Array = np.ndarray[Any, np.dtype[Any]]


class SogError(ValueError):
    """A .sog that cannot be read or written, with what is wrong."""


def encode(parameters: Mapping[str, torch.Tensor], antialiased: bool) -> bytes:
    """Return Gaussians as the bytes of a .sog; each must be finite, on the CPU.

    Their order becomes that of the curve. Raises SogError where Pillow writes no WebP.
    """
    given = {name: p.detach().float().numpy().astype(np.float64) for name, p in parameters.items()}
    order = _along_curve(given["means"])
    arrays = {name: values[order] for name, values in given.items()}
    low, high, places = _quantised(arrays["means"])
    sizes, size_of = _codebook(arrays["scales"])
    colors, color_of = _codebook(arrays["sh"][:, 0])
    alphas = np.round(255 * torch.from_numpy(arrays["opacities"]).sigmoid().numpy())
    pictures = {
        "means_l": _framed(places & 255),
        "means_u": _framed(places >> 8),
        "scales": _framed(size_of),
        "quats": _framed(_smallest_three(arrays["quats"])),
        "sh0": _framed(np.concatenate([color_of, alphas[:, None]], 1)),
    }
    meta: dict[str, Any] = {
        "version": VERSION,
        "count": len(order),
        "antialias": antialiased,
        "means": {
            "mins": low.tolist(),
            "maxs": high.tolist(),
            "files": ["means_l.webp", "means_u.webp"],
        },
        "scales": {"codebook": sizes.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": colors.tolist(), "files": ["sh0.webp"]},
    }
    if arrays["sh"].shape[1] > 1:
        meta["shN"] = _with_harmonics(arrays["sh"][:, 1:], pictures)
    return _zipped({f"{name}.webp": _webp(p) for name, p in pictures.items()}, meta)


def decode(data: bytes) -> tuple[dict[str, torch.Tensor], bool]:
    """Return the Gaussians of a .sog, and whether they are meant for antialiasing.

    Raises SogError for another version than 2, or a file that is not whole.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            file = _Bundle.of(archive)
            arrays = file.gaussians()
    except (zipfile.BadZipFile, KeyError, IndexError, TypeError, ValueError, OSError) as e:
        if isinstance(e, SogError):
            raise
        raise SogError("is not a whole .sog file") from e
    tensors = {n: torch.from_numpy(np.ascontiguousarray(a, np.float32)) for n, a in arrays.items()}
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise SogError("holds values that are not finite")
    return tensors, bool(file.meta.get("antialias", False))


@frozen
class _Bundle:
    """An opened .sog: its pictures and what meta.json says of them."""

    archive: zipfile.ZipFile
    meta: Mapping[str, Any]

    @classmethod
    def of(cls, archive: zipfile.ZipFile) -> "_Bundle":
        """Read meta.json; SogError for a version that is not read."""
        meta = json.loads(_part(archive, "meta.json"))
        version = meta.get("version", 1)
        if version != VERSION:
            raise SogError(f"is of version {version}; version {VERSION} is read")
        return cls(archive, meta)

    def gaussians(self) -> dict[str, Array]:
        """Return the parameters, named as gsplat names them."""
        low, high = (np.array(self.meta["means"][k], np.float64) for k in ("mins", "maxs"))
        places = self._rows("means", 0, 3) + 256 * self._rows("means", 1, 3)
        log = low + (high - low) * places / 65535
        colors = self._rows("sh0", 0, 4)
        opacity = np.clip(colors[:, 3] / 255, 1 / 1020, 1 - 1 / 1020)
        sh = [self._values("sh0")[colors[:, :3]][:, None], self._harmonics()]
        return {
            "means": np.sign(log) * np.expm1(np.abs(log)),
            "quats": _whole_quaternions(self._rows("quats", 0, 4)),
            "scales": self._values("scales")[self._rows("scales", 0, 3)],
            "opacities": np.log(opacity / (1 - opacity)),
            "sh": np.concatenate(sh, 1),
        }

    def _harmonics(self) -> Array:
        """Return the harmonics (N, K, 3) above degree 0."""
        found = self.meta.get("shN")
        width = COEFFICIENTS[int(found["bands"])] if found else 0
        if not width:
            return np.zeros((int(self.meta["count"]), 0, 3))
        labels = self._rows("shN", 1, 2)
        label = labels[:, 0] + 256 * labels[:, 1]
        picture = self._picture("shN", 0)[..., :3]
        rows = picture.reshape(len(picture), ACROSS, width, 3).reshape(-1, width, 3)
        return self._values("shN")[rows[label]]

    def _values(self, name: str) -> Array:
        """Return a codebook."""
        values = np.array(self.meta[name]["codebook"], np.float64)
        if len(values) != LEVELS:
            raise SogError(f"has a codebook of {len(values)} values for {name}, not {LEVELS}")
        return values

    def _rows(self, name: str, number: int, channels: int) -> Array:
        """Return the pixels (N, channels) of the Gaussians in one of the pictures of a property."""
        count = int(self.meta["count"])
        pixels = self._picture(name, number).reshape(-1, 4)
        if not 0 <= count <= len(pixels):
            raise SogError(f"is truncated: not all of its {count} Gaussians are there")
        return pixels[:count, :channels].astype(np.int64)

    def _picture(self, name: str, number: int) -> Array:
        """Return the pixels (H, W, 4) of one of the pictures of a property."""
        from PIL import Image

        file = str(self.meta[name]["files"][number])
        with Image.open(io.BytesIO(_part(self.archive, file))) as picture:
            return np.asarray(picture.convert("RGBA"))


def _part(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a file of the zip; SogError for one of a size that no picture here has."""
    if archive.getinfo(name).file_size > LARGEST_PART:
        raise SogError(f"holds a file that is too large: {name}")
    return archive.read(name)


def _along_curve(means: Array) -> Array:
    """Return the order (N,) of means (N, 3) along Morton's curve, ten bits an axis."""
    low, high = means.min(0), means.max(0)
    cells = ((means - low) / np.maximum(high - low, 1e-12) * 1023).astype(np.uint64)
    code = np.zeros(len(means), np.uint64)
    for bit in range(10):
        for axis in range(3):
            digit = (cells[:, axis] >> np.uint64(bit)) & np.uint64(1)
            code |= digit << np.uint64(3 * bit + axis)
    return np.argsort(code, kind="stable")


def _quantised(means: Array) -> tuple[Array, Array, Array]:
    """Return least and largest logarithms (3,), and means (N, 3) as 16-bit steps between them."""
    log = np.sign(means) * np.log1p(np.abs(means))
    low, high = log.min(0), log.max(0)
    steps = np.round((log - low) / np.maximum(high - low, 1e-12) * 65535)
    return low, high, steps.astype(np.int64)


def _smallest_three(quats: Array) -> Array:
    """Return quaternions (N, 4), wxyz, as bytes: three components, and which one is left out."""
    unit = quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    largest = np.abs(unit).argmax(1)
    signs = np.where(np.take_along_axis(unit, largest[:, None], 1) < 0, -1.0, 1.0)
    kept = np.arange(4)[None] != largest[:, None]
    rest = (unit * signs)[kept].reshape(-1, 3) * np.sqrt(2)
    return np.concatenate([np.round((rest * 0.5 + 0.5) * 255), 252 + largest[:, None]], 1)


def _whole_quaternions(pixels: Array) -> Array:
    """Return the quaternions (N, 4) of such bytes; no rotation where they name no component."""
    largest = np.where(pixels[:, 3] >= 252, pixels[:, 3] - 252, 0)
    rest = (pixels[:, :3] / 255 * 2 - 1) / np.sqrt(2)
    rest[pixels[:, 3] < 252] = 0
    unit = np.zeros((len(pixels), 4))
    unit[np.arange(4)[None] != largest[:, None]] = rest.reshape(-1)
    left = np.sqrt(np.maximum(0, 1 - (rest**2).sum(1)))
    np.put_along_axis(unit, largest[:, None], left[:, None], 1)
    return unit


def _codebook(values: Array) -> tuple[Array, Array]:
    """Return 256 values, and for each of `values` the number of the nearest of them.

    Few different values are kept as they are. Else half of the book is spread over the values, half
    over their range, and each entry moves to the mean of what is nearest to it (Lloyd 1982).
    """
    flat = values.reshape(-1)
    seen = np.sort(flat[:: max(1, len(flat) // LOOKED_AT)])
    different = np.unique(flat) if len(flat) <= LOOKED_AT else np.unique(seen)
    if len(different) <= LEVELS:
        book = np.concatenate([different, np.full(LEVELS - len(different), different[-1])])
        return book, _nearest(different, values)
    half = LEVELS // 2
    spread = np.quantile(seen, (np.arange(half) + 0.5) / half)
    book = np.sort(np.concatenate([spread, np.linspace(flat.min(), flat.max(), half)]))
    for _ in range(ROUNDS):
        number = _nearest(book, seen)
        counts = np.bincount(number, minlength=LEVELS)
        sums = np.bincount(number, seen, minlength=LEVELS)
        book = np.sort(np.where(counts, sums / np.maximum(counts, 1), book))
    return book, _nearest(book, values)


def _nearest(book: Array, values: Array) -> Array:
    """Return for each value the number of the nearest entry of a sorted book."""
    return np.searchsorted((book[1:] + book[:-1]) / 2, values)


def _with_harmonics(higher: Array, pictures: dict[str, Array]) -> dict[str, Any]:
    """Add the pictures of harmonics (N, K, 3) above degree 0; return what meta.json says of them."""
    width = higher.shape[1]
    palette, label = _palette(higher.reshape(len(higher), -1))
    book, number = _codebook(palette)
    rows = -(-len(palette) // ACROSS)
    picture = np.zeros((rows * ACROSS, width, 4), np.uint8)
    picture[: len(palette), :, :3] = number.reshape(-1, width, 3)
    picture[..., 3] = 255
    pictures["shN_centroids"] = picture.reshape(rows, ACROSS * width, 4)
    pictures["shN_labels"] = _framed(np.stack([label & 255, label >> 8, 0 * label], 1))
    return {
        "count": len(palette),
        "bands": COEFFICIENTS.index(width),
        "codebook": book.tolist(),
        "files": ["shN_centroids.webp", "shN_labels.webp"],
    }


def _palette(rows: Array) -> tuple[Array, Array]:
    """Return at most 65,536 rows, and for each of `rows` (N, D) the number of that which stands for it.

    Where there are more different ones, they are halved at the median along the axis on which they
    vary most, 16 times, and the mean of each part stands for it.
    """
    different, label = np.unique(rows, axis=0, return_inverse=True)
    label = label.reshape(-1)
    if len(different) <= ROWS:
        return different, label
    parts = [np.arange(len(different))]
    while len(parts) < ROWS:
        parts = [half for part in parts for half in _halves(different, part)]
    means = np.stack([different[part].mean(0) for part in parts])
    part_of = np.empty(len(different), np.int64)
    for number, part in enumerate(parts):
        part_of[part] = number
    return means, part_of[label]


def _halves(rows: Array, part: Array) -> tuple[Array, Array]:
    """Return two halves of a part, numbers of rows, cut across the axis on which it varies most."""
    axis = int(rows[part].var(0).argmax())
    middle = len(part) // 2
    ordered = part[np.argpartition(rows[part, axis], middle)]
    return ordered[:middle], ordered[middle:]


def _framed(pixels: Array) -> Array:
    """Return pixels (N, 3 or 4) as a picture (H, W, 4) whose sides are multiples of 4."""
    count = len(pixels)
    width = max(4, int(np.ceil(np.sqrt(count) / 4)) * 4)
    height = max(4, -(-count // (4 * width)) * 4)
    picture = np.zeros((height * width, 4), np.uint8)
    picture[:, 3] = 255
    picture[:count, : pixels.shape[1]] = pixels
    return picture.reshape(height, width, 4)


def _webp(picture: Array) -> bytes:
    """Return a picture (H, W, 4) as lossless WebP."""
    from PIL import Image

    buffer = io.BytesIO()
    try:
        Image.fromarray(picture).save(buffer, "WEBP", lossless=True, exact=True, quality=50)
    except (KeyError, OSError) as e:
        raise SogError("needs a Pillow that writes WebP: pip install --upgrade pillow") from e
    return buffer.getvalue()


def _zipped(files: Mapping[str, bytes], meta: Mapping[str, Any]) -> bytes:
    """Return files and meta.json as a zip; the pictures are compressed already. Times are left out, so
    that the same scene gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {"meta.json": json.dumps(meta).encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()
