"""The .spz format in and out: Gaussians in a tenth of the room of a .ply (Niantic, spz, version 2).

A gzipped header and one array an attribute: positions in 24-bit fixed point, everything else in
bytes. Its axes are x right, y up, z backward; those of a .ply are x right, y down, z forward.
"""

import struct
import zlib
from typing import Any

import numpy as np
import torch

from kdst_3dgs.harmonics import C0

MAGIC, VERSION = 0x5053474E, 2
COLOR_SCALE = 0.15
"""Colours of degree 0 are stored as (c · .15 + .5) · 255."""
LARGEST = (1 << 23) - 1
"""Largest number of 24 bits with a sign."""
USUAL_BITS, MOST_BITS = 12, 23
"""Binary places that the format's authors write, and the most that positions get here."""
STEPS = (8, 16)
"""Steps in which harmonics of degree 1, and higher ones, are rounded, of 256."""
_HEADER = struct.Struct("<IIIBBBB")
_ODD = (-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1)
"""Sign of each harmonic above degree 0 when y and z change theirs."""


class SpzError(ValueError):
    """A .spz that cannot be read, with what is wrong."""


def encode(parameters: dict[str, torch.Tensor], antialiased: bool) -> bytes:
    """Return Gaussians as the bytes of a .spz; each must be finite, on the CPU."""
    arrays = {name: p.detach().float().numpy() for name, p in parameters.items()}
    count, coefficients = arrays["sh"].shape[:2]
    places, bits = arrays["means"] * [1.0, -1.0, -1.0], _bits(parameters)
    fixed = np.clip(np.round(places * 2.0**bits), -LARGEST, LARGEST).astype("<i4")
    given = arrays["quats"].astype(np.float64)
    quats = given / np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-9)
    axes = quats[:, 1:] * np.where(quats[:, :1] < 0, -1, 1) * [1, -1, -1]
    degree = int(np.sqrt(coefficients)) - 1
    parts = [
        _HEADER.pack(MAGIC, VERSION, count, degree, bits, int(antialiased), 0),
        fixed.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
        _byte(255 * parameters["opacities"].detach().double().sigmoid().numpy()),
        _byte((arrays["sh"][:, 0] * COLOR_SCALE + 0.5) * 255),
        _byte((arrays["scales"] + 10) * 16),
        _byte(axes * 127.5 + 127.5),
        _harmonics(arrays["sh"][:, 1:]),
    ]
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b"".join(parts)) + packer.flush()


def decode(data: bytes) -> tuple[dict[str, torch.Tensor], bool]:
    """Return the Gaussians of a .spz, and whether they are meant for antialiasing.

    Raises SpzError for another version than 2, or a file that is not whole.
    """
    try:
        raw = zlib.decompress(data, 31)
        magic, version, count, degree, bits, flags, _ = _HEADER.unpack_from(raw)
    except (zlib.error, struct.error) as e:
        raise SpzError("is not a .spz file") from e
    if magic != MAGIC or version != VERSION or degree > 3:
        raise SpzError(f"is of version {version}; version {VERSION} with up to 3 degrees is read")
    rest = (degree + 1) ** 2 - 1
    sizes = [9, 1, 3, 3, 3, 3 * rest]
    if len(raw) - _HEADER.size < count * sum(sizes):
        raise SpzError(f"is truncated: not all of its {count} Gaussians are there")
    parts, start = [], _HEADER.size
    for size in sizes:
        part = np.frombuffer(raw, np.uint8, count * size, start)
        parts.append(part.reshape(count, size).astype(np.float32))
        start += count * size
    _, alphas, colors, scales, axes, harmonics = parts
    fixed = np.zeros((count, 3, 4), np.uint8)
    fixed[..., 1:] = np.frombuffer(raw, np.uint8, 9 * count, _HEADER.size).reshape(count, 3, 3)
    places = (fixed.view("<i4")[..., 0] >> 8) * np.array([1.0, -1.0, -1.0]) / 2.0**bits
    vector = axes / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (vector**2).sum(1, keepdims=True)))
    opacity = np.clip(alphas[:, 0] / 255, 1 / 1020, 1 - 1 / 1020).astype(np.float64)
    higher = (harmonics.reshape(count, rest, 3) - 128) / 128 * np.array(_ODD[:rest])[None, :, None]
    sh = np.concatenate([((colors / 255 - 0.5) / COLOR_SCALE)[:, None], higher], 1)
    arrays = {
        "means": places,
        "quats": np.concatenate([w, vector * [1, -1, -1]], 1),
        "scales": scales / 16 - 10,
        "opacities": np.log(opacity / (1 - opacity)),
        "sh": sh,
    }
    return {
        n: torch.from_numpy(np.ascontiguousarray(a, np.float32)) for n, a in arrays.items()
    }, bool(flags & 1)


def lost(parameters: dict[str, torch.Tensor]) -> list[str]:
    """Return sentences on values that the format's ranges cut."""
    scales, colors, bits = parameters["scales"], parameters["sh"][:, 0], _bits(parameters)
    reach = parameters["means"].abs().amax(1)
    away = reach > LARGEST / 2.0**bits
    cut = (scales < -10) | (scales > 255 / 16 - 10)
    bright = (colors.abs() > 0.5 / COLOR_SCALE).any(1)
    said = []
    if bool(away.any()):
        said.append(
            f"positions of {int(away.sum())} Gaussians are cut to ±{LARGEST / 2.0**bits:,.0f}; leave them"
            " out with --crop"
        )
    if 2.0**-bits > 0.5 * _size(parameters):
        said.append(
            f"positions are rounded to steps of {2.0**-bits:g}, as they reach {float(reach.max()):.3g};"
            " leave far ones out with --crop"
        )
    if bool(cut.any()):
        said.append(f"sizes of {int(cut.any(1).sum())} Gaussians lie outside the range of .spz")
    if bool(bright.any()):
        shown = 0.5 + C0 * 0.5 / COLOR_SCALE
        said.append(
            f"colours of {int(bright.sum())} Gaussians are cut to {1 - shown:.2f} … {shown:.2f}"
        )
    return said


def _bits(parameters: dict[str, torch.Tensor]) -> int:
    """Return the binary places of positions: USUAL_BITS, more where Gaussians are small against their
    steps, and as few as let the farthest in."""
    reach = float(parameters["means"].abs().max()) if len(parameters["means"]) else 0.0
    room = np.floor(np.log2(LARGEST / max(reach, 1e-6)))
    needed = np.ceil(np.log2(8 / max(_size(parameters), 1e-30)))
    return int(np.clip(min(room, max(USUAL_BITS, needed)), 0, MOST_BITS))


def _size(parameters: dict[str, torch.Tensor]) -> float:
    """Return the median over the Gaussians of their largest standard deviation."""
    scales = parameters["scales"].detach().double()
    return float(scales.amax(1).median().exp()) if len(scales) else 1.0


def _byte(values: Any) -> bytes:
    """Return values rounded to bytes."""
    rounded: bytes = np.clip(np.round(values), 0, 255).astype(np.uint8).tobytes()
    return rounded


def _harmonics(higher: Any) -> bytes:
    """Return harmonics (N, K, 3) above degree 0 as bytes, rounded to the middle of their steps."""
    rest = higher.shape[1]
    step = np.where(np.arange(rest) < 3, *STEPS)[None, :, None]
    level = np.round(higher * np.array(_ODD[:rest])[None, :, None] * 128) + 128
    return _byte((level + step // 2) // step * step)
