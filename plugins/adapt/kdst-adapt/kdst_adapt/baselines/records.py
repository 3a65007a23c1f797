"""The records of source and norm on a stream, kept for other runs on the same stream."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from kdst_adapt.measures import Trace
from kdst_adapt.models.digest import model_digest
from kdst_core.files import whole_file
from kdst_core.options import plain
from kdst_core.runs.codecs import TorchCodec

if TYPE_CHECKING:
    from kdst_adapt.load import Target

BASELINES = ("source", "norm")
PROBING = ("energy", "generation")
"""Studies that measure the networks of the baselines too, which must run then."""


def place(target: "Target") -> Path | None:
    """Return the file of a run's baselines; None where it has no folder for them, or studies them."""
    folder: Path | None = target.job.inputs.shared_baselines
    if folder is None or target.job.inputs.study in PROBING:
        return None
    return folder / f"{_key(target)}.pt"


def _key(target: "Target") -> str:
    """Return a digest of all that decides records and times of the baselines.

    Of the images, those of each stream's first batch are part of it.
    """
    stream, job = target.stream, target.job
    what = {
        "inputs": plain(job.inputs),
        "layout": getattr(job.options, "layout", "auto"),
        "seed": job.seed,
        "device": target.device,
        "threads": torch.get_num_threads(),
        "machine": [platform.node(), platform.processor()],
        "versions": [torch.__version__, np.__version__, version("kdst-adapt")],
        "model": model_digest(target.model),
        "single": list(target.single),
        "streams": [f"{s.key}{s.digest}" for s in stream.shifts],
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode())
    for shift in stream.shifts:
        batches = stream.rows(shift)
        for part in (shift.labels, np.concatenate(batches), shift.pictures(batches[0]).numpy()):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:32]


def load(path: Path | None) -> dict[str, Trace]:
    """Return the baselines' records by name; none where there is no file that can be read."""
    if path is None or not path.is_file():
        return {}
    try:
        kept = TorchCodec().load(path)
        return {name: Trace(**kept[name]) for name in BASELINES}
    except Exception:  # whatever is wrong with it, they are computed anew
        return {}


def save(path: Path | None, traces: Mapping[str, Trace]) -> None:
    """Keep the baselines' records, where there is a place and none are there."""
    if path is None or path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, durable=False) as part:
            TorchCodec().dump({name: traces[name].state_dict() for name in BASELINES}, part)
    except OSError:
        return
