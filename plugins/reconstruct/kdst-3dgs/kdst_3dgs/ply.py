"""Splat files: the .ply that every viewer reads, in and out; .splat and compressed .ply out.

A .ply is read in each of its three forms: little-endian, big-endian and text.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdst_3dgs import sog, spz
from kdst_core.files import write_atomically

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
_KINDS |= {"int16": "<i2", "uint16": "<u2"}
_LONGEST = 65_536
_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?ply[ \t]*(\r\n|\n|\r)(.*?)\1end_header[ \t]*\1", re.DOTALL)
"""A header, whose lines end as the first one does."""
_FORMS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
OPAQUE = 20.0
"""Largest opacity logit: its opacity differs from 1 by less than float32 resolves."""
FLAT = -30.0
"""Smallest log scale: a Gaussian that is flat in one direction, as surfels are."""


class _Header(NamedTuple):
    """What the header of a .ply says of its vertices; start: position of the first, or of text that
    holds them after some lines of other elements."""

    vertices: int
    fields: Any
    start: int
    form: str
    lines_before: int


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

    Gaussians with values that are not finite are left out, which is said. Raises SplatFileError naming
    the fields that are missing, or where the file ends early.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise SplatFileError(f"{path} cannot be read: {e.strerror}.") from e
    header = _header(data, path)
    count, names = header.vertices, header.fields.names
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise SplatFileError(
            f"{path.name} lacks {', '.join(missing)}: it is not a Gaussian splat .ply "
            "(a point cloud or a compressed one?). Export it again as uncompressed splats."
        )
    rest = sum(name.startswith("f_rest_") for name in names)
    if rest not in (0, 9, 24, 45):
        raise SplatFileError(f"{path.name} has {rest} f_rest fields; 0, 9, 24 or 45 are allowed.")
    gap = next((k for k in range(rest) if f"f_rest_{k}" not in names), None)
    if gap is not None:
        raise SplatFileError(f"{path.name} lacks f_rest_{gap}, though it has {rest} f_rest fields.")
    table = _table(data, header, path)

    def column(*names: str) -> Any:
        return np.stack([table[name].astype(np.float32) for name in names], -1)

    sh = column("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest:
        higher = column(*(f"f_rest_{i}" for i in range(rest))).reshape(count, 3, rest // 3)
        sh = np.concatenate([sh, higher.transpose(0, 2, 1)], axis=1)
    arrays = {
        "means": column("x", "y", "z"),
        "quats": column(*(f"rot_{i}" for i in range(4))),
        "scales": _at_least(column(*(f"scale_{i}" for i in range(3))), FLAT),
        "opacities": _within(table["opacity"].astype(np.float32), OPAQUE),
        "sh": np.ascontiguousarray(sh),
    }
    kept, lost = _finite({name: torch.from_numpy(array) for name, array in arrays.items()})
    if lost:
        print(
            f"{path.name}: {lost} of {count} Gaussians have values that are not finite and are left out.",
            file=sys.stderr,
            flush=True,
        )
    return kept


def _within(logits: Any, limit: float) -> Any:
    """Replace infinite logits by finite ones that are drawn the same; others stay."""
    return np.where(np.isinf(logits), np.sign(logits) * np.float32(limit), logits)


def _at_least(logs: Any, limit: float) -> Any:
    """Replace logarithms of 0 by a finite one that is drawn the same; others stay."""
    return np.where(np.isneginf(logs), np.float32(limit), logs)


def _table(data: bytes, header: _Header, path: Path) -> Any:
    """The vertices as a structured array (N,); SplatFileError where the file ends early."""
    count, fields, start, form, before = header
    if form == "ascii":
        filled = (
            row for row in data[start:].decode("ascii", "replace").splitlines() if row.strip()
        )
        rows = list(islice(filled, before, before + count))
        there = len(rows)
    else:
        there = (len(data) - start) // fields.itemsize
    if there < count:
        raise SplatFileError(f"{path.name} is truncated: {there} of {count} Gaussians are there.")
    if form != "ascii":
        return np.frombuffer(data, fields, count, start)
    try:
        numbers = np.array([row.split() for row in rows], np.float64)
        numbers = numbers.reshape(count, len(fields.names))
    except ValueError:
        raise SplatFileError(
            f"{path.name}: a line does not hold {len(fields.names)} numbers, as its header says."
        ) from None
    table = np.zeros(count, fields)
    for number, name in enumerate(fields.names):
        table[name] = numbers[:, number]
    return table


def read_settings(path: Path) -> dict[str, Any]:
    """What `ply_bytes` got as `settings`; empty for a file that something else wrote."""
    with path.open("rb") as file:
        head = file.read(65_536).split(b"end_header")[0].decode("ascii", "replace")
    for line in head.splitlines():
        if line.startswith(_SETTINGS):
            try:
                return dict(json.loads(line.removeprefix(_SETTINGS)))
            except (TypeError, ValueError):
                raise SplatFileError(f"{path.name} has settings that cannot be read.") from None
    return {}


def _header(data: bytes, path: Path) -> _Header:
    """Read the header; its lines end as on any system."""
    found = _HEADER.match(data[:_LONGEST])
    if found is None:
        raise SplatFileError(f"{path.name} is not a .ply file.")
    lines = [line.split() for line in found[2].decode("ascii", "replace").split(found[1].decode())]
    form = next((line[1] for line in lines if line[:1] == ["format"] and len(line) == 3), "none")
    if form not in _FORMS:
        raise SplatFileError(f"{path.name} has the format {form}; {', '.join(_FORMS)} are read.")
    before, count, kinds = 0, None, np.dtype([])
    for name, count, properties in _elements(lines, path):
        kinds = _kinds(properties, form, path)
        if name == "vertex":
            break
        before += count * (1 if form == "ascii" else kinds.itemsize)
    else:
        raise SplatFileError(f"{path.name} has no vertices, which splat files have.")
    start = found.end() if form == "ascii" else found.end() + before
    return _Header(count, kinds, start, form, before if form == "ascii" else 0)


def _elements(lines: list[list[str]], path: Path) -> Iterator[tuple[str, int, list[list[str]]]]:
    """Name, count and properties of each element, in order."""
    rows = [k for k, line in enumerate(lines) if line[:1] == ["element"]]
    for row, end in zip(rows, [*rows[1:], len(lines)], strict=True):
        line = lines[row]
        if len(line) != 3 or not line[2].isdigit():
            raise SplatFileError(f"{path.name} has an element without a count: {' '.join(line)}.")
        properties = [p for p in lines[row + 1 : end] if p[:1] == ["property"]]
        yield line[1], int(line[2]), properties


def _kinds(properties: list[list[str]], form: str, path: Path) -> Any:
    """The fields of an element as numpy names them; SplatFileError for lists and double names."""
    for line in properties:
        if len(line) != 3 or line[1] not in _KINDS:
            raise SplatFileError(f"{path.name} has a field that is not a number: {' '.join(line)}.")
    names = [line[2] for line in properties]
    if len(set(names)) < len(names):
        raise SplatFileError(f"{path.name} names a field twice.")
    kinds = np.dtype([(line[2], _KINDS[line[1]]) for line in properties])
    return kinds.newbyteorder(">") if form == "binary_big_endian" else kinds


def write_splats(
    parameters: Parameters, path: Path, settings: Mapping[str, Any] | None = None
) -> list[str]:
    """Write .compressed.ply, .ply, .splat, .spz or .sog, as the name of `path` says, in one step.

    Returns sentences that say what the file does not hold: Gaussians with values that are not
    finite, and what of `settings` changes a picture, which only .ply keeps. Raises SplatFileError
    for another ending, or where no Gaussian is finite.
    """
    name = path.name.lower()
    kept, lost = _finite(parameters)
    if not len(kept["means"]):
        raise SplatFileError(f"{path.name}: no Gaussian has finite values.")
    said = [f"{path.name}: {lost} Gaussians with values that are not finite were left out."]
    said *= bool(lost)
    compact = name.endswith((".compressed.ply", ".splat", ".spz", ".sog"))
    if name.endswith(".spz"):
        data = spz.encode(kept, bool((settings or {}).get("antialiased")))
        said += [f"{path.name}: {sentence}." for sentence in spz.lost(kept)]
    elif name.endswith(".sog"):
        data = sog.encode(kept, bool((settings or {}).get("antialiased")))
    elif compact:
        data = _gsplat_bytes(kept, "splat" if name.endswith(".splat") else "ply_compressed")
    elif name.endswith(".ply"):
        data = ply_bytes(kept, settings)
    else:
        raise SplatFileError(f"{path.name}: write .ply, .compressed.ply, .splat, .spz or .sog.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return said + (_not_kept(path.name, settings or {}) if compact else [])


def _finite(parameters: Parameters) -> tuple[Parameters, int]:
    """The Gaussians with finite numbers, and how many others there were.

    What is infinite and drawn all the same, full opacity or no extent, becomes finite first.
    """
    whole = {name: p.detach().cpu() for name, p in parameters.items()}
    logits, logs = whole["opacities"], whole["scales"]
    whole["opacities"] = torch.where(logits.isinf(), logits.sign() * OPAQUE, logits)
    whole["scales"] = torch.where(logs.isneginf(), logs.new_tensor(FLAT), logs)
    finite = torch.stack([p.isfinite().flatten(1).all(1) for p in map(_rows, whole.values())])
    kept = finite.all(0)
    return {name: p[kept] for name, p in whole.items()}, int((~kept).sum())


def _rows(values: Tensor) -> Tensor:
    """Values (N, ...) with at least two axes."""
    return values if values.ndim > 1 else values[:, None]


def _not_kept(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Sentences on settings that change a picture and have no place in a compact file."""
    said = []
    if settings.get("antialiased") and not name.lower().endswith((".spz", ".sog")):
        said.append(
            f"{name} cannot say that its opacities are meant for the antialiasing filter:"
            " other viewers draw it denser. Turn their antialiasing on, or use scene.ply."
        )
    if any(settings.get("background", ())):
        shade = ", ".join(f"{value:.2g}" for value in settings["background"])
        said.append(f"{name} cannot hold the background ({shade}): set it in the viewer.")
    return said


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
