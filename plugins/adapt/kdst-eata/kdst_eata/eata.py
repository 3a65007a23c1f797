"""EATA: ETA with a Fisher anchor against forgetting."""

from typing import TYPE_CHECKING

from kdst_core import Description, hookimpl
from kdst_eata import CITATION, PAPER, URL, EataOptions
from kdst_eata.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="ETA with an anchor: parameters that mattered on source data, by their Fisher information,"
        " are held near their values.",
        options=EataOptions,
        paper=PAPER,
        url=URL,
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients", "source"],
        random=False,
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: EataOptions, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by EATA."""
    from kdst_eata.method import Eata

    return Eata(request, options, run.device)
