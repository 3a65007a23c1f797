"""A long computation over rows, shard by shard on disk, so that a kill costs one shard."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdst_core.files import whole_file
from kdst_vec2text.trainer import Progress

Tensors = Mapping[str, Tensor]


def sharded(
    directory: Path,
    count: int,
    size: int,
    compute: Callable[[range], Tensors],
    progress: Progress,
    label: str,
) -> list[dict[str, Tensor]]:
    """What `compute` returns for rows 0 to `count`, in shards of `size`; those on disk are read.

    A shard is written atomically, and `compute` must depend on its rows alone.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    with progress(count, label) as advance:
        for number, start in enumerate(range(0, count, size)):
            rows = range(start, min(start + size, count))
            path = directory / f"{number:05d}.safetensors"
            if not path.exists():
                with whole_file(path) as temporary:
                    save_file({n: t.contiguous() for n, t in compute(rows).items()}, temporary)
            found.append(load_file(path))
            advance(len(rows))
    return found


def joined(shards: list[dict[str, Tensor]], name: str) -> Tensor:
    """One tensor of all shards."""
    return torch.cat([shard[name] for shard in shards])
