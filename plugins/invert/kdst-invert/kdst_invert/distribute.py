"""Blocks of vectors that an executor's workers invert, with what one process would find."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from kdst_batch.executors.place import Place, distribute, here, place
from kdst_batch.executors.records import Shard, read_records
from kdst_core.bench.contract import Job
from kdst_core.bench.sealed import hidden
from kdst_core.contracts import Inversion, InvertRequest
from kdst_core.errors import KdstError
from kdst_core.files import whole_file
from kdst_core.options import plain
from kdst_core.plugins.method import Method
from kdst_core.progress import Advance
from kdst_core.runs.aside import Aside
from kdst_invert.embedders.precision import Precision
from kdst_invert.inputs import InvertInputs

if TYPE_CHECKING:
    from torch import Tensor

VECTORS = "vectors.npy"
MANY = 256
"""Texts from which workers are worth their start."""
MOST_WORKERS = 4
"""Each holds an embedder and an inverter."""


@frozen
class Inverting:
    """A factory of workers, each with embedder and inverter.

    vectors: the file (N, D) of all rows. precision: of the embedder, one for all workers.
    """

    method: str
    options: Any
    inputs: InvertInputs
    device: str
    seed: int
    vectors: Path
    precision: Precision = "auto"

    def __call__(self) -> Callable[[Mapping[str, Any]], list[dict[str, Any]]]:
        """Return the function of one worker, from a block to the lines of its rows."""
        import numpy as np
        import torch

        from kdst_core.plugins.method import load
        from kdst_invert.embedders import choose
        from kdst_invert.load import judging_files

        embed = choose.choose(self.inputs, self.device, self.precision)
        blocks = Blocks()
        request = InvertRequest(
            torch.from_numpy(np.load(self.vectors, mmap_mode="c")),
            embed,
            torch.Generator().manual_seed(self.seed),
            blocks=blocks,
        )
        aside, method = Aside(Path(), self.seed, self.device), load(self.method)
        files = judging_files(self.inputs)
        with hidden(files):
            found = method.call(request, self.options, aside)
        return Worker(blocks, found, method, files)


class Blocks:
    """The block that a worker is to invert next, as the stream of blocks of one request."""

    def __init__(self) -> None:
        self.next = range(0)

    def __iter__(self) -> Iterator[range]:
        """Yield a block whenever the method has come to the end of the one before."""
        while True:
            yield self.next


@frozen
class Worker:
    """A method in a worker process, which goes on from block to block."""

    blocks: Blocks
    found: Iterator[Inversion] = field(repr=False)
    method: Method = field(repr=False)
    files: Sequence[Path] = ()

    def __call__(self, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the lines of a block, then one record of what the block took."""
        from kdst_invert.lines import TOOK, check, rows_of

        rows = range(given["start"], given["stop"])
        self.blocks.next = rows
        lines: list[dict[str, Any]] = []
        while (inversion := self._next()) is not None:
            check(inversion, rows)
            lines += rows_of(inversion, rows)
            if inversion.last:
                return [*lines, {"block": {name: getattr(inversion, name) for name in TOOK}}]
        raise RuntimeError(f"the method ended before the block {rows} did")

    def _next(self) -> Inversion | None:
        """The next inversion."""
        with hidden(self.files), self.method.working():
            return next(self.found, None)


@frozen
class Workers:
    """Workers that blocks of vectors are sent to. asked: whether options asked. precision: of theirs."""

    place: Place
    method: str
    inputs: InvertInputs
    device: str
    seed: int
    asked: bool = True
    precision: Precision = "auto"

    def invert(
        self,
        directory: Path,
        vectors: "Tensor",
        options: Any,
        blocks: Sequence[range],
        advance: Advance,
    ) -> Iterator[dict[str, Any]]:
        """Yield the records of all blocks in order, once all of them are there."""
        file = (directory / VECTORS).resolve()
        _keep(vectors, file)
        factory = Inverting(
            self.method, options, self.inputs, self.device, self.seed, file, self.precision
        )
        shards = [
            Shard(n, {"start": rows.start, "stop": rows.stop}) for n, rows in enumerate(blocks)
        ]
        rows_each = len(blocks[0]) if blocks else 0
        identity = self._identity(options, vectors)
        distribute(
            self.place,
            factory,
            shards,
            directory,
            identity=identity,
            advance=lambda done: advance(done * rows_each),
        )
        yield from read_records(directory, identity)

    def _identity(self, options: Any, vectors: "Tensor") -> str:
        """A digest of what decides the records, besides the blocks."""
        text = json.dumps(
            [
                *(self.method, plain(options), plain(self.inputs)),
                *(self.device, self.seed, self.precision),
            ],
            sort_keys=True,
        )
        found = hashlib.sha256(text.encode())
        found.update(vectors.contiguous().numpy().data)
        return found.hexdigest()


def _keep(vectors: "Tensor", path: Path) -> None:
    """Write vectors where every worker finds them, at once or not at all."""
    import numpy as np

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors.numpy())


def workers_for(job: Job, device: str, rows: int, precision: Precision = "auto") -> Workers | None:
    """Return workers where options ask for them or they pay; KdstError where there can be none.

    precision: of the embedder in this process, which all workers take, whatever their processors.
    """
    inputs: InvertInputs = job.inputs
    where, one_process = place(inputs), "embedder" in job.objects or inputs.embedder == "endpoint"
    if where is not None and one_process:
        raise KdstError(
            "workers load the embedder themselves, so it can be neither an object nor an endpoint,"
            " whose calls one process counts.\nLeave --executor and --jobs out"
        )
    asked = where is not None
    pays = device == "cpu" and rows >= MANY and inputs.study == "none"
    if inputs.jobs is None and pays and not asked and not one_process:
        where = here(MOST_WORKERS)
    if where is None:
        return None
    name = job.method.plugin.qualified
    return Workers(where, name, inputs, device, job.seed, asked, precision)
