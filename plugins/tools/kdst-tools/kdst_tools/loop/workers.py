"""A round whose shards are worked on by an executor's workers, with what one process would find."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import attrs
from attrs import frozen

from kdst_batch.executors.place import Place, distribute
from kdst_batch.executors.records import Shard, read_records
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Document, ToolCall, ToolLearner, ToolsRequest
from kdst_core.options import plain
from kdst_core.plugins.method import Method
from kdst_core.runs.aside import Aside
from kdst_core.runs.rundir import Run
from kdst_tools.calls.records import CallStream
from kdst_tools.corpora.documents import Corpus
from kdst_tools.inputs import ToolsInputs

ORDER = ("sample", "execute", "filter")


@frozen
class Annotating:
    """A factory of workers, each with the model and the tools of a round.

    method: package and name. model: tiny or a directory. begun: the stage whose calls are given with
    the documents, empty for none. last: the stage to come to.
    """

    method: str
    options: Any
    inputs: ToolsInputs
    model: str
    warm: bool
    device: str
    seed: int
    begun: str = ""
    last: str = ""

    def __call__(self) -> Callable[[Mapping[str, Any]], list[dict[str, Any]]]:
        """Return the function of one worker, from documents and calls to a record a document."""
        return partial(self.records, *self.learner())

    def learner(self) -> tuple[Method, ToolLearner]:
        """Load what a worker needs, and bind the method to it."""
        import torch

        from kdst_core.plugins.method import load as load_method
        from kdst_tools.models import pretrained
        from kdst_tools.tools import toolset

        if self.warm:
            torch.set_num_threads(1)
        with silence_libraries():
            model, tokenizer = pretrained.load(self.model, self.device)
        tools = toolset.load(self.inputs.tools, self.inputs.network)
        request = ToolsRequest(model, tokenizer, tools, self.seed, warm=self.warm)
        aside = Aside(Path(), self.seed, self.device)
        method = load_method(self.method)
        return method, method.call(request, self.options, aside)

    def records(
        self, method: Method, learner: ToolLearner, given: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Carry out the stages that are left, and return the calls of each stage by document."""
        shard = [_document(d) for d in given["documents"]]
        calls = [ToolCall(**call) for call in given["calls"]]
        found: dict[str, dict[str, Any]] = {d.id: {"doc": d.id} for d in shard}
        with silence_libraries():
            for stage in _between(self.begun, self.last):
                calls = carry_out(method, learner, stage, shard, calls)
                for record in found.values():
                    record[stage] = []
                for call in calls:
                    found[call.doc][stage].append(attrs.asdict(call))
        return list(found.values())

    @property
    def identity(self) -> str:
        """A digest of what decides the records, besides the documents."""
        options = attrs.evolve(self.options, stage="evaluate", rounds=1)
        decides = {
            **attrs.asdict(self, recurse=False),
            "options": plain(options),
            "inputs": plain(self.inputs),
        }
        text = json.dumps(decides, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class RoundOfTexts(Protocol):
    """What workers need of a round: its number, its texts, and the streams of its stages."""

    number: int
    directory: Path
    corpus: Corpus
    shard: int
    run: Run

    def stream(self, stage: str) -> CallStream:
        """Return the records of a stage."""


@frozen
class Workers:
    """Sends the shards of a round to workers, and answers with their calls stage by stage."""

    place: Place
    factory: Annotating

    def annotate(self, one: RoundOfTexts, last: str) -> "Answers | None":
        """Return the calls of the stages up to `last`, None where the round has all of them."""
        begun = _begun(one, last)
        if not _between(begun, last):
            return None
        factory = attrs.evolve(self.factory, begun=begun, last=last)
        directory = one.directory / f"parts-{begun or 'none'}-{last}"
        label = f"round {one.number}: {self.place.jobs} workers"
        with one.run.progress(-(-one.corpus.count // one.shard), label) as advance:
            shards, key = _shards(one, begun), factory.identity
            distribute(self.place, factory, shards, directory, identity=key, advance=advance)
        return Answers(directory, factory.identity)


@frozen
class Answers:
    """The records that workers wrote for a round."""

    directory: Path
    identity: str

    def stage(
        self, name: str
    ) -> Callable[[Sequence[Document], Sequence[ToolCall]], list[ToolCall]]:
        """Return the function of a shard that has the calls of a stage, asked in corpus order."""
        records = read_records(self.directory, self.identity)

        def calls(shard: Sequence[Document], _before: Sequence[ToolCall]) -> list[ToolCall]:
            missing, found = {document.id for document in shard}, list[ToolCall]()
            while missing:
                record = next(records)
                if record["doc"] in missing:
                    missing.remove(record["doc"])
                    found += [ToolCall(**call) for call in record[name]]
            return found

        return calls

    def remove(self) -> None:
        """Remove the parts, once the round has their calls in its own files."""
        shutil.rmtree(self.directory)


def _between(begun: str, last: str) -> Sequence[str]:
    """The stages after one up to another."""
    first = ORDER.index(begun) + 1 if begun else 0
    return ORDER[first : ORDER.index(last) + 1]


def _begun(one: RoundOfTexts, last: str) -> str:
    """The last stage that has the calls of every document, empty where there is none; that of parts
    which an earlier session left, whose calls may be on their way into the round's files."""
    for left in one.directory.glob(f"parts-*-{last}"):
        return left.name.split("-")[1].removeprefix("none")
    begun = ""
    for stage in ORDER:
        if len(one.stream(stage).done) < one.corpus.count:
            break
        begun = stage
    return begun


def carry_out(
    method: Method,
    learner: ToolLearner,
    stage: str,
    shard: Sequence[Document],
    calls: Sequence[ToolCall],
) -> list[ToolCall]:
    """Carry out one stage on a shard."""
    with method.working():
        if stage == "sample":
            return learner.sample(shard)
        return learner.execute(shard, calls) if stage == "execute" else learner.filter(shard, calls)


def _shards(one: RoundOfTexts, begun: str) -> Iterator[Shard]:
    """The documents of a round, with the calls of the stage that is done."""
    known: Iterator[tuple[str, Iterable[ToolCall]]] = iter(one.stream(begun) if begun else ())
    for number, shard in enumerate(one.corpus.shards(one.shard)):
        calls = [c for d in shard for c in (next(known)[1] if begun else ())]
        documents = [
            {"text": d.text, "id": d.id, "date": d.date.isoformat() if d.date else None}
            for d in shard
        ]
        content = {"documents": documents, "calls": [attrs.asdict(c) for c in calls]}
        yield Shard(number, content)


def _document(given: Mapping[str, Any]) -> Document:
    """The document of a shard."""
    import datetime

    date = datetime.date.fromisoformat(given["date"]) if given["date"] else None
    return Document(given["text"], given["id"], date)
