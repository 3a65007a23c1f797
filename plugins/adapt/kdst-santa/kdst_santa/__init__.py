"""SANTA: the source model as an anchor, and features drawn to prototypes of the source."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_santa.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@article{chakrabarty2023santa,
  title   = {SANTA: Source Anchoring Network and Target Alignment for Continual Test Time Adaptation},
  author  = {Chakrabarty, Goirik and Sreenivas, Manogna and Biswas, Soma},
  journal = {Transactions on Machine Learning Research},
  year    = {2023}
}
"""


@frozen
class Options(UpdateOptions):
    """SANTA's options, with the defaults for CIFAR-10."""

    alignment: float = option(1.0, "Weight of the alignment to source prototypes (L_TA).", min=0)
    temperature: float = option(0.1, "Temperature of the alignment (τ).", above=0)
    projection: int = option(128, "Outputs of the projector that features pass first (d).", min=1)
    prototype_images: int | None = option(
        None, "Source images for the prototypes, at most. Default: all.", min=1
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
        summary="Self-distillation from the source model under the batch's statistics, and a contrastive"
        " alignment of features with source prototypes; updates normalisation layers.",
        options=Options,
        paper="Chakrabarty et al., SANTA: Source Anchoring Network and Target Alignment for Continual"
        " Test Time Adaptation, TMLR 2023",
        url="https://openreview.net/forum?id=V7guVYzvE4",
        citation=CITATION,
        licence="Apache-2.0",
        claims=CLAIMS,
        needs=["gradients", "source"],
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by SANTA."""
    from kdst_santa.method import Santa

    return Santa(request, options, run.device)
