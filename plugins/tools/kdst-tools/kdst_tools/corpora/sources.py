"""The texts of a run: a file's, the same in every round, or generated ones, fresh in every round."""

import datetime
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from attrs import evolve

from kdst_core.bench.sealed import withhold
from kdst_core.contracts import Document
from kdst_tools.corpora.dates import day
from kdst_tools.corpora.documents import Corpus, from_file
from kdst_tools.corpora.heuristics import chosen
from kdst_tools.inputs import ToolsInputs

if TYPE_CHECKING:
    from kdst_tools.default.texts import TinyText


def corpus(
    inputs: ToolsInputs, seed: int, number: int, likely: Sequence[str] | None = None
) -> Corpus:
    """Return the texts of a round, scanned; KdstError for a file that cannot be read or is empty.

    likely: tools of which a text must be likely to need one, None for all texts.
    """
    if inputs.texts is not None:
        found = from_file(inputs.texts, inputs.text_field)
    else:
        name = f"the generated texts of round {number}"
        found = Corpus(name, lambda _skipped: _generated(inputs, seed, number)).scan()
    found = dated(found, day(inputs.date)) if inputs.date is not None else found
    return found if likely is None else chosen(found, likely)


def dated(found: Corpus, date: datetime.date) -> Corpus:
    """Return a corpus whose documents have a date, where they have none of their own."""

    def read(skipped: list[str]) -> Iterator[Document]:
        for document in found.read(skipped):
            yield evolve(document, date=document.date or date)

    return evolve(found, read=read)


def _generated(inputs: ToolsInputs, seed: int, number: int) -> Iterator[Document]:
    """Yield the generated documents of a round."""
    for text in truth(inputs, seed, number):
        yield Document(text.text)


def truth(inputs: ToolsInputs, seed: int, number: int) -> "Iterator[TinyText]":
    """Return the generated texts of a round with the calls that would help, which no method sees.

    RuntimeError while a method works.
    """
    from kdst_tools.default import documents

    withhold("which calls help in the generated texts")
    return documents(inputs.documents, Random(f"round {seed} {number}"))


def held_out(inputs: ToolsInputs) -> list[Document]:
    """Return plain texts that are never trained on; none where there are none."""
    if inputs.held_out is not None:
        found = list(from_file(inputs.held_out, inputs.text_field, "--held-out"))[
            : inputs.held_out_count
        ]
    elif inputs.model == "tiny":
        from kdst_tools.default import prose

        found = [Document(text) for text in prose(inputs.held_out_count)]
    else:
        found = []
    return list({document.id: document for document in found}.values())
