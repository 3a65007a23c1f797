"""CMF: a Kalman filter on the parameters, whose estimate is averaged with the adapted model."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import SelfTrainingOptions
from kdst_cmf.claims import CLAIMS
from kdst_core import Description, hookimpl, option

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{lee2024continual,
  title     = {Continual Momentum Filtering on Parameter Space for Online Test-time Adaptation},
  author    = {Lee, Jae-Hong and Chang, Joon-Hyuk},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}
"""


@frozen
class Options(SelfTrainingOptions):
    """CMF's options: those of ROID's losses, and the filter's, with the authors' values."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: the prior correction multiplies probabilities by the smoothed class prior, and a"
        " reset restores the filter's variance too. published: it multiplies logits, and a reset keeps"
        " the variance.",
    )
    alpha: float = option(
        0.99,
        "Share of the filtered weights that a step keeps; the rest is source (α).",
        min=0,
        max=1,
    )
    gamma: float = option(
        0.99, "Share of the adapted weights in their mean with the filtered ones (γ).", min=0, max=1
    )
    q: float = option(
        0.005, "Variance that a step adds, for 38,400 updated parameters; it grows with their number.",
        min=0,
    )  # fmt: skip


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Self-training with ROID's losses; a Kalman filter on the parameters infers the source"
        " model that they are averaged with; updates normalisation layers.",
        options=Options,
        paper="Lee and Chang, Continual Momentum Filtering on Parameter Space for Online Test-time"
        " Adaptation, ICLR 2024",
        url="https://openreview.net/forum?id=BllUWdpIOA",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by CMF."""
    from kdst_cmf.method import Cmf

    return Cmf(request, options, run.device)
