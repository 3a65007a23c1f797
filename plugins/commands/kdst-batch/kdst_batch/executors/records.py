"""A function over a stream of records, in shards: written atomically, resumed, each record once."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from kdst_batch.executors import ONE_CPU, Done, Executor, Resources
from kdst_batch.executors.manifest import Manifest, Part, part_name, read_parts
from kdst_core.errors import KdstError, MethodError
from kdst_core.files import claim, give_back, remove_temporaries, write_atomically
from kdst_core.progress import Advance

COMPLETE = "records.json"
Record = Mapping[str, Any]
Worker = Callable[[Any], Iterable[Record]]
"""What a factory makes in each worker: the records of one shard to records that JSON can hold."""


@frozen
class Shard:
    """A fixed piece of the input.

    number: its position, which names its file. content: what the worker is given, a list of records or
    a description by which the worker finds them: values that JSON holds, which say all that the output
    depends on.
    """

    number: int
    content: Any

    @property
    def digest(self) -> str:
        """A digest of the content."""
        text = json.dumps(self.content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def cut(records: Iterable[Any], size: int) -> Iterator[Shard]:
    """Yield shards of `size` records, the last with what is left."""
    stream, number = iter(records), 0
    while content := list(islice(stream, size)):
        yield Shard(number, content)
        number += 1


@frozen
class Written:
    """Finished records: their directory, how many, in how many parts, and how many were there before."""

    directory: Path
    records: int
    parts: int
    reused: int


def run_records(
    executor: Executor,
    factory: Callable[[], Worker],
    shards: Iterable[Shard],
    directory: Path,
    *,
    identity: str,
    resources: Resources = ONE_CPU,
    advance: Advance = lambda _steps: None,
) -> Written:
    """Write the records of every shard under `directory`, which every worker must be able to write.

    factory: pickles, and is called once in each worker, in the current directory. identity: a digest of
    all that decides the output besides the shards; a directory with another one is refused. What a run
    that was stopped has finished is kept, and every record is there once, however often workers die.
    advance: is told of shards. Raises KdstError for a directory that cannot be used, MethodError with
    the last lines of a worker that failed.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = claim(directory)
    except OSError as e:
        raise KdstError(f"cannot write to {directory}: {e.strerror}") from e
    try:
        with Manifest(directory, identity) as manifest:
            remove_temporaries(directory)
            todo = Missing(shards, manifest)
            writing = Writing(factory, directory.resolve(), Path.cwd())
            calls = executor.map_records(writing, todo, resources)
            with closing(calls):
                for done in calls:
                    advance(todo.take_reused() + 1)
                    manifest.add(_part(done, directory))
            advance(todo.take_reused())
            return _complete(directory, manifest, todo)
    except OSError as e:
        raise KdstError(f"cannot write to {directory}: {e.strerror}") from e
    finally:
        give_back(lock)


class Missing:
    """The shards that are not finished yet, as a stream; executors may read it in another thread."""

    def __init__(self, shards: Iterable[Shard], manifest: Manifest) -> None:
        self.shards = shards
        self.manifest = manifest
        self.seen = self.reused = self._told = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what is missing, as values that JSON holds.

        Raises KdstError when shards are not numbered from 0, or have changed.
        """
        for shard in self.shards:
            if shard.number != self.seen:
                raise KdstError(f"shard {self.seen} is numbered {shard.number}; count from 0")
            self.seen += 1
            if self.manifest.has(shard.number, shard.digest):
                self.reused += 1
            else:
                yield asdict(shard, recurse=False)

    def take_reused(self) -> int:
        """Return how many finished shards were passed over since the last call."""
        new = self.reused - self._told
        self._told += new
        return new


@frozen
class Writing:
    """A factory of workers that write what another factory's worker makes of a shard."""

    factory: Callable[[], Worker]
    directory: Path
    home: Path

    def __call__(self) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """Return the function of one worker: writes a shard's file and returns its part, as a dict."""
        os.chdir(self.home)
        work = self.factory()

        def write(given: Mapping[str, Any]) -> dict[str, Any]:
            shard = Shard(**given)
            lines = [json.dumps(record, allow_nan=False) + "\n" for record in work(shard.content)]
            data = "".join(lines).encode()
            write_atomically(self.directory / part_name(shard.number), data)
            digest = hashlib.sha256(data).hexdigest()
            return asdict(Part(shard.number, shard.digest, len(lines), len(data), digest))

        return write


def _part(done: Done, directory: Path) -> Part:
    """Return the part that a call wrote; MethodError when it failed."""
    if done.error:
        raise MethodError(f"a shard of {directory} failed:\n{done.error}")
    return Part(**done.value)


def _complete(directory: Path, manifest: Manifest, todo: Missing) -> Written:
    """Write the file whose presence means that every record is there."""
    if len(manifest.parts) != todo.seen:
        raise KdstError(
            f"{directory} holds {len(manifest.parts)} parts, and the input has {todo.seen}.\n"
            "Go on with the same input, or give another directory"
        )
    count = sum(part.records for part in manifest.parts.values())
    summary = {"records": count, "parts": todo.seen}
    write_atomically(directory / COMPLETE, json.dumps(summary) + "\n")
    return Written(directory, count, todo.seen, todo.reused)


def read_records(directory: Path, identity: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a complete directory in the order of the input.

    Raises KdstError when it is not complete, of other work, or a part is not what was written.
    """
    if not (directory / COMPLETE).exists():
        raise KdstError(f"{directory} is not complete: {COMPLETE} is missing")
    for _, part in sorted(read_parts(directory, identity).items()):
        data = (directory / part.name).read_bytes()
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise KdstError(f"{directory / part.name} is not what was written; remove it and go on")
        yield from map(json.loads, data.splitlines())
