"""ETA: entropy minimisation on reliable, non-redundant images."""

from typing import TYPE_CHECKING

from kdst_core import Description, hookimpl
from kdst_eata import CITATION, PAPER, URL, EtaOptions

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Entropy minimisation on images that are confident and unlike what was seen, weighted by"
        " confidence; updates normalisation layers.",
        options=EtaOptions,
        paper=PAPER,
        url=URL,
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        random=False,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: EtaOptions, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by ETA."""
    from kdst_eata.method import Eta

    return Eta(request, options, run.device)
