"""A run of the method: fit where it is asked to, then read block after block."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from kdst_bow.lexicon import Lexicon, fit, load
from kdst_bow.search import Search, SearchSettings
from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from kdst_bow import BowOptions
    from kdst_core.contracts import Embedder, Inversion, InvertRequest, RunServices, Training

AT_A_TIME = 256
"""Training texts embedded between two steps of the progress bar."""


def invert_request(
    request: "InvertRequest", options: "BowOptions", run: "RunServices"
) -> "Iterator[Inversion]":
    """Load or fit the lexicon, check that it fits the vectors, and return what is found."""
    training = request.training
    lexicon = load(options.model) if training is None else _fitted(request, training, options, run)
    lexicon.check(request.embeddings, request.embed, options.budget != 0)
    return _blocks(lexicon, request, settings(options))


def settings(options: "BowOptions") -> SearchSettings:
    """The part of the options that the search goes by."""
    names = ("threshold", "steps", "candidates", "gain", "budget")
    return SearchSettings(**{name: getattr(options, name) for name in names})


def _blocks(
    lexicon: Lexicon, request: "InvertRequest", how: SearchSettings
) -> "Iterator[Inversion]":
    """Read the blocks one after another; nothing is kept from one to the next."""
    blocks = [range(len(request.embeddings))] if request.blocks is None else request.blocks
    for rows in blocks:
        e = request.embeddings[rows.start : rows.stop].float()
        yield from Search(lexicon, request.embed, how).read(e, rows)


def _fitted(
    request: "InvertRequest", training: "Training", options: "BowOptions", run: "RunServices"
) -> Lexicon:
    """The lexicon of a fit: made now, or read where an earlier session made it."""
    if training.directory.is_dir():
        return load(str(training.directory))
    if training.noise:
        raise KdstError("bow is fitted by least squares, which noise only blurs; leave --noise out")
    e = training.embeddings
    if e is None:
        e = _embedded(training.texts, request.embed, run)
    made = fit(training.texts, e, request.embed.name, options.vocabulary, options.penalty)
    made.save(training.directory)
    return made


def _embedded(texts: "Sequence[str]", embed: "Embedder", run: "RunServices") -> Tensor:
    """Embeddings (n, D) of the training texts."""
    import torch

    found = []
    with run.progress(len(texts), "training vectors") as advance:
        for start in range(0, len(texts), AT_A_TIME):
            part = list(texts[start : start + AT_A_TIME])
            found.append(embed(part).detach().float().cpu())
            advance(len(part))
    return torch.cat(found)
