"""ROID: weighted self-training, weights averaged with the source model's, predictions under the prior."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_adapt.options import SelfTrainingOptions
from kdst_core import Description, hookimpl, option
from kdst_roid.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{marsden2024universal,
  title     = {Universal Test-Time Adaptation through Weight Ensembling, Diversity Weighting,
               and Prior Correction},
  author    = {Marsden, Robert A. and D{\\"o}bler, Mario and Yang, Bin},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision},
  year      = {2024}
}
"""


@frozen
class Options(SelfTrainingOptions):
    """ROID's options, with the authors' values for CIFAR."""

    momentum_src: float = option(
        0.99,
        "Share of the adapted weights in their mean with the source model's (α).",
        min=0,
        max=1,
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Self-training on certain and unusual images, with weights averaged with the source"
        " model's and predictions corrected for the class prior; updates normalisation layers.",
        options=Options,
        paper="Marsden et al., Universal Test-Time Adaptation through Weight Ensembling, Diversity"
        " Weighting, and Prior Correction, WACV 2024",
        url="https://arxiv.org/abs/2306.00650",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by ROID."""
    from kdst_roid.method import Roid

    return Roid(request, options, run.device)
