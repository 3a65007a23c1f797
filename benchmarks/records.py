"""What a worker takes for records of Toolformer and Vec2Text on their embedded models, on one core.

    python benchmarks/records.py [toolformer|vec2text ...] [--records 128]

The worker is the one that executors start, in this process: CPU seconds to make it and for each
record, bytes of a record in its part, and the resident memory that it needs.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

Worker = Callable[[Any], list[dict[str, Any]]]


def toolformer(records: int, _folder: Path) -> tuple[Worker, list[Any]]:
    """Return a worker that samples, executes and filters, and shards of 32 documents."""
    from kdst_toolformer import ToolformerOptions
    from kdst_tools.default import documents
    from kdst_tools.inputs import ToolsInputs
    from kdst_tools.loop.workers import Annotating

    factory = Annotating(
        *("kdst-toolformer/toolformer", ToolformerOptions(), ToolsInputs(), "tiny"),
        *(True, "cpu", 0, "", "filter"),
    )
    texts = [t.text for t in documents(records, Random("records"))]
    rows = [{"text": t, "id": str(n), "date": None} for n, t in enumerate(texts)]
    cut = [rows[n : n + 32] for n in range(0, records, 32)]
    return factory(), [{"documents": rows, "calls": []} for rows in cut]


def vec2text(records: int, folder: Path) -> tuple[Worker, list[Any]]:
    """Return a worker that inverts with the default search, and blocks of 64 vectors."""
    import numpy as np
    import torch

    from kdst_invert.default.notes import notes
    from kdst_invert.distribute import Inverting
    from kdst_invert.embedders.minilm import minilm
    from kdst_invert.inputs import InvertInputs
    from kdst_vec2text import Vec2TextOptions

    torch.set_num_threads(1)
    vectors = minilm("cpu")([n.text for n in notes("held-out", records, 0)])
    np.save(folder / "vectors.npy", vectors.numpy())
    method = "kdst-vec2text/vec2text"
    factory = Inverting(method, Vec2TextOptions(), InvertInputs(), "cpu", 0, folder / "vectors.npy")
    starts = range(0, records, 64)
    return factory(), [{"start": s, "stop": min(s + 64, records)} for s in starts]


def measure(method: str, records: int) -> dict[str, float]:
    """Return the figures of one method; the first shard warms up and is not counted."""
    with tempfile.TemporaryDirectory() as name:
        began = time.process_time()
        work, shards = {"toolformer": toolformer, "vec2text": vec2text}[method](records, Path(name))
        made = time.process_time() - began
        work(shards[0])
        began, sizes = time.process_time(), []
        for shard in shards[1:]:
            sizes.append(len("".join(json.dumps(r) + "\n" for r in work(shard))))
        spent, done = time.process_time() - began, records - records // len(shards)
    return {
        "cpu_to_make": made,
        "records": done,
        "cpu_each": spent / done,
        "bytes_each": sum(sizes) / done,
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure and print, a line a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=["toolformer"])
    parser.add_argument("--records", type=int, default=128)
    given = parser.parse_args()
    for method in given.methods:
        print(method, json.dumps(measure(method, given.records)), flush=True)


if __name__ == "__main__":
    main()
