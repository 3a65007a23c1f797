"""Annotating texts and continuing prompts from Python, without a run directory."""

import datetime
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from kdst_core.bench.library import given
from kdst_core.contracts import (
    Document,
    Generation,
    Tool,
    ToolAnnotation,
    ToolLearner,
    ToolsRequest,
)
from kdst_core.errors import KdstError
from kdst_core.runs.aside import Aside
from kdst_tools.corpora.lines import is_unicode
from kdst_tools.tools import toolset
from kdst_tools.tools.toolset import DEFAULT

SHARD = 32
Named = str | Tool | Callable[..., Any]
"""A tool: as `--tools` names it, a tool object, or a function with type hints."""


def annotate(
    texts: Sequence[str | Document],
    *,
    model: Any = "tiny",
    tools: Sequence[Named] = DEFAULT,
    method: str = "toolformer",
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> list[ToolAnnotation]:
    """Sample, execute and filter calls; return the texts with those that help, in order.

    texts: plain ones, or documents with dates. model: tiny, a directory, a hub id, or a pair (causal
    language model, fast tokenizer). tools: names as `--tools` takes them, functions with type hints,
    or tools. options: those of the method, `tau_f=["0.5"]`. Raises KdstError for bad input.
    """
    learner = _learner(model, tools, method, seed, device, options, "warm")
    documents = [document_of(text, None) for text in texts]
    return [found for shard in shards_of(documents) for found in annotated(learner, shard)]


def generate(
    prompts: Sequence[str | Document],
    *,
    model: Any = "tiny",
    tools: Sequence[Named] = DEFAULT,
    method: str = "toolformer",
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> list[Generation]:
    """Continue prompts with calls, whose results are read as they come; return one each, in order.

    As `annotate`; prompts without a date are of today. tiny is the embedded model after several rounds.
    """
    from kdst_core.bench.libraries import silence_libraries

    learner = _learner(model, tools, method, seed, device, options, "shipped")
    documents = [document_of(text, datetime.date.today()) for text in prompts]
    with silence_libraries():
        return learner.generate(documents)


def annotated(learner: ToolLearner, shard: Sequence[Document]) -> list[ToolAnnotation]:
    """All stages up to the filter."""
    from kdst_core.bench.libraries import silence_libraries

    with silence_libraries():
        calls = learner.execute(shard, learner.sample(shard))
        return learner.annotate(shard, learner.filter(shard, calls))


def _learner(
    model: Any,
    tools: Sequence[Named],
    method: str,
    seed: int,
    device: str,
    options: dict[str, Any],
    stage: str,
) -> ToolLearner:
    """Bind a method to a model and tools."""
    from kdst_core.bench.device import has_cuda, usable
    from kdst_core.bench.libraries import silence_libraries
    from kdst_core.runs.setup import setup_of
    from kdst_tools import load
    from kdst_tools.inputs import ToolsInputs

    chosen = setup_of(method)
    own = given(chosen.sections[1], options)
    found = toolset.checked([tool for item in tools for tool in tools_of(item)])
    name = model if isinstance(model, str) else "from Python"
    where = "cuda" if has_cuda() and name != "tiny" else "cpu"
    place = usable(where if device == "auto" else device)
    with silence_libraries():
        live = None if isinstance(model, str) else model
        pair = load.pair(ToolsInputs(model=name), live, place, stage)
    request = ToolsRequest(*pair, found, seed, warm=name == "tiny")
    learner: ToolLearner = chosen.method.call(request, own, Aside(Path(), seed, place))
    return learner


def tools_of(item: Named) -> Sequence[Tool]:
    """The tools of one item."""
    if isinstance(item, str):
        return toolset.load([item], network=False)
    if all(hasattr(item, name) for name in ("name", "description", "timeout")):
        return [item]  # type: ignore[list-item]
    from kdst_tools.tools.apart.tool import ProcessTool
    from kdst_tools.tools.functions import from_function

    here = from_function(item)
    source = _source(item)
    return [here] if source is None else [ProcessTool({"function": source}, here.name)]


def _source(function: Any) -> str | None:
    """MODULE:NAME where another process can import a function; None for what only this one has."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if module in ("", "__main__") or "." in name or "<" in name:
        return None
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    if importlib.machinery.PathFinder.find_spec(parts[0], sys.path) is None:
        return None
    return f"{module}:{name}"


def document_of(text: str | Document, day: datetime.date | None) -> Document:
    """A text as a document."""
    found = Document(text) if isinstance(text, str) else text
    if not is_unicode(found.text):
        raise KdstError(
            f"the text {found.text[:40]!r} holds half of a surrogate pair, which is no Unicode"
        )
    return evolve(found, date=found.date or day)


def shards_of(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    """Runs of documents that are annotated together; an id that occurs again gets `'` behind it."""
    seen: dict[str, int] = {}
    unique = []
    for document in documents:
        count = seen[document.id] = seen.get(document.id, -1) + 1
        unique.append(evolve(document, id=document.id + "'" * count))
    for first in range(0, len(unique), SHARD):
        yield unique[first : first + SHARD]
