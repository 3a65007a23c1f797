"""Splat files: the .ply that every viewer reads, in and out; .splat and compressed .ply out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdst_core.rundir import write_atomically

Parameters = dict[str, Tensor]
_SETTINGS = "comment kdst "
_SHAPE = (*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))
_REQUIRED = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", *_SHAPE)
_KINDS = {"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8"}
_KINDS |= {
    "uchar": "u1",
    "uint8": "u1",
    "char": "i1",
    "int8": "i1",
    "short": "<i2",
    "ushort": "<u2",
}
_KINDS |= {"int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4"}


class SplatFileError(ValueError):
    """A splat file that cannot be read, with what is wrong and what to do."""


def ply_bytes(parameters: Parameters, settings: Mapping[str, Any] | None = None) -> bytes:
    """Gaussians as binary .ply: x y z, nx ny nz, f_dc, f_rest (by channel), opacity, scale, rot.

    `settings`, plain values, go into one comment of the header, which other readers skip.
    """
    arrays = {k: v.detach().cpu().float().numpy() for k, v in parameters.items()}
    sh = arrays["sh"]
    count, coefficients, _ = sh.shape
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(count, -1)
    columns = {"xyz": arrays["means"], "n": np.zeros((count, 3)), "f_dc": sh[:, 0], "f_rest": rest}
    columns |= {"opacity": arrays["opacities"][:, None], "scale": arrays["scales"]}
    columns |= {"rot": arrays["quats"]}
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3))]
    names += [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in names]
    header += [_SETTINGS + json.dumps(dict(settings))] if settings else []
    header += ["end_header", ""]
    table = np.concatenate(list(columns.values()), axis=1).astype("<f4")
    return "\n".join(header).encode() + table.tobytes()


def read_ply(path: Path) -> Parameters:
    """Gaussians of a .ply in the usual layout, any SH degree up to 3.

    Raises SplatFileError naming the fields that are missing, or where the file ends early.
    """
    data = path.read_bytes()
    count, fields, start = _header(data, path)
    missing = [name for name in _REQUIRED if name not in fields.names]
    if missing:
        raise SplatFileError(
            f"{path.name} lacks {', '.join(missing)}: it is not a Gaussian splat .ply "
            "(a point cloud or a compressed one?). Export it again as uncompressed splats."
        )
    rest = sum(name.startswith("f_rest_") for name in fields.names)
    if rest not in (0, 9, 24, 45):
        raise SplatFileError(f"{path.name} has {rest} f_rest fields; 0, 9, 24 or 45 are allowed.")
    if len(data) - start < count * fields.itemsize:
        there = (len(data) - start) // fields.itemsize
        raise SplatFileError(f"{path.name} is truncated: {there} of {count} Gaussians are there.")
    table = np.frombuffer(data, fields, count, start)

    def column(*names: str) -> Any:
        return np.stack([table[name].astype(np.float32) for name in names], -1)

    sh = column("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest:
        higher = column(*(f"f_rest_{i}" for i in range(rest))).reshape(count, 3, -1)
        sh = np.concatenate([sh, higher.transpose(0, 2, 1)], axis=1)
    arrays = {
        "means": column("x", "y", "z"),
        "quats": column(*(f"rot_{i}" for i in range(4))),
        "scales": column(*(f"scale_{i}" for i in range(3))),
        "opacities": table["opacity"].astype(np.float32),
        "sh": np.ascontiguousarray(sh),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def read_settings(path: Path) -> dict[str, Any]:
    """What `ply_bytes` got as `settings`; empty for a file that something else wrote."""
    with path.open("rb") as file:
        head = file.read(65_536).split(b"end_header\n")[0].decode("ascii", "replace")
    for line in head.splitlines():
        if line.startswith(_SETTINGS):
            try:
                return dict(json.loads(line.removeprefix(_SETTINGS)))
            except (TypeError, ValueError):
                raise SplatFileError(f"{path.name} has settings that cannot be read.") from None
    return {}


def _header(data: bytes, path: Path) -> tuple[int, Any, int]:
    """Number of vertices, their record type and the position of the first."""
    end = data.find(b"end_header\n", 0, 65_536)
    if not data.startswith(b"ply") or end < 0:
        raise SplatFileError(f"{path.name} is not a .ply file.")
    lines = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    if ["format", "binary_little_endian", "1.0"] not in lines:
        raise SplatFileError(f"{path.name} is not binary little-endian, the only format read.")
    elements = [line for line in lines if line[:1] == ["element"]]
    if not elements or elements[0][1] != "vertex" or not elements[0][2].isdigit():
        raise SplatFileError(f"{path.name} does not begin with vertices, as splat files do.")
    first = lines.index(elements[0]) + 1
    last = lines.index(elements[1]) if len(elements) > 1 else len(lines)
    properties = [line for line in lines[first:last] if line[:1] == ["property"]]
    for line in properties:
        if len(line) != 3 or line[1] not in _KINDS:
            raise SplatFileError(f"{path.name} has a field that is not a number: {' '.join(line)}.")
    names = [line[2] for line in properties]
    if len(set(names)) < len(names):
        raise SplatFileError(f"{path.name} names a field twice.")
    kinds = np.dtype([(line[2], _KINDS[line[1]]) for line in properties])
    return int(elements[0][2]), kinds, end + len(b"end_header\n")


def write_splats(
    parameters: Parameters, path: Path, settings: Mapping[str, Any] | None = None
) -> None:
    """Write .compressed.ply, .ply or .splat, as the name of `path` says, in one step.

    Only .ply keeps `settings`.

    Raises SplatFileError for another ending.
    """
    name = path.name.lower()
    finite = torch.stack(
        [
            p.detach().isfinite().flatten(1).all(1) if p.ndim > 1 else p.isfinite()
            for p in parameters.values()
        ]
    ).all(0)
    kept = {key: p.detach().cpu()[finite.cpu()] for key, p in parameters.items()}
    if name.endswith((".compressed.ply", ".splat")):
        data = _gsplat_bytes(kept, "splat" if name.endswith(".splat") else "ply_compressed")
    elif name.endswith(".ply"):
        data = ply_bytes(kept, settings)
    else:
        raise SplatFileError(f"{path.name}: write .ply, .compressed.ply or .splat.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)


def _gsplat_bytes(parameters: Parameters, kind: Any) -> bytes:
    from gsplat import export_splats  # type: ignore[import-untyped]

    sh, quats = parameters["sh"], torch.nn.functional.normalize(parameters["quats"], dim=-1)
    data: bytes = export_splats(
        parameters["means"],
        parameters["scales"],
        quats,
        parameters["opacities"],
        sh[:, :1],
        sh[:, 1:],
        format=kind,
    )
    return data
