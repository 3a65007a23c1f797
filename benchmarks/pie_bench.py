"""Edit PIE-Bench by methods and average its measures, where the data and the weights are.

python benchmarks/pie_bench.py FOLDER --method p2p,pnp --model DIR --out runs/pie [--clip DIR]
    [--dino DIR] [--lpips FILE] [--kinds 0,1] [--limit N] [--set steps=50 ...] [--instruct]

FOLDER holds mapping_file.json and annotation_images. Every item is a run of its own under --out, of
several methods under --out/METHOD; an interrupted benchmark continues with the same command. Images are
compared at the size that the model draws, the masks brought to it. --instruct gives the items'
instructions to methods that take one.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kdst_core
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import RESULT
from kdst_edit.models.pipelines import load
from kdst_edit.piebench.learned import Learned
from kdst_edit.piebench.measures import by_kind, score, summary
from kdst_edit.piebench.reader import Item, Pixels, read

Kinds = dict[str, dict[str, float]]
"""Mean measures by kind of edit."""


def edited(
    method: str, item: Item, directory: Path, options: argparse.Namespace, model: Any
) -> Path:
    """The run directory of an item; runs the method unless it has."""
    if not (directory / RESULT).is_file():
        given = dict(pair.split("=", 1) for pair in options.set)
        if options.instruct:
            given["instruction"] = item.instruction
        kdst_core.run(
            method,
            model=model,
            image=item.image,
            source=item.source,
            target=item.target,
            baseline=False,
            out=directory,
            resume=directory.exists(),
            show="quiet",
            **given,
        )
    return directory / "artifacts"


def pixels(path: Path, size: tuple[int, int] | None = None) -> Any:
    """An image (H, W, 3) in [0, 1]."""
    picture = Image.open(path).convert("RGB")
    if size and picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture, dtype=np.float64) / 255


def fitted(mask: Pixels, size: tuple[int, int]) -> Pixels:
    """The mask at another size (W, H)."""
    picture = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture).astype(bool)


def measure(item: Item, artifacts: Path, learned: Learned) -> dict[str, float]:
    """The measures of an item whose run is done."""
    edit = pixels(artifacts / "edit.png")
    size = (edit.shape[1], edit.shape[0])
    return score(pixels(item.image, size), edit, fitted(item.mask, size), item.target, learned)


def main(argv: Sequence[str] | None = None) -> int:
    """Edit and measure every item; print the means and write scores.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", default="p2p", help="one or several, separated by commas")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    for name in ("clip", "dino", "lpips"):
        parser.add_argument(f"--{name}", type=Path, help="local weights")
    parser.add_argument("--kinds", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--limit", type=int, help="at most so many items")
    parser.add_argument("--instruct", action="store_true", help="give the items' instructions")
    parser.add_argument("--set", nargs="*", default=[], help="options of the run, name=value")
    options = parser.parse_args(argv)
    try:
        return benchmark(options)
    except KdstError as e:
        print(f"Error: {e}", file=sys.stderr)
        return e.exit_code


def benchmark(options: argparse.Namespace) -> int:
    """Carry out what the command line asks for."""
    items = read(options.folder, [int(k) for k in options.kinds.split(",")])[: options.limit]
    if not items:
        raise KdstError("no items of these kinds")
    learned = Learned.load(options.clip, options.dino, options.lpips)
    for name, reason in learned.missing.items():
        print(f"{name} left out: {reason}", file=sys.stderr)
    model, methods = load(options.model, options.device), options.method.split(",")
    tables = {}
    for method in methods:
        out = options.out / method if len(methods) > 1 else options.out
        tables[method] = carried_out(method, items, out, options, model, learned)
    measures = dict.fromkeys(name for kinds in tables.values() for name in kinds["all"])
    for name in measures:
        print(table(name, tables))
    return 0


def carried_out(
    method: str,
    items: Sequence[Item],
    out: Path,
    options: argparse.Namespace,
    model: Any,
    learned: Learned,
) -> Kinds:
    """Edit every item by a method, write scores.json and return the means by kind of edit."""
    rows = {}
    for number, item in enumerate(items, 1):
        artifacts = edited(method, item, out / item.name, options, model)
        rows[item.name] = measure(item, artifacts, learned)
        print(f"\r{method} {number}/{len(items)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    kinds = by_kind({item.name: item.kind for item in items}, rows)
    means = summary(rows)
    scores = {"items": rows, "mean": means, "by_kind": kinds, "missing": learned.missing}
    write_atomically(out / "scores.json", json.dumps(scores, indent=1) + "\n")
    return {"all": means} | kinds


def table(measure: str, tables: Mapping[str, Kinds]) -> str:
    """A measure of every method (rows), over all items and by kind of edit (columns)."""
    kinds = list(dict.fromkeys(kind for found in tables.values() for kind in found))
    lines = [f"{measure:20s}" + "".join(f"{kind:>19s}" for kind in kinds)]
    for method, found in tables.items():
        cells = (found.get(kind, {}).get(measure) for kind in kinds)
        shown = "".join(f"{'–':>19s}" if c is None else f"{c:19.4f}" for c in cells)
        lines.append(f"{method:20s}{shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
