"""Bags of words behind text embeddings: ridge regression, then a search that asks the embedder."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_bow.claims import CLAIMS
from kdst_core import Description, hookimpl, option
from kdst_invert.options import InvertOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdst_core.contracts import Inversion, InvertRequest, RunServices


@frozen
class BowOptions(InvertOptions):
    """Options of the regression and of the search."""

    model: str = option(
        "open",
        "open (embedded: English of many kinds, in MiniLM's vectors) or a directory that a fit wrote.",
    )
    threshold: float = option(
        0.3,
        "Score from which a word is read before the embedder is asked; a word that is there is 1.",
    )
    steps: int = option(14, "Words that the search adds, drops or moves, at most.", min=0)
    candidates: int = option(24, "Words that a step of the search tries for each text.", min=1)
    gain: float = option(
        0.002, "Cosine that a step must gain; a text stops where none does.", min=0
    )
    vocabulary: int = option(12000, "fit: most words of the vocabulary.", min=1)
    penalty: float = option(1.0, "fit: ridge penalty, for vectors of length 1.", above=0)


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Recover the words of texts from their embeddings, without a neural network.",
        options=BowOptions,
        paper="After Song and Raghunathan, Information Leakage in Embedding Models, CCS 2020",
        url="https://arxiv.org/abs/2004.00053",
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def invert(
    request: "InvertRequest", options: BowOptions, run: "RunServices"
) -> "Iterator[Inversion]":
    """Fit on the request's pairs where there are any, then read its blocks."""
    from kdst_bow.method import invert_request

    return invert_request(request, options, run)
