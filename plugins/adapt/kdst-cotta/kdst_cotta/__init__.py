"""A weight-averaged teacher over augmentations, with stochastic restoration."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_cotta.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{wang2022continual,
  title     = {Continual Test-Time Domain Adaptation},
  author    = {Wang, Qin and Fink, Olga and Van Gool, Luc and Dai, Dengxin},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year      = {2022}
}
"""


@frozen
class Options(UpdateOptions):
    """Options of cotta, with the paper's defaults for CIFAR-10."""

    params: Literal["norm-affine", "all"] = option(
        "all", "Parameters to update, average and restore: all, or those of normalisation layers."
    )
    alpha: float = option(
        0.999, "Share of the old weights in the teacher's moving average (α).", min=0, max=1
    )
    augmentations: int = option(32, "Augmented predictions to average (N).", min=1)
    threshold: float = option(
        0.92,
        "Average over augmentations where the source model's mean confidence in a batch is below"
        " this (p_th): .92 for CIFAR-10 and .72 for CIFAR-100 in the paper.",
        min=0,
        max=1,
    )
    restore: float = option(
        0.01,
        "Probability that a weight goes back to its source value in an update (p).",
        min=0,
        max=1,
    )
    flip: bool = option(
        False,
        "Mirror half of the augmented batches. Off, a departure from the paper, whose photographs"
        " may be mirrored: the digits that kdst brings may not.",
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="A weight-averaged teacher over augmentations, with stochastic restoration.",
        options=Options,
        paper="Wang et al., Continual Test-Time Domain Adaptation, CVPR 2022",
        url="https://arxiv.org/abs/2203.13591",
        citation=CITATION,
        licence="Apache-2.0",
        needs={"gradients"},
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts as it predicts."""
    from kdst_cotta.method import Cotta

    return Cotta(request, options, run.device)
