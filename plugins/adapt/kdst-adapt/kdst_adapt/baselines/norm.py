"""BatchNorm by the statistics of each test batch, nothing updated (baseline)."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_adapt.options import LayoutOptions
from kdst_core import Description, hookimpl

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices


@frozen
class Options(LayoutOptions):
    """The baseline has a memory layout, no other options."""


@hookimpl
def describe() -> Description:
    """Describe the baseline."""
    return Description(
        summary="BatchNorm by the statistics of each test batch; no parameter is updated.",
        options=Options,
        paper="Nado et al., Evaluating Prediction-Time Batch Normalization (2020);"
        " Schneider et al., NeurIPS 2020",
        url="https://arxiv.org/abs/2006.10963",
        licence="Apache-2.0",
        random=False,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return the classifier with batch statistics."""
    from kdst_adapt.baselines.fixed import norm

    return norm(request.model, run.device, options.layout)
